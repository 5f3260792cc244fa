"""BMP: not compressed at all; few colours need a byte a pixel only."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture.inspect import load
from gql_imgproc.core.picture.saving import Extras, same_pixels, save
from gql_imgproc.core.picture.source import Source


def smaller(source: Source, options: Options) -> Iterable[bytes]:
    """At most 256 colours, of which a byte a pixel tells exactly; run lengths are kept unread."""
    image = source.image
    if not source.anatomy.cheap:
        return
    load(image)
    if image.mode != "RGB" or image.getcolors(256) is None:
        return
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT)
    dpi = image.info.get("dpi")
    made = save(reduced, "BMP", **{"dpi": dpi} if dpi else {})
    if same_pixels(made, image):
        yield made


def encode(image: Image.Image, extras: Extras) -> bytes:
    return save(image.convert("RGBA") if image.mode == "LA" else image, "BMP", dpi=extras.dpi or (96, 96))
