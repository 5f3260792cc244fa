"""Walks the directories of a TIFF: its pages and their sizes, within bounds. Nothing is decoded."""

from __future__ import annotations

import struct

from gql_imgproc.imaging.errors import corrupt_image, too_large, unsupported
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure

#: Types that Pillow copies unchanged: bytes, text and undefined data.
_OPAQUE_TYPES = (1, 2, 7)
# fmt: off
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}
# fmt: on
_BITS, _COMPRESSION, _KIND, _PALETTE, _SAMPLE_FORMAT = 258, 259, 262, 320, 339
_SIGNED = 2
#: Colours that TIFF defines: grey, RGB, palette, mask, CMYK, YCbCr, Lab, colour filters, LogLuv, linear raw.
_KINDS = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32_803, 32_844, 32_845, 34_892)
#: Compressions that companies registered.
_FIRST_PRIVATE, _LAST_PRIVATE = 32_766, 53_000
#: `struct` formats of the unsigned integer types.
_INTEGERS = {3: "H", 4: "I", 16: "Q"}


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    offset, entry_count, entry_bytes = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + offset, data, 8 if is_big else 4)
    first: dict[int, int] = {}
    samples_are_understood = True
    visited: set[int] = set()
    area = entries = values_bytes = 0
    while at and at not in visited:
        visited.add(at)
        if len(visited) > limits.max_frames:
            raise too_large(f"The TIFF has more than {limits.max_frames:,} pages, which is the limit.")
        (count,) = struct.unpack_from(order + entry_count, data, at)
        at += struct.calcsize(order + entry_count)
        entries += count
        if entries > MAX_PARTS:
            raise corrupt_image("The TIFF is damaged: its directories have too many entries.")
        tags, tags_bytes = _read_entries(data, at, count, order, is_big=is_big)
        values_bytes += tags_bytes
        # All entries may point to the same bytes, and Pillow copies them for each entry.
        if values_bytes > 2 * len(data) + 65_536:
            raise corrupt_image("The TIFF is damaged: its directories declare more bytes than the file has.")
        if 50706 in tags or (not first and 256 not in tags):
            raise unsupported("The file is a camera raw file or a TIFF without an image, which is not supported.")
        tile = tags.get(322, 0) * tags.get(323, 0)
        area = max(area, tags.get(256, 0) * tags.get(257, 0), tile)
        first = first or tags
        # Pillow reads signed samples of 8 bits as unsigned, and does not invert 16 bits.
        samples_are_understood &= (tags.get(_BITS), tags.get(_SAMPLE_FORMAT)) != (8, _SIGNED)
        samples_are_understood &= (tags.get(_BITS), tags.get(_KIND)) != (16, 0)
        (at,) = struct.unpack_from(order + offset, data, at + count * entry_bytes)
    if not first:
        raise corrupt_image("The TIFF is damaged: it contains no image.")
    orientation = first.get(274, 1)
    return ImageStructure(
        first.get(256, 0),
        first.get(257, 0),
        frames=len(visited),
        orientation=orientation if 1 <= orientation <= 8 else 1,
        area=area,
        samples_are_understood=samples_are_understood,
    )


def is_plausible(data: bytes) -> bool:
    """Whether the first page has known colours and a registered compression, so that other programs may read it."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, at)
    tags, _ = _read_entries(data, at + (8 if is_big else 2), count, order, is_big=is_big)
    compression = tags.get(_COMPRESSION, 1)
    is_registered = 1 <= compression <= 10 or _FIRST_PRIVATE <= compression <= _LAST_PRIVATE
    return tags.get(_KIND) in _KINDS and is_registered


def _read_entries(data: bytes, at: int, count: int, order: str, *, is_big: bool) -> tuple[dict[int, int], int]:
    """The tags with a single integer, and the bytes that the values of all tags take."""
    # The last bytes of an entry are its value, if it fits.
    entry_form, entry_bytes, value_bytes = (order + "HHQ", 20, 8) if is_big else (order + "HHI", 12, 4)
    tags: dict[int, int] = {}
    values_bytes = 0
    for start in range(at, at + count * entry_bytes, entry_bytes):
        tag, kind, values = struct.unpack_from(entry_form, data, start)
        values_bytes += values * _TYPE_BYTES.get(kind, 0)
        if kind in _INTEGERS and _TYPE_BYTES[kind] <= value_bytes:
            (tags[tag],) = struct.unpack_from(order + _INTEGERS[kind], data, start + entry_bytes - value_bytes)
        if tag == _PALETTE and values == 3 << 16:
            raise unsupported("The TIFF has a palette of 16 bits, which is not supported.")
        # Pillow builds a list of the numbers of an entry.
        if values > MAX_PARTS and kind not in _OPAQUE_TYPES:
            raise too_large(f"The TIFF has an entry with {values:,} values; the limit is {MAX_PARTS:,}.")
    return tags, values_bytes
