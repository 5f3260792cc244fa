"""How a picture is refused: the sentences, and the one place that turns a library's exception into one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gql_imgproc.errors import ImageError, ImageErrorCode


def corrupt_image(sentence: str = "The picture is damaged or incomplete and could not be read.") -> ImageError:
    return ImageError(ImageErrorCode.CORRUPT, sentence)


def too_large(sentence: str) -> ImageError:
    return ImageError(ImageErrorCode.TOO_LARGE, sentence)


def unsupported(sentence: str) -> ImageError:
    return ImageError(ImageErrorCode.UNSUPPORTED_FORMAT, sentence)


def not_an_image(sentence: str) -> ImageError:
    return ImageError(ImageErrorCode.NOT_AN_IMAGE, sentence)


@contextmanager
def decode_errors() -> Iterator[None]:
    """Whatever a decoder raises on hostile bytes (seven types were seen) becomes an `ImageError`."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as exc:
        # Perhaps a neighbour took it all: another try may succeed.
        raise ImageError(
            ImageErrorCode.TOO_LARGE, "The picture needs more memory than the worker has left.", retryable=True
        ) from exc
    except Exception as exc:
        raise corrupt_image() from exc
