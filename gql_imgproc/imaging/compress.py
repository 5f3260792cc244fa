"""Picture bytes in, smaller picture bytes out: never larger, never worse twice, within limits.

By default format, dimensions, frames, transparency, colour profile and orientation stay. What cannot be made
smaller faithfully, by at least `ImageLimits.min_saving_percent`, is answered with its own bytes. Whatever is
wrong with the bytes raises an `ImageError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError
from gql_imgproc.imaging import avif, bmp, gif, jpeg, png, tiff, transform, webp
from gql_imgproc.imaging.convert import convert_image
from gql_imgproc.imaging.formats import FORMATS
from gql_imgproc.imaging.opened_image import OpenedImage, open_image
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.imaging.probe import Header, ImageLimits, inspect

__all__ = ["Compressed", "Header", "ImageLimits", "compress", "inspect"]

#: Files of the same picture that may be smaller, the preferred one first; none when the source is to be kept.
RECOMPRESSORS: dict[str, Callable[[OpenedImage, Options], Iterable[bytes]]] = {
    "JPEG": jpeg.recompress,
    "PNG": png.recompress,
    "WEBP": webp.recompress,
    "AVIF": avif.recompress,
    "GIF": gif.recompress,
    "TIFF": tiff.recompress,
    "BMP": bmp.recompress,
}


@dataclass(frozen=True, slots=True)
class Compressed:
    """A picture to be stored; `width` and `height` as displayed."""

    data: bytes
    media_type: str
    extension: str
    width: int
    height: int
    outcome: ImageOutcome


def compress(data: bytes, options: Options, limits: ImageLimits) -> Compressed:
    """Raises ImageError when the picture is refused, damaged, or not what the options can be applied to."""
    source = open_image(data, limits)
    target = source.form if options.format is OutputFormat.ORIGINAL else FORMATS[options.format.value]
    plan = transform.plan(options, source.size)
    if plan.changes_pixels or target is not source.form:
        made, outcome = convert_image(source, target, plan, options), ImageOutcome.COMPRESSED
    elif smaller := _smaller(source, options, limits):
        made, outcome = smaller, ImageOutcome.COMPRESSED
    else:
        made, outcome = data, ImageOutcome.KEPT
    return Compressed(made, target.media_type, target.extension, *plan.target, outcome)


def _smaller(source: OpenedImage, options: Options, limits: ImageLimits) -> bytes | None:
    """The first file that saves enough to be worth another pass over the pixels."""
    size = len(source.data)
    enough = min(size - 1, size * (1 - limits.min_saving_percent / 100))
    try:
        return next((made for made in RECOMPRESSORS[source.form.name](source, options) if len(made) <= enough), None)
    except ImageError:
        raise
    except Exception:
        # The pixels were read; an encoder that gives up on them leaves the source, which is a good picture.
        return None
