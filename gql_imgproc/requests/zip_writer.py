"""Writes a ZIP archive of uncompressed files as a stream. The format is PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.

ZIP libraries keep an object per file until the central directory at the end. Here memory holds the directory itself,
compressed: about 40 bytes per file.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import datetime
from struct import Struct

#: Bytes of the compressed directory that are unpacked at once.
_BLOCK_BYTES = 4096

_FILE_HEADER = Struct("<4s5H3L2H")
_DATA_DESCRIPTOR = Struct("<4s3L")
_DIRECTORY_HEADER = Struct("<4s6H3L5H2L")
_ZIP64_OFFSET = Struct("<2HQ")
_ZIP64_END = Struct("<4sQ2H2L4Q4sLQL")
_END = Struct("<4s4H2LH")

_VERSION, _VERSION_ZIP64, _UNIX = 20, 45, 3 << 8
#: The size follows the file in a data descriptor; names are UTF-8.
_FLAGS = 1 << 3 | 1 << 11
_FILE_MODE = 0o100644 << 16
#: The largest values of fields; they stand for a value in a ZIP64 field.
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFF_FFFF


class ZipWriter:
    def __init__(self, modified: datetime) -> None:
        """`modified`: the time that the archive has for each file."""
        date = (modified.year - 1980) << 9 | modified.month << 5 | modified.day
        self._time_and_date = (modified.hour << 11 | modified.minute << 5 | modified.second // 2, date)
        #: Bytes of the archive so far.
        self.position = 0
        self._files = 0
        self._compressor = zlib.compressobj(level=1)
        self._directory = bytearray()

    async def add_file(self, name: str, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Yields a file of less than 4 GiB."""
        encoded, start, crc, size = name.encode(), self.position, 0, 0
        common = (_FLAGS, 0, *self._time_and_date)
        yield _FILE_HEADER.pack(b"PK\3\4", _VERSION, *common, 0, 0, 0, len(encoded), 0) + encoded
        async for chunk in chunks:
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            yield chunk
        yield _DATA_DESCRIPTOR.pack(b"PK\7\x08", crc, size, size)
        self.position += _FILE_HEADER.size + len(encoded) + size + _DATA_DESCRIPTOR.size
        is_zip64 = start >= _MAX_32
        version, extra = (_VERSION_ZIP64, _ZIP64_OFFSET.pack(1, 8, start)) if is_zip64 else (_VERSION, b"")
        lengths, offset = (len(encoded), len(extra), 0), min(start, _MAX_32)
        versions, attributes = (_UNIX | version, version), (0, 0, _FILE_MODE)
        header = _DIRECTORY_HEADER.pack(b"PK\1\2", *versions, *common, crc, size, size, *lengths, *attributes, offset)
        self._directory += self._compressor.compress(header + encoded + extra)
        self._files += 1

    def finish(self) -> Iterator[bytes]:
        """Yields the directory and the end of the archive."""
        self._directory += self._compressor.flush()
        start, decompressor = self.position, zlib.decompressobj()
        for index in range(0, len(self._directory), _BLOCK_BYTES):
            data = decompressor.decompress(self._directory[index : index + _BLOCK_BYTES])
            self.position += len(data)
            yield data
        size, files = self.position - start, self._files
        if files >= _MAX_16 or max(start, size) >= _MAX_32:
            versions, locator = (_VERSION_ZIP64, _VERSION_ZIP64), (b"PK\6\7", 0, self.position, 1)
            yield _ZIP64_END.pack(b"PK\6\6", 44, *versions, 0, 0, files, files, size, start, *locator)
        files = min(files, _MAX_16)
        yield _END.pack(b"PK\5\6", 0, 0, files, files, min(size, _MAX_32), min(start, _MAX_32), 0)
