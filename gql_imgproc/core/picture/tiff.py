"""TIFF: deflated, where nothing of it gets lost on the way through Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from PIL import Image, TiffImagePlugin

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture.inspect import load
from gql_imgproc.core.picture.saving import Extras, extras_of, same_pixels, save
from gql_imgproc.core.picture.source import Source


def smaller(source: Source, options: Options) -> Iterable[bytes]:
    """One upright page of at most 8 bits a sample without compression, deflated; anything else is kept."""
    image = cast(TiffImagePlugin.TiffImageFile, source.image)
    compression, bits = image.info.get("compression"), image.tag_v2.get(258, (1,))
    load(image)
    plain = image.mode in ("1", "L", "RGB", "RGBA", "CMYK") and all(n in (1, 8) for n in bits)
    if options.keep_metadata or source.anatomy.frames > 1 or source.anatomy.orientation != 1 or not plain:
        return
    if compression not in ("raw", "packbits", "tiff_lzw"):
        return
    made = encode([image], extras_of(image, 1, False))
    if same_pixels(made, image):
        yield made


def encode(pages: list[Image.Image], extras: Extras) -> bytes:
    settings: dict[str, object] = {"compression": "tiff_adobe_deflate"}
    if extras.icc:
        settings["icc_profile"] = extras.icc
    if extras.dpi:
        settings["dpi"] = extras.dpi
    if len(pages) > 1:
        settings |= {"save_all": True, "append_images": pages[1:]}
    return save(pages[0], "TIFF", **settings)
