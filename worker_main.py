"""What `dramatiq worker_main` runs: the broker, and with it every actor."""

from gql_imgproc.worker.actors import broker

__all__ = ["broker"]
