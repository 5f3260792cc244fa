"""Prepares a PNG for Pillow, which refuses more damage than browsers do."""

from __future__ import annotations

import struct
import zlib

from gql_imgproc.imaging.codecs.png_chunks import (
    SAMPLES,
    XMP,
    Chunk,
    pad_palette,
    scale_transparent_grey,
    walk,
    walk_all,
    write,
)
from gql_imgproc.imaging.codecs.png_texts import TEXTS
from gql_imgproc.imaging.errors import corrupt_image

#: The checksum at the end of a zlib stream.
_ADLER_BYTES = 4
_ZLIB_HEADER_BYTES = 2
#: Bytes that are inflated in one call.
_PIECE_BYTES = 1 << 18


def make_readable(data: bytes) -> bytes:
    """The file without damaged chunks, and without texts, which Pillow would inflate before the pixels, up to 64 MiB;
    uncompressed XMP stays.

    Pixels are proven by the checksum of each chunk or by that of the whole stream. Browsers show them if either is
    right. The latter gets a chunk of its own, which Pillow does not read.
    """
    chunks = [(kind, body) for kind, body in walk(data) if kind not in TEXTS or body[: len(XMP)] == XMP]
    stream = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if not _is_proven(data, stream):
        raise corrupt_image("The PNG is damaged: the checksums of its pixels are wrong.")
    parts = [(b"IDAT", memoryview(part)) for part in (stream[:-_ADLER_BYTES], stream[-_ADLER_BYTES:]) if part]
    header = bytes(chunks[0][1])
    chunks = [(kind, scale_transparent_grey(kind, body, header)) for kind, body in pad_palette(chunks)]
    first = next((n for n, (kind, _) in enumerate(chunks) if kind == b"IDAT"), len(chunks))
    return write([*chunks[:first], *parts, *(c for c in chunks[first:] if c[0] != b"IDAT")])


def _is_proven(data: bytes, stream: bytes) -> bool:
    pixels = ((body, checksum) for kind, body, checksum in walk_all(data) if kind == b"IDAT")
    if all(checksum == zlib.crc32(body, zlib.crc32(b"IDAT")) for body, checksum in pixels):
        return True
    try:
        return _inflate(stream, bytes(next(walk(data))[1])) is not None
    except zlib.error:
        return False


def repair_stream(chunks: list[Chunk]) -> list[Chunk] | None:
    """The chunks with a right checksum of the pixels; None if the pixels are incomplete or have it already."""
    stream = b"".join(body for kind, body in chunks if kind == b"IDAT")
    try:
        rows = _inflate(stream[_ZLIB_HEADER_BYTES:], chunks[0][1], -zlib.MAX_WBITS)
    except zlib.error:
        return None
    repaired = zlib.compress(b"".join(rows or ()), 1)
    if not rows or repaired == stream:
        return None
    return [*(chunk for chunk in chunks[:-1] if chunk[0] != b"IDAT"), (b"IDAT", repaired), chunks[-1]]


def _inflate(stream: bytes, header: bytes, window_bits: int = zlib.MAX_WBITS) -> list[bytes] | None:
    """The rows in pieces, because one copy of all of them would hold the GIL. None if the stream has no end or contains
    more than the header says; -`MAX_WBITS` reads a stream without header and checksum."""
    inflater, rows, view = zlib.decompressobj(window_bits), [], memoryview(stream)
    width, height = struct.unpack_from(">II", header)
    # An interlaced image has more and shorter rows. Twice the size of its plain rows is a bound for them too.
    max_bytes = 2 * height * (width * header[8] * SAMPLES[header[9]] // 8 + 2) + 1024
    for at in range(0, len(stream), _PIECE_BYTES):
        piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
        while piece and not inflater.eof:
            rows.append(inflater.decompress(piece, _PIECE_BYTES))
            piece = inflater.unconsumed_tail
            max_bytes -= len(rows[-1])
            if max_bytes < 0:
                return None
    return rows if inflater.eof else None
