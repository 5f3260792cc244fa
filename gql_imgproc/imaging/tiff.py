"""TIFF: deflated, where nothing of it gets lost on the way through Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from PIL import Image, TiffImagePlugin

from gql_imgproc.imaging.errors import decode_errors
from gql_imgproc.imaging.metadata import Extras, extras_of, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options

#: Lossless compressions of which deflating is an equal; a page in JPEG or fax coding would only grow.
_EQUALS = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
#: Modes that Pillow writes as it read them, and the bits of their samples.
_MODES = {"1": 1, "L": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "I;16": 16}
_BITS, _PREDICTOR, _XMP = 258, 317, 700
#: Tags about how samples are seen, which Pillow does not write: transfer function, white point, primaries,
#: transfer range, reference black and white; and smaller pictures inside a page.
_SEEN = {301, 318, 319, 342, 532, 330}
_DIRECTORIES = (0x8769, 0x8825)
_ORIENTATION, _KIND, _PAGE = 274, 254, (0, 2)
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
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


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Its pages deflated when each is upright, of a plain mode, losslessly stored and read back the same."""
    image, anatomy = cast(TiffImagePlugin.TiffImageFile, source.image), source.anatomy
    if anatomy.frames * anatomy.pixels > _MAX_PIXELS:
        with decode_errors():
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
    with decode_errors():
        for number in range(count):
            image.seek(number)
            # Before the pixels are loaded: loading turns a picture that lies on its side, and its tags with it.
            tags = dict(image.tag_v2)
            image.load()
            compression = str(image.info.get("compression"))
            # A copy knows nothing of the tags, which Pillow would write again.
            out.append(_Page(image.copy(), compression, _plain(image, tags), extras_of(image, 1, False)))
    return out


def _plain(image: Image.Image, tags: dict[int, Any]) -> bool:
    """Whether Pillow writes all that the page is: its samples, upright, seen as most are, no thumbnail or mask."""
    # A fourth sample may be of no meaning that TIFF knows, and of one that somebody does.
    samples = (_MODES.get(image.mode),) * len(image.getbands())
    even = tags.get(_RESOLUTION_UNIT) != 1 or tags.get(_X_RESOLUTION) == tags.get(_Y_RESOLUTION)
    own = tags.get(_ORIENTATION, 1) == 1 and tags.get(_KIND, 0) in _PAGE
    return tags.get(_BITS, (1,)) == samples and even and own and not _SEEN & set(tags)


def encode(pages: list[Image.Image], extras: Extras) -> bytes:
    first, *rest = pages
    # One for all pages; bits have no differences.
    predictor = 1 if any(page.mode == "1" for page in pages) else _predictor(first)
    return _saved(first, extras, predictor, **{"save_all": True, "append_images": rest} if rest else {})


def _saved(image: Image.Image, extras: Extras, predictor: int, **more: object) -> bytes:
    tags = Image.Exif()
    if extras.exif:
        tags.load(extras.exif)
        # Pillow cannot write the directories of camera and place into a TIFF that is compressed.
        for directory in _DIRECTORIES:
            tags.pop(directory, None)
    tags[_PREDICTOR] = predictor
    if extras.xmp:
        tags[_XMP] = extras.xmp
    settings = {"compression": "tiff_adobe_deflate", "tiffinfo": tags, **more}
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
