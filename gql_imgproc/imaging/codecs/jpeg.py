"""JPEG: re-encodes at the wanted quality, in no coefficient finer than the source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.imaging.codecs import jpeg_segments
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.limits import require_memory
from gql_imgproc.imaging.metadata import collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Effort, Metadata, Options

Table = tuple[int, ...]

#: At this quality and above, chroma is stored in full: 4:2:0 subsampling would be the most visible loss.
_FULL_CHROMA_QUALITY = 90
#: Bytes of a profile that fit into 255 segments, and bytes of XMP or a comment that fit into one.
_MAX_PROFILE_BYTES = 255 * 65_519
_MAX_TEXT_BYTES = 65_000
#: Virtual memory that the coefficients take, of CMYK without subsampling, and the files.
_PROGRESSIVE_BYTES_PER_PIXEL = 16


def open(file: BytesIO) -> JpegImageFile:
    return JpegImageFile(BytesIO(jpeg_segments.drop_short_segments(file.getvalue())))


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file of the wanted quality; nothing if the header shows that the source is not better than that."""
    image = cast(JpegImageFile, source.image)
    is_kept = source.structure.has_gain_map or is_already_at_quality(image, options.quality)
    if is_kept and source.structure.is_complete:
        return
    load(image)
    if not is_kept:
        extras = collect_extras(image, source.structure.orientation, metadata=options.metadata)
        extras = replace(extras, segments=jpeg_segments.metadata(source.data, options.metadata, has_new_pixels=False))
        yield encode([image], EncodeSettings(options.quality, extras, effort=options.effort, jpeg_source=image))


def shed(source: OpenedImage, options: Options) -> bytes:
    """Keeps what is pixels and colour, and replaces the metadata. The scans stay as they are."""
    if source.structure.has_gain_map:
        # The second image is behind the end of the first one, and its metadata say how to apply it.
        is_all = options.metadata is Metadata.ALL
        return source.data if is_all else jpeg_segments.without_location(source.data)
    if options.metadata is Metadata.ALL:
        return jpeg_segments.cut_off_after_end(source.data)
    extras = collect_extras(source.image, source.structure.orientation, metadata=options.metadata)
    iptc = jpeg_segments.metadata(source.data, options.metadata, has_new_pixels=False)
    return jpeg_segments.replace_metadata(source.data, extras.exif, extras.xmp, iptc)


@cache
def quantization_tables(quality: int) -> tuple[Table, Table]:
    """The luma and chroma tables that libjpeg derives from a quality."""
    written = JpegImageFile(BytesIO(save(Image.new("RGB", (8, 8)), "JPEG", quality=quality)))
    return tuple(written.quantization[0]), tuple(written.quantization[1])


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
    data = save(
        image,
        "JPEG",
        # libjpeg stores CMYK without a colour transform, so each ink is as visible as luma.
        qtables=tables if image.mode == "RGB" else tables[:1],
        # With subsampled CMYK, only cyan would be stored in full and the other inks, black too, at a quarter.
        subsampling="4:4:4" if quality >= _FULL_CHROMA_QUALITY or image.mode == "CMYK" else "4:2:0",
        optimize=settings.effort is not Effort.FAST,
        icc_profile=extras.icc if len(extras.icc) <= _MAX_PROFILE_BYTES else b"",
        exif=extras.exif,
        xmp=extras.xmp if len(extras.xmp) <= _MAX_TEXT_BYTES else b"",
        comment=extras.comment if 0 < len(extras.comment) <= _MAX_TEXT_BYTES else None,
        extra=extras.segments,
        dpi=extras.dpi or (0, 0),
    )
    return _make_progressive(image, data) if settings.effort is Effort.SMALL else data


def _make_progressive(image: Image.Image, data: bytes) -> bytes:
    """The same coefficients in the scans that MozJPEG chooses, or the file itself: few coefficients fit best in one."""
    from mozjpeg_lossless_optimization import COPY_MARKERS, optimize

    require_memory(image.width * image.height * _PROGRESSIVE_BYTES_PER_PIXEL)
    progressive: bytes = optimize(data, COPY_MARKERS.ALL)
    return min(progressive, data, key=len)


def _source_tables(image: JpegImageFile) -> list[Table]:
    """The tables of the first two components, limited to what a baseline file can hold."""
    stored = image.quantization
    used = [stored[component[3]] for component in image.layer[:2] if component[3] in stored]
    return [tuple(min(255, n) for n in table) if max(table) > 255 else tuple(table) for table in used]
