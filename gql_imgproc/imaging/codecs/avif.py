"""AVIF: re-encodes at the wanted quality, if Pillow can write everything that the source holds."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from typing import cast

from PIL import AvifImagePlugin, Image

from gql_imgproc.imaging import color_profiles, location
from gql_imgproc.imaging.codecs import heif
from gql_imgproc.imaging.codecs.isobmff import find_end
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import decode_errors, too_large
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import Effort, Metadata, Options
from gql_imgproc.imaging.quality_mapping import avif_quality
from gql_imgproc.imaging.structure import ImageStructure

# One image uses one core: the worker decides how many images are processed at once.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
#: libaom's trade of speed against size. 8 takes 161 ms per megapixel, 6 411 ms.
_SPEEDS = {Effort.FAST: 10, Effort.BALANCED: 8, Effort.SMALL: 6}
#: Begins the minor version of the `ftyp` box of an output; its last byte is the quality. Readers must not interpret the
#: minor version (ISO/IEC 14496-12, 4.3).
_MARK, _MARK_AT = b"gqi", 12
#: Takes the place of the mark in a file whose quality was chosen for a similarity, which is then the last byte.
_FLOOR_MARK = b"gqf"
#: The colours that Pillow writes. Their last number is the matrix of the samples.
_SRGB = b"colrnclx" + struct.pack(">HHH", 1, 13, 6)


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    container = heif.read_structure(data, limits.max_frames)
    if container.area > limits.max_pixels:
        raise too_large(
            f"Decoding the image takes {container.area / 1e6:,.1f} megapixels; "
            f"the limit is {limits.max_pixels / 1e6:,g} megapixels."
        )
    # libavif reads only the boxes here, which are within bounds now. It allocates planes when the image is loaded.
    with decode_errors():
        image = AvifImagePlugin.AvifImageFile(BytesIO(data))
        # Pillow reports the transforms after decoding (irot, imir) as an EXIF orientation.
        orientation = read_orientation(cast(bytes, image.info.get("exif", b"")))
        return ImageStructure(
            *image.size,
            frames=max(cast(int, image.n_frames), container.frames),
            orientation=orientation,
            area=container.area,
            play_count=container.play_count,
            declared_size_matches=container.declared_size_matches,
            pillow_can_represent=container.pillow_can_represent,
            video_colors=container.video_colors,
        )


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """Yields one file of the wanted quality.

    Yields nothing if the source is an animation or our own output of that quality, or if Pillow would lose something of
    it: exact RGB, more than 8 bits, HDR, a crop.
    """
    image, structure = source.image, source.structure
    load(image)
    if structure.frames > 1 or not structure.pillow_can_represent or is_own_output(source.data, options.quality):
        return
    extras = collect_extras(image, structure.orientation, metadata=options.metadata)
    yield encode([image], EncodeSettings(options.quality, extras, effort=options.effort))


def shed(source: OpenedImage, options: Options) -> bytes:
    """The source without what stands behind its boxes, without GPS data unless all metadata are wanted, and without a
    profile that browsers do not apply: they show no AVIF with a broken one.

    Its box becomes free space, so that nothing moves.
    """
    image, data = source.image, source.data[: find_end(source.data)]
    if options.metadata is not Metadata.ALL:
        data = _erase_location(data, source.structure.frames)
    icc = image.info.get("icc_profile") or b""
    if not icc or color_profiles.usable_profile(icc, image.mode):
        return data
    whole = data
    for kind in heif.PROFILES:
        data = data.replace(b"colr" + kind + icc, b"free" + kind + icc)
    try:
        AvifImagePlugin.AvifImageFile(BytesIO(data))
    except Exception:
        # The property is marked as essential, which no known encoder does.
        return whole
    return data


def _erase_location(data: bytes, frames: int) -> bytes:
    found = heif.read_structure(data, frames)
    out = bytearray(data)
    if sum(size for _, size in found.exif | found.xmp) > len(data):
        # Thousands of items that are the same bytes.
        return data
    for at, size in found.exif:
        # The EXIF begins with the number of bytes before its TIFF (ISO/IEC 23008-12, A.2.1).
        start = at + 4 + int.from_bytes(data[at : at + 4])
        with suppress(*location.ERRORS):
            tiff = location.erase_from_tiff(data[start : at + size], pages=1)
            out[start : start + len(tiff)] = tiff
    for at, size in found.xmp:
        xmp = location.erase_from_xmp(data[at : at + size])
        out[at : at + len(xmp)] = xmp
    return bytes(out)


def is_own_output(data: bytes, quality: int) -> bool:
    """Whether the mark shows that we encoded the file with this quality or a lower one."""
    mark, at = data[_MARK_AT : _MARK_AT + 4], len(_MARK)
    return mark.startswith(_MARK) and mark[at] <= quality


def add_mark(data: bytes, floor: int) -> bytes:
    """Replaces the mark by that of `floor_mark`."""
    return data[:_MARK_AT] + _FLOOR_MARK + bytes((floor,)) + data[_MARK_AT + 4 :]


def read_mark(data: bytes) -> int | None:
    mark, at = data[_MARK_AT : _MARK_AT + 4], len(_FLOOR_MARK)
    return mark[at] if mark.startswith(_FLOOR_MARK) else None


def encode(images: Sequence[Image.Image], settings: EncodeSettings) -> bytes:
    first, *rest = images
    durations_ms = list(settings.durations_ms)
    animation = {"save_all": True, "append_images": rest, "duration": durations_ms} if durations_ms else {}
    data = save(
        first,
        "AVIF",
        quality=avif_quality(settings.quality),
        speed=_SPEEDS[settings.effort],
        max_threads=1,
        icc_profile=settings.extras.icc,
        exif=settings.extras.exif,
        xmp=settings.extras.xmp,
        **animation,
    )
    if settings.video_colors:
        data = data.replace(_SRGB, b"colrnclx" + struct.pack(">HH", *settings.video_colors) + _SRGB[-2:])
    data = data[:_MARK_AT] + _MARK + bytes((settings.quality,)) + data[_MARK_AT + 4 :]
    return _set_play_count(data, settings.play_count, sum(durations_ms)) if settings.play_count and rest else data


def _set_play_count(data: bytes, play_count: int, duration_ms: int) -> bytes:
    """Pillow writes endless animations. A finite one states its end in the headers of movie and tracks.

    Both headers are of version 1, in milliseconds (ISO/IEC 14496-12, 8.2.2 and 8.3.2).
    """
    out = bytearray(data)
    for header, at in ((b"mvhd", 24), (b"tkhd", 28)):
        start = data.find(header)
        while 0 <= start < data.find(b"mdat"):
            start += 4
            if data[start] == 1 and data[start + at : start + at + 8] == b"\xff" * 8:
                out[start + at : start + at + 8] = (play_count * duration_ms).to_bytes(8, "big")
            start = data.find(header, start)
    return bytes(out)
