"""Walks the boxes of an ISO base media file (ISO/IEC 14496-12) within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from gql_imgproc.imaging.errors import corrupt_image

Box = tuple[bytes, memoryview]
#: Offset and length of each piece of an image.
Extents = tuple[tuple[int, int], ...]
#: Boxes of an image or a track that contain nothing but boxes.
_CONTAINERS = {b"iprp", b"mdia", b"minf", b"stbl", b"edts"}


def find_end(data: bytes) -> int:
    """Where the last complete box of a file ends that `IsoBmffReader` accepted."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:
            return len(data)
        if size < 8 or at + size > len(data):
            break
        at += size
    return at


class IsoBmffReader:
    """A file, and the number of parts of it that may still be read, whatever the file declares."""

    def __init__(self, data: bytes, parts: int) -> None:
        self.view = memoryview(data)
        self._parts_left, self._joined_bytes = parts, 0

    def spend(self, parts: int = 1) -> None:
        self._parts_left -= parts
        if self._parts_left < 0:
            raise corrupt_image("The file is damaged: it is split into too many parts.")

    def walk(self, view: memoryview, *, lenient: bool = False) -> Iterator[Box]:
        """Type and content of each box (4.2). With `lenient`, other bytes may follow the last box of the file."""
        at, end = 0, len(view)
        while at + 8 <= end:
            self.spend()
            size, kind = struct.unpack_from(">I4s", view, at)
            head = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", view, at + 8)
                head = 16
            elif size == 0:
                size = end - at
            if size < head or at + size > end:
                if lenient:
                    return
                raise corrupt_image("The file is damaged or incomplete: one of its boxes ends early.")
            yield kind, view[at + head : at + size]
            at += size

    def walk_nested(self, view: memoryview) -> Iterator[Box]:
        """The boxes of an image or a track, without those that only group others."""
        pending = [view]
        while pending:
            for kind, body in self.walk(pending.pop()):
                if kind in _CONTAINERS:
                    pending.append(body)
                else:
                    yield kind, body

    def read_extents(self, view: memoryview, extents: Extents) -> memoryview:
        self.spend()
        if any(offset + length > len(view) for offset, length in extents):
            raise corrupt_image("The file is incomplete: bytes are missing at its end.")
        if len(extents) == 1:
            offset, length = extents[0]
            return view[offset : offset + length]
        # All extents may be the same bytes, and a decoder copies them for each extent.
        self._joined_bytes += sum(length for _, length in extents)
        if self._joined_bytes > len(self.view):
            raise corrupt_image("The file is damaged: its images declare more bytes than the file has.")
        return memoryview(b"".join(view[offset : offset + length] for offset, length in extents))
