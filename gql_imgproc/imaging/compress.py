"""Compresses an image: bytes in, bytes out. The result is never larger, and compressing it again changes nothing.

By default format, dimensions, frames, transparency, colour profile and orientation stay. If an image cannot be made
smaller faithfully, by at least `min_saving_percent` of `ImageLimits` and of its format, its own bytes are returned.
Invalid bytes raise an `ImageError`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError
from gql_imgproc.imaging import transform
from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.convert import convert_image
from gql_imgproc.imaging.formats import FORMATS
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.imaging.probe import Header, inspect, open_image

__all__ = ["Compressed", "Header", "ImageLimits", "compress", "inspect"]


@dataclass(frozen=True, slots=True)
class Compressed:
    """An image to store; `width` and `height` as displayed."""

    data: bytes
    media_type: str
    extension: str
    width: int
    height: int
    outcome: ImageOutcome


def compress(data: bytes, options: Options, limits: ImageLimits) -> Compressed:
    """Raises ImageError if the image is refused or damaged, or if the options cannot be applied to it."""
    source = open_image(data, limits)
    target = source.format if options.format is OutputFormat.ORIGINAL else FORMATS[options.format.value]
    plan = transform.make_plan(options, source.structure.displayed_size)
    if plan.changes_pixels or target is not source.format:
        result, outcome = convert_image(source, target, plan, options), ImageOutcome.COMPRESSED
    elif smaller := _recompress(source, options, limits):
        result, outcome = smaller, ImageOutcome.COMPRESSED
    else:
        result, outcome = data, ImageOutcome.KEPT
    return Compressed(result, target.media_type, target.extension, *plan.target, outcome)


def _recompress(source: OpenedImage, options: Options, limits: ImageLimits) -> bytes | None:
    """The first file that saves enough to justify another lossy pass."""
    size = len(source.data)
    min_saving_percent = max(limits.min_saving_percent, source.format.min_saving_percent)
    max_bytes = min(size - 1, size * (1 - min_saving_percent / 100))
    candidates = CODECS[source.format.name].recompress(source, options)
    try:
        return next((data for data in candidates if len(data) <= max_bytes), None)
    except ImageError:
        raise
    except Exception:
        # The pixels were decoded, so the source is a valid image. It is kept when an encoder fails.
        return None
