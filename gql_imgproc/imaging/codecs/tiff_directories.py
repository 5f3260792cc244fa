"""Walks the directories of a TIFF: its pages and their sizes, within bounds. Nothing is decoded."""

from __future__ import annotations

import struct

from gql_imgproc.imaging.errors import corrupt_image, too_large, unsupported
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure


def read_structure(data: bytes, max_frames: int) -> ImageStructure:
    try:
        return _walk(data, max_frames)
    except (struct.error, OverflowError):
        # Python raises OverflowError for an offset of 8 bytes that exceeds the address space.
        raise corrupt_image("The TIFF is damaged: it ends inside a directory.") from None


#: Types that Pillow copies unchanged: bytes, text and undefined data.
_OPAQUE_TYPES = (1, 2, 7)
# fmt: off
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}
# fmt: on


def _walk(data: bytes, max_frames: int) -> ImageStructure:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    offset, number, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    first: dict[int, int] = {}
    seen: set[int] = set()
    area = entries = values_bytes = 0
    while at and at not in seen:
        seen.add(at)
        if len(seen) > max_frames:
            raise too_large(f"The TIFF has more than {max_frames:,} pages, which is the limit.")
        (count,) = struct.unpack_from(order + number, data, at)
        at += struct.calcsize(order + number)
        entries += count
        if entries > MAX_PARTS:
            raise corrupt_image("The TIFF is damaged: its directories have too many entries.")
        tags: dict[int, int] = {}
        for n in range(count):
            tag, kind, many = struct.unpack_from(order + "HH" + offset, data, at + n * entry)
            values_bytes += many * _TYPE_BYTES.get(kind, 0)
            if kind in (3, 4, 16):
                form = {3: "H", 4: "I", 16: "Q"}[kind]
                if struct.calcsize(form) <= (8 if big else 4):
                    (tags[tag],) = struct.unpack_from(order + form, data, at + n * entry + (12 if big else 8))
            # Pillow builds a list of the numbers of an entry.
            if many > MAX_PARTS and kind not in _OPAQUE_TYPES:
                raise too_large(
                    f"The TIFF has an entry with {many:,} values, such as strips; the limit is {MAX_PARTS:,}."
                )
        # All entries may point to the same bytes, and Pillow copies them for each entry.
        if values_bytes > 2 * len(data) + 65_536:
            raise corrupt_image("The TIFF is damaged: its directories declare more bytes than the file has.")
        if 50706 in tags or (not first and 256 not in tags):
            raise unsupported("The file is a camera raw file or a TIFF without an image, which is not supported.")
        tile = tags.get(322, 0) * tags.get(323, 0)
        area = max(area, tags.get(256, 0) * tags.get(257, 0), tile)
        first = first or tags
        (at,) = struct.unpack_from(order + offset, data, at + count * entry)
    if not first:
        raise corrupt_image("The TIFF is damaged: it contains no image.")
    return ImageStructure(
        first.get(256, 0),
        first.get(257, 0),
        frames=len(seen),
        orientation=first.get(274, 1) if 1 <= first.get(274, 1) <= 8 else 1,
        area=area,
    )
