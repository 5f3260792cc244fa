"""JPEG: re-encodes at the wanted quality, in no coefficient finer than the source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import cast

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.imaging.codecs import jpeg_segments
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.structure import ImageStructure

Table = tuple[int, ...]

# Tables K.1 and K.2 of the JPEG standard in natural order. Every common encoder scales them by its quality.
# fmt: off
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *(99,) * 32,
)
# fmt: on
#: At this quality and above, chroma is stored in full: 4:2:0 subsampling would be the most visible loss.
_FULL_CHROMA_QUALITY = 90
#: Bytes of a profile that fit into 255 segments, and bytes of XMP or a comment that fit into one.
_MAX_PROFILE_BYTES = 255 * 65_519
_MAX_TEXT_BYTES = 65_000


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    return jpeg_segments.read_structure(data)


def open(data: bytes) -> ImageFile.ImageFile:
    # Image.open would make an MPO of a JPEG with several images.
    return JpegImageFile(BytesIO(data))


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file of the wanted quality; nothing if the header shows that the source is not better than that."""
    image = cast(JpegImageFile, source.image)
    is_kept = is_already_at_quality(image, options.quality)
    if is_kept and source.structure.is_complete:
        return
    load(image)
    if not is_kept:
        extras = collect_extras(image, source.structure.orientation, keep_metadata=options.keep_metadata)
        if options.keep_metadata:
            extras = replace(extras, segments=jpeg_segments.metadata(source.data, has_new_pixels=False))
        yield encode([image], EncodeSettings(options.quality, extras, jpeg_source=image))


@cache
def quantization_tables(quality: int) -> tuple[Table, Table]:
    """The luma and chroma tables that libjpeg derives from a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (tuple(min(255, max(1, (n * scale + 50) // 100)) for n in t) for t in (_LUMA, _CHROMA))
    return luma, chroma


def is_already_at_quality(image: JpegImageFile, quality: int) -> bool:
    """Whether the luma table of the source is as coarse as that of the quality, or coarser."""
    source = _source_tables(image)
    return bool(source) and sum(source[0]) >= sum(quantization_tables(quality)[0])


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    """No coefficient is finer than in the source of the settings: it would only store the noise of the source."""
    image, quality, extras = images[0], settings.quality, settings.extras
    wanted = quantization_tables(quality)
    present = _source_tables(settings.jpeg_source) if settings.jpeg_source else []
    tables = [tuple(map(max, *pair)) for pair in zip(wanted, present, strict=False)]
    tables += wanted[len(tables) :]
    return save(
        image,
        "JPEG",
        # libjpeg stores CMYK without a colour transform, so each ink is as visible as luma.
        qtables=tables if image.mode == "RGB" else tables[:1],
        # With subsampled CMYK, only cyan would be stored in full and the other inks, black too, at a quarter.
        subsampling="4:4:4" if quality >= _FULL_CHROMA_QUALITY or image.mode == "CMYK" else "4:2:0",
        optimize=True,
        icc_profile=extras.icc if len(extras.icc) <= _MAX_PROFILE_BYTES else b"",
        exif=extras.exif,
        xmp=extras.xmp if len(extras.xmp) <= _MAX_TEXT_BYTES else b"",
        comment=extras.comment if 0 < len(extras.comment) <= _MAX_TEXT_BYTES else None,
        extra=extras.segments,
        dpi=extras.dpi or (0, 0),
    )


def _source_tables(image: JpegImageFile) -> list[Table]:
    """The tables of the first two components, limited to what a baseline file can hold."""
    stored = image.quantization
    used = [stored[component[3]] for component in image.layer[:2] if component[3] in stored]
    return [tuple(min(255, n) for n in table) if max(table) > 255 else tuple(table) for table in used]
