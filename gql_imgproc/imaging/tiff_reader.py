"""Reads the directories of a TIFF (TIFF 6.0, section 2) or a BigTIFF. Nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# fmt: off
_TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}
# fmt: on
#: `struct` formats of the unsigned integer types; the last two are offsets of directories.
_INTEGERS = {3: "H", 4: "I", 16: "Q", 13: "I", 18: "Q"}


class Entry(NamedTuple):
    tag: int
    kind: int
    #: Number of values, and the bytes that they take; 0 if their type is unknown.
    values: int
    size: int
    #: Where the entry begins, and where its last bytes do, which are the values if they fit, or else their offset.
    at: int
    inline_at: int


class TiffReader:
    """Methods raise struct.error where the file ends early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        is_big = data[2:4] in (b"+\0", b"\0+")
        self._offset, self._count, self._entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
        #: Bytes of an offset, and of an entry.
        self.offset_bytes = struct.calcsize("<" + self._offset)
        self.entry_bytes = struct.calcsize("<" + self._entry) + self.offset_bytes
        self.first = self._read(self._offset, 8 if is_big else 4)[0]

    def _read(self, form: str, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, self._data, at)

    def count(self, directory: int) -> int:
        """The number of entries."""
        return self._read(self._count, directory)[0]

    def _entries_at(self, directory: int) -> int:
        return directory + struct.calcsize("<" + self._count)

    def end(self, directory: int) -> int:
        """Where the offset of the next directory begins."""
        return self._entries_at(directory) + self.count(directory) * self.entry_bytes

    def next(self, directory: int) -> int:
        return self._read(self._offset, self.end(directory))[0]

    def pages(self) -> Iterator[int]:
        """Each directory that is not inside another one."""
        visited: set[int] = set()
        directory = self.first
        while directory and directory not in visited:
            yield directory
            visited.add(directory)
            directory = self.next(directory)

    def entries(self, directory: int) -> Iterator[Entry]:
        for at in range(self._entries_at(directory), self.end(directory), self.entry_bytes):
            tag, kind, values = self._read(self._entry, at)
            inline_at = at + self.entry_bytes - self.offset_bytes
            yield Entry(tag, kind, values, values * _TYPE_BYTES.get(kind, 0), at, inline_at)

    def values_at(self, entry: Entry) -> int:
        return entry.inline_at if entry.size <= self.offset_bytes else self.offset(entry)

    def offset(self, entry: Entry) -> int:
        return self._read(self._offset, entry.inline_at)[0]

    def inline_integer(self, entry: Entry) -> int | None:
        """The first value, if it is an unsigned integer that would fit into an entry."""
        is_inline = entry.kind in _INTEGERS and _TYPE_BYTES[entry.kind] <= self.offset_bytes
        return self._read(_INTEGERS[entry.kind], entry.inline_at)[0] if is_inline else None

    def integers(self, entry: Entry) -> tuple[int, ...]:
        """All values; none if they are no unsigned integers."""
        form = _INTEGERS.get(entry.kind)
        return self._read(f"{entry.values}{form}", self.values_at(entry)) if form else ()
