"""TIFF: deflated, where nothing of it gets lost on the way through Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from PIL import Image, TiffImagePlugin

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture.failures import decoding
from gql_imgproc.core.picture.saving import Extras, extras_of, save
from gql_imgproc.core.picture.source import Source

#: Lossless compressions of which deflating is an equal; a page in JPEG or fax coding would only grow.
_EQUALS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
#: Modes that Pillow writes as it read them, and the bits of their samples.
_MODES = {"1": 1, "L": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "I;16": 16}
_BITS, _PREDICTOR = 258, 317
#: Tags about how samples are seen, which Pillow does not write: transfer function, white point, primaries,
#: transfer range, reference black and white.
_SEEN = {301, 318, 319, 342, 532}
#: Pixels of all pages that are held at once; 50 megapixels need about 200 MB.
_MAX_PIXELS = 50_000_000
#: Side in pixels of the middle of a page that tells whether differences deflate better: they do in photographs.
_PROBE_SIDE = 256


@dataclass(frozen=True, slots=True)
class _Page:
    image: Image.Image
    compression: str
    plain: bool
    extras: Extras


def smaller(source: Source, options: Options) -> Iterable[bytes]:
    """Its pages deflated when each is upright, of a plain mode, losslessly stored and read back the same."""
    image, anatomy = cast(TiffImagePlugin.TiffImageFile, source.image), source.anatomy
    if anatomy.frames * anatomy.pixels > _MAX_PIXELS:
        with decoding():
            image.load()
        return
    pages = _pages(image, anatomy.frames)
    if options.keep_metadata or anatomy.orientation != 1 or len({page.extras for page in pages}) > 1:
        return
    if not all(page.plain and page.compression in _EQUALS for page in pages):
        return
    pixels = [page.image for page in pages]
    made = encode(pixels, pages[0].extras)
    if _hold(made, pixels):
        yield made


def _pages(image: TiffImagePlugin.TiffImageFile, count: int) -> list[_Page]:
    out = []
    with decoding():
        for number in range(count):
            image.seek(number)
            # Before the pixels are loaded: loading turns a picture that lies on its side, and its tags with it.
            bits, upright = image.tag_v2.get(_BITS, (1,)), image.tag_v2.get(274, 1) == 1
            image.load()
            plain = set(bits) == {_MODES.get(image.mode)} and not _SEEN & set(image.tag_v2)
            compression = str(image.info.get("compression"))
            # A copy knows nothing of the tags, which Pillow would write again.
            out.append(_Page(image.copy(), compression, plain and upright, extras_of(image, 1, False)))
    return out


def encode(pages: list[Image.Image], extras: Extras) -> bytes:
    first, *rest = pages
    # One for all pages; bits have no differences.
    predictor = 1 if any(page.mode == "1" for page in pages) else _predictor(first)
    return _saved(first, extras, predictor, **{"save_all": True, "append_images": rest} if rest else {})


def _saved(image: Image.Image, extras: Extras, predictor: int, **more: object) -> bytes:
    settings = {"compression": "tiff_adobe_deflate", "tiffinfo": {_PREDICTOR: predictor}, **more}
    if extras.icc:
        settings["icc_profile"] = extras.icc
    if extras.dpi:
        settings["dpi"] = extras.dpi
    return save(image, "TIFF", **settings)


def _predictor(image: Image.Image) -> int:
    """What suits the page: 1 stores samples as they are, 2 their differences (TIFF 6.0, section 14)."""
    left, top = max(0, image.width - _PROBE_SIDE) // 2, max(0, image.height - _PROBE_SIDE) // 2
    probe = image.crop((left, top, min(image.width, left + _PROBE_SIDE), min(image.height, top + _PROBE_SIDE)))
    return min((1, 2), key=lambda predictor: len(_saved(probe, Extras(), predictor)))


def _hold(made: bytes, pages: list[Image.Image]) -> bool:
    """Whether the file holds just these pages."""
    with Image.open(BytesIO(made), formats=["TIFF"]) as again:
        if getattr(again, "n_frames", 1) != len(pages):
            return False
        for number, page in enumerate(pages):
            again.seek(number)
            if (again.mode, again.size) != (page.mode, page.size) or again.tobytes() != page.tobytes():
                return False
    return True
