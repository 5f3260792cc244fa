"""CSV in, compressed images out: GraphQL uploads, Dramatiq workers, live progress."""

__version__ = "0.1.0"
