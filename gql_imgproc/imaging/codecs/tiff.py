"""TIFF: compressed with deflate, if nothing gets lost on the way through Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

from PIL import Image, TiffImagePlugin

from gql_imgproc.imaging import location
from gql_imgproc.imaging.codecs import tiff_directories
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import decode_errors, unsupported
from gql_imgproc.imaging.exif import keep_texts
from gql_imgproc.imaging.metadata import Extras, collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Metadata, Options

#: Lossless compressions that deflate can replace. A page in JPEG or fax coding would only grow.
_REPLACEABLE = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate")
#: Modes that Pillow writes as it read them, and the bits of their samples.
_MODES = {"1": 1, "L": 8, "RGB": 8, "RGBA": 8, "CMYK": 8, "I;16": 16}
_BITS, _SAMPLES, _PLANES, _PREDICTOR, _XMP = 258, 277, 284, 317, 700
#: Samples of 12 bits, which Pillow reads as 16 bits without scaling them.
_TWELVE_BITS, _SCALE_OF_12_BITS = (12,), 0xFFFF / 0xFFF
#: Planes: each sample of the pixels has one of its own.
_SEPARATE = 2
#: Tags that Pillow does not write: transfer function, white point, primaries, transfer range, reference black and
#: white, which change how samples look; and smaller images inside a page.
_LOST_TAGS = {301, 318, 319, 342, 532, 330}
_DIRECTORIES = (0x8769, 0x8825)
_ORIENTATION, _KIND, _PAGE = 274, 254, (0, 2)
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
#: Pixels of all pages that are in memory at once; 50 megapixels need about 200 MB.
_MAX_PIXELS = 50_000_000
#: Side in pixels of the centre of a page that is compressed to choose the predictor. Differences of samples compress
#: better in photographs.
_PROBE_SIDE = 256


@dataclass(frozen=True, slots=True)
class _Page:
    image: Image.Image
    compression: str
    pillow_can_represent: bool
    extras: Extras


class _TiffImage(TiffImagePlugin.TiffImageFile):
    def _setup(self) -> None:
        """Reads a single plane, and planes of 16 bits, of which Pillow would take the bytes for samples of 8 bits."""
        if self.tag_v2.get(_SAMPLES, 1) == 1:
            self.tag_v2[_PLANES] = 1
        super()._setup()
        if self._compression == "webp":
            # Pillow's library is built without it.
            raise _unsupported()
        bits = set(self.tag_v2.get(_BITS, (1,)))
        if self.tag_v2.get(_PLANES) != _SEPARATE or self.use_load_libtiff or bits == {8}:
            return
        if bits != {16} or self.mode not in ("RGB", "RGBA", "CMYK"):
            raise _unsupported()
        suffix = ";16L" if self.tag_v2.prefix == b"II" else ";16B"
        for n, tile in enumerate(self.tile):
            band, *layout = cast(tuple[Any, ...], tile.args)
            self.tile[n] = tile._replace(args=(band + suffix, *layout))

    def load(self) -> Any:
        is_new = bool(self.tile)
        try:
            super().load()
        except ValueError as error:
            if "raw mode" in str(error):
                # Planes of some modes.
                raise _unsupported() from error
            raise
        if is_new and self.tag_v2.get(_BITS) == _TWELVE_BITS:
            self.im = self.im.point_transform(_SCALE_OF_12_BITS, 0)
        return Image.Image.load(self)


def open(file: BytesIO) -> TiffImagePlugin.TiffImageFile:
    # Pillow does not find the tags of a big-endian BigTIFF.
    if file.getvalue().startswith(b"MM\0+"):
        raise _unsupported()
    try:
        return _TiffImage(file)
    except (SyntaxError, KeyError) as error:
        # Pillow has no mode or no compression for the tags.
        if tiff_directories.is_plausible(file.getvalue()):
            raise _unsupported() from error
        raise


def _unsupported() -> Exception:
    return unsupported("The TIFF is valid, but its depth, layout or compression is not supported. Use 8 or 16 bits.")


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file with deflated pages.

    Yields nothing unless every page is upright, stored losslessly, and decodes to the same pixels afterwards.
    """
    image, structure = cast(TiffImagePlugin.TiffImageFile, source.image), source.structure
    if structure.frames * structure.pixels > _MAX_PIXELS:
        load(image)
        return
    pages = _load_pages(image, structure.frames, options.metadata)
    if options.metadata is Metadata.ALL or structure.orientation != 1 or len({page.extras for page in pages}) > 1:
        return
    if not all(page.pillow_can_represent and page.compression in _REPLACEABLE for page in pages):
        return
    if not structure.samples_are_understood:
        return
    images = [page.image for page in pages]
    data = encode(images, EncodeSettings(options.quality, pages[0].extras))
    if _has_pages(data, images, len(images)):
        yield data


def shed(source: OpenedImage, options: Options) -> bytes:
    """The source without GPS data, and without what stands behind its end, unless all metadata are wanted."""
    data, pages = source.data, source.structure.frames
    if options.metadata is Metadata.ALL:
        return data
    shed = location.erase_from_tiff(data, pages)[: tiff_directories.find_end(data)]
    # Hostile tags place metadata over the image, or the image behind its end.
    with decode_errors():
        return shed if shed == data or _has_pages(shed, _iter_pages(data, pages), pages) else data


def _load_pages(image: TiffImagePlugin.TiffImageFile, count: int, metadata: Metadata) -> list[_Page]:
    pages = []
    with decode_errors():
        for number in range(count):
            image.seek(number)
            # Read before the pixels are loaded: loading applies the orientation to the pixels and to the tags.
            tags = dict(image.tag_v2)
            image.load()
            compression, extras = str(image.info.get("compression")), collect_extras(image, 1, metadata=metadata)
            # A copy has no tags, which Pillow would write again.
            pages.append(_Page(image.copy(), compression, _can_represent(image, tags), extras))
    return pages


def _can_represent(image: Image.Image, tags: dict[int, Any]) -> bool:
    """Whether Pillow writes everything: the page is upright and no thumbnail or mask, and no tag gets lost."""
    # A fourth sample may have a meaning that no TIFF tag states.
    samples = (_MODES.get(image.mode),) * len(image.getbands())
    has_square_pixels = tags.get(_RESOLUTION_UNIT) != 1 or tags.get(_X_RESOLUTION) == tags.get(_Y_RESOLUTION)
    is_upright_page = tags.get(_ORIENTATION, 1) == 1 and tags.get(_KIND, 0) in _PAGE
    return tags.get(_BITS, (1,)) == samples and has_square_pixels and is_upright_page and not _LOST_TAGS & set(tags)


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    first, *rest = images
    # One predictor for all pages. Pages of 1 bit have no differences.
    predictor = 1 if any(page.mode == "1" for page in images) else _choose_predictor(first)
    pages = {"save_all": True, "append_images": rest} if rest else {}
    return _save(first, settings.extras, predictor, **pages)


def _save(image: Image.Image, extras: Extras, predictor: int, **pages: object) -> bytes:
    tags = Image.Exif()
    if extras.exif:
        tags.load(extras.exif)
        keep_texts(tags)
        # Pillow cannot write the camera and GPS directories into a compressed TIFF.
        for directory in _DIRECTORIES:
            tags.pop(directory, None)
    tags[_PREDICTOR] = predictor
    if extras.xmp:
        tags[_XMP] = extras.xmp
    settings = {"compression": "tiff_adobe_deflate", "tiffinfo": tags, **pages}
    if extras.icc:
        settings["icc_profile"] = extras.icc
    if extras.dpi:
        settings["dpi"] = extras.dpi
    return save(image, "TIFF", **settings)


def _choose_predictor(image: Image.Image) -> int:
    """The better predictor for the page: 1 stores samples, 2 their differences (TIFF 6.0, section 14)."""
    left, top = max(0, image.width - _PROBE_SIDE) // 2, max(0, image.height - _PROBE_SIDE) // 2
    centre = image.crop((left, top, min(image.width, left + _PROBE_SIDE), min(image.height, top + _PROBE_SIDE)))
    return min((1, 2), key=lambda predictor: len(_save(centre, Extras(), predictor)))


def _iter_pages(data: bytes, count: int) -> Iterator[Image.Image]:
    with open(BytesIO(data)) as image:
        for number in range(count):
            image.seek(number)
            yield image


def _has_pages(data: bytes, pages: Iterable[Image.Image], count: int) -> bool:
    """Whether the file decodes to exactly these pages."""
    with open(BytesIO(data)) as decoded:
        if getattr(decoded, "n_frames", 1) != count:
            return False
        for number, page in enumerate(pages):
            decoded.seek(number)
            if (decoded.mode, decoded.size) != (page.mode, page.size) or decoded.tobytes() != page.tobytes():
                return False
    return True
