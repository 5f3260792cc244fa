"""Constructors of image errors, and the conversion of decoder exceptions into image errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gql_imgproc.errors import ImageError, ImageErrorCode


def corrupt_image(message: str = "The image is damaged or incomplete and could not be read.") -> ImageError:
    return ImageError(ImageErrorCode.CORRUPT, message)


def too_large(message: str) -> ImageError:
    return ImageError(ImageErrorCode.TOO_LARGE, message)


def unsupported(message: str) -> ImageError:
    return ImageError(ImageErrorCode.UNSUPPORTED_FORMAT, message)


def not_an_image(message: str) -> ImageError:
    return ImageError(ImageErrorCode.NOT_AN_IMAGE, message)


@contextmanager
def decode_errors() -> Iterator[None]:
    """Converts decoder exceptions to `ImageError`. At least seven types occur with damaged bytes."""
    try:
        yield
    except ImageError:
        raise
    except MemoryError as exc:
        # Another image may have used the memory, so a retry may succeed.
        raise ImageError(
            ImageErrorCode.TOO_LARGE, "The worker does not have enough free memory to decode the image.", retryable=True
        ) from exc
    except Exception as exc:
        raise corrupt_image() from exc
