"""BMP: not compressed at all; few colours need a byte a pixel only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from PIL import Image

from gql_imgproc.imaging import png_color_count
from gql_imgproc.imaging.metadata import Extras, extras_of, have_same_pixels, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import load


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """At most 256 colours, of which a byte a pixel tells exactly; run lengths are kept unread.

    Pillow knows nothing of a colour space in the header.
    """
    image = source.image
    if not source.anatomy.cheap:
        return
    load(image)
    if source.anatomy.plain and image.mode == "RGB":
        yield from _with_palette(image, extras_of(image, 1, False))


def encode(image: Image.Image, extras: Extras) -> bytes:
    plain = _saved(image.convert("RGBA") if image.mode == "LA" else image, extras)
    if image.mode == "RGB":
        # A palette of 1 KiB does not pay for itself in a tiny picture.
        return min([plain, *_with_palette(image, extras)], key=len)
    return plain


def _with_palette(image: Image.Image, extras: Extras) -> Iterator[bytes]:
    if counts := png_color_count.count_colors(image, 256):
        made = _saved(png_color_count.numbered(image, {colour: colour for colour in counts}), extras)
        if have_same_pixels(made, image):
            yield made


def _saved(image: Image.Image, extras: Extras) -> bytes:
    return save(image, "BMP", dpi=extras.dpi or (0, 0))
