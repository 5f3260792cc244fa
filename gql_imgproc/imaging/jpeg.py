"""JPEG: its quantisation tables, what quality they amount to, and a new file that is no finer than its source."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.imaging import jpeg_segments
from gql_imgproc.imaging.metadata import Extras, extras_of, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import load

Table = tuple[int, ...]

# Tables K.1 and K.2 of the JPEG standard in natural order: what every common encoder scales by its quality.
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
#: From this quality on chroma is stored in full: 4:2:0 would be what is seen first.
_FULL_CHROMA_QUALITY = 90
#: Bytes of a profile that 255 segments can hold, and of what must fit into one.
_MAX_PROFILE_BYTES = 255 * 65_519
_MAX_TEXT_BYTES = 65_000


@cache
def quantization_tables(quality: int) -> tuple[Table, Table]:
    """The luma and chroma tables that libjpeg makes of a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (tuple(min(255, max(1, (n * scale + 50) // 100)) for n in t) for t in (_LUMA, _CHROMA))
    return luma, chroma


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """One file of the wanted quality; none, from the header alone, when the source is no better than that."""
    image = cast(JpegImageFile, source.image)
    kept = is_already_at_quality(image, options.quality)
    if kept and source.anatomy.ended:
        return
    load(image)
    if not kept:
        extras = extras_of(image, source.anatomy.orientation, options.keep_metadata)
        if options.keep_metadata:
            extras = replace(extras, segments=jpeg_segments.metadata(source.data, remade=False))
        yield encode(image, options.quality, extras, source=image)


def is_already_at_quality(image: JpegImageFile, quality: int) -> bool:
    """Whether the source, by its luma table, is of the quality or a lower one already."""
    source = _source_tables(image)
    return bool(source) and sum(source[0]) >= sum(quantization_tables(quality)[0])


def encode(image: Image.Image, quality: int, extras: Extras, source: JpegImageFile | None = None) -> bytes:
    """A JPEG of the wanted quality, in no coefficient finer than the source: it would store the source's noise."""
    wanted = quantization_tables(quality)
    present = _source_tables(source) if source else []
    coarser = [tuple(map(max, *pair)) for pair in zip(wanted, present, strict=False)]
    coarser += wanted[len(coarser) :]
    return save(
        image,
        "JPEG",
        # libjpeg stores CMYK untransformed: each ink is as visible as luma.
        qtables=coarser if image.mode == "RGB" else coarser[:1],
        # Of inks the first one would be stored in full and the others, black too, at a quarter.
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
    """The tables of the first two components, at most as coarse as a baseline file can hold."""
    stored = image.quantization
    used = [stored[component[3]] for component in image.layer[:2] if component[3] in stored]
    return [tuple(min(255, n) for n in table) if max(table) > 255 else tuple(table) for table in used]
