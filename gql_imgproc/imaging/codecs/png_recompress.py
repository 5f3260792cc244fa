"""Compresses the same PNG pixels better: with oxipng if that is fast, otherwise by deflating the rows again."""

from __future__ import annotations

import math
import struct
import zlib

import oxipng
from PIL import Image

from gql_imgproc.imaging.codecs.png_chunks import (
    SAMPLES,
    Chunk,
    drop_metadata_chunks,
    fit_color_type,
    has_chunk,
    read,
    write,
)
from gql_imgproc.imaging.encode import save

#: oxipng holds the GIL for 0.3 to 0.6 us per byte of rows, so this is at most 10 ms. zlib, which releases the GIL,
#: compresses larger images.
_OXIPNG_MAX_ROWS_BYTES = 16_384
#: Places in an image, and bytes at each, that are compressed to choose the deflate strategy and to see whether it helps
#: at all: long matches take 1 s per megapixel, and one photograph in three does not become smaller with any strategy.
_PROBES, _PROBE_BYTES = 8, 32_768
#: Level and strategy: runs (for photographs five times as fast as the default, and smaller), short matches, long
#: matches (for flat drawings).
_STRATEGIES = ((6, zlib.Z_RLE), (4, zlib.Z_FILTERED), (9, zlib.Z_DEFAULT_STRATEGY))
#: Bytes that are inflated in one call.
_PIECE_BYTES = 1 << 18
#: Rows of at least this size are compressed at a lower level: level 9 needs up to 0.8 s per megabyte, level 7 a seventh
#: of that for 1 to 20 % more bytes.
_LARGE_ROWS_BYTES = 12_000_000
_LARGE_LEVEL = 7


def recompress_losslessly(chunks: list[Chunk], orientation: int, *, keep_metadata: bool) -> bytes:
    """Keeps the pixels, the depth, the interlacing and the animation of the source."""
    kept_chunks = drop_metadata_chunks(chunks, orientation, keep_metadata=keep_metadata)
    if not has_chunk(chunks, b"acTL") and _rows_bytes(chunks[0][1]) <= _OXIPNG_MAX_ROWS_BYTES:
        return _optimize_with_oxipng(kept_chunks)
    return _deflate_again(kept_chunks)


def write_png(image: Image.Image, ancillary: list[Chunk]) -> bytes:
    """A new file with these ancillary chunks, and none that Pillow would add."""
    bare = image.copy()
    transparency = image.info.get("transparency")
    bare.info = {} if transparency is None else {"transparency": transparency}
    chunks = read(save(bare, "PNG", compress_level=1))
    chunks[1:1] = fit_color_type(ancillary, chunks[0][1][9])
    if _rows_bytes(chunks[0][1]) <= _OXIPNG_MAX_ROWS_BYTES:
        return _optimize_with_oxipng(chunks)
    return min(_deflate_again(chunks), write(chunks), key=len)


def _rows_bytes(header: bytes) -> int:
    width, height, depth, color_type = _shape(header)
    return height * _row_bytes(width, depth, color_type)


def _shape(header: bytes) -> tuple[int, int, int, int]:
    """Width and height in pixels, bits per sample and colour type."""
    width, height = struct.unpack_from(">II", header)
    return width, height, header[8], header[9]


def _row_bytes(width: int, depth: int, color_type: int) -> int:
    return width * depth * SAMPLES[color_type] // 8 + 2


def _optimize_with_oxipng(chunks: list[Chunk]) -> bytes:
    """Runs oxipng until it finds no smaller file, so that compressing the result again changes nothing."""
    # Interlacing stays, because it was chosen. The depth of a 16-bit image stays, or the next pass might give it a
    # palette. The colour type stays if a chunk depends on it.
    may_change_type = not has_chunk(chunks, b"sBIT", b"bKGD")
    is_16_bit = chunks[0][1][8] == 16
    best = write(chunks)
    while True:
        try:
            optimized = oxipng.optimize_from_memory(
                best,
                level=2,
                interlace=None,
                bit_depth_reduction=may_change_type and not is_16_bit,
                color_type_reduction=may_change_type,
                palette_reduction=may_change_type,
                grayscale_reduction=may_change_type,
            )
        except (oxipng.PngError, ValueError):
            return best
        if len(optimized) >= len(best):
            return best
        best = optimized


def _deflate_again(chunks: list[Chunk]) -> bytes:
    """The same rows, compressed with the strategy that suits them best."""
    width, height, depth, color_type = _shape(chunks[0][1])
    out: list[Chunk] = []
    stream: list[bytes] = []
    sequence, area = 0, (width, height)

    def flush(kind: bytes) -> None:
        nonlocal sequence
        if not stream:
            return
        rows = _recompress_stream(b"".join(stream), area[1] * _row_bytes(area[0], depth, color_type))
        if kind == b"fdAT":
            rows = struct.pack(">I", sequence) + rows
            sequence += 1
        out.append((kind, rows))
        stream.clear()

    open_kind = b""
    for kind, body in chunks:
        if kind in (b"IDAT", b"fdAT"):
            open_kind = kind
            stream.append(body if kind == b"IDAT" else body[4:])
            continue
        flush(open_kind)
        if kind == b"fcTL":
            area = struct.unpack_from(">II", body, 4)
            body = struct.pack(">I", sequence) + body[4:]
            sequence += 1
        out.append((kind, body))
    return write(out)


def _recompress_stream(stream: bytes, rows_bytes: int) -> bytes:
    """A smaller zlib stream. If there is none, or the stream does not match the header, the stream itself."""
    # An interlaced image has more and shorter rows. Twice the size of its plain rows is a bound for them too.
    rows = _inflate(stream, 2 * rows_bytes + 1024)
    if not rows:
        return stream
    size = sum(map(len, rows))
    probes = [piece[:_PROBE_BYTES] for piece in rows[:: math.ceil(len(rows) / _PROBES)]]
    probed_bytes, (level, strategy) = min((sum(len(_deflate([probe], *s)) for probe in probes), s) for s in _STRATEGIES)
    # The estimate is slightly too high, because matches do not reach from one probe to the next.
    if probed_bytes / sum(map(len, probes)) >= len(stream) / size:
        return stream
    if size > _LARGE_ROWS_BYTES:
        level = min(level, _LARGE_LEVEL)
    return min(_deflate(rows, level, strategy), stream, key=len)


def _inflate(stream: bytes, max_bytes: int) -> list[bytes] | None:
    """The content in pieces, because one copy of all of it would hold the GIL. None if the stream has no end or
    contains more than `max_bytes`."""
    inflater, rows, view = zlib.decompressobj(), [], memoryview(stream)
    for at in range(0, len(stream), _PIECE_BYTES):
        piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
        while piece and not inflater.eof:
            rows.append(inflater.decompress(piece, _PIECE_BYTES))
            piece = inflater.unconsumed_tail
            max_bytes -= len(rows[-1])
            if max_bytes < 0:
                return None
    return rows if inflater.eof else None


def _deflate(rows: list[bytes], level: int, strategy: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return b"".join([*map(deflater.compress, rows), deflater.flush()])
