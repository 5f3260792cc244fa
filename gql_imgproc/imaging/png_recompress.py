"""The same PNG pixels in fewer bytes: by oxipng where it is quick, else their rows deflated anew."""

from __future__ import annotations

import math
import struct
import zlib

import oxipng
from PIL import Image

from gql_imgproc.imaging.metadata import save
from gql_imgproc.imaging.png_chunks import SAMPLES, Chunk, drop_metadata_chunks, fitting, has, joined, read

#: oxipng holds the GIL while it works, 0.3 to 0.6 us a byte of rows: 10 ms at most. Larger pictures are left to
#: zlib, which lets go.
_OXIPNG_MAX_ROWS_BYTES = 16_384
#: Places in a picture, and bytes at each, that show which deflate strategy suits it and whether any makes it smaller:
#: long matches take a second a megapixel, and one photograph in three gains nothing by any.
_PROBES, _PROBE_BYTES = 8, 32_768
#: Runs (photographs: five times as fast as the default and smaller), short matches, long matches (flat drawings).
_STRATEGIES = ((6, zlib.Z_RLE), (4, zlib.Z_FILTERED), (9, zlib.Z_DEFAULT_STRATEGY))
#: Bytes that are inflated at once.
_PIECE_BYTES = 1 << 18
#: Rows from which on long matches are looked for less hard: level 9 takes up to 0.8 s a megabyte, level 7 a
#: seventh of that for 1 to 20 % more bytes.
_LARGE_ROWS_BYTES = 12_000_000
_LARGE_LEVEL = 7


def recompress_losslessly(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> bytes:
    """The source's pixels as they are: any depth, interlacing or animation stays."""
    staying = drop_metadata_chunks(chunks, orientation, keep_metadata)
    if not has(chunks, b"acTL") and _rows_bytes(chunks[0][1]) <= _OXIPNG_MAX_ROWS_BYTES:
        return _oxipng(staying)
    return _redeflated(staying)


def write_png(image: Image.Image, beside: list[Chunk]) -> bytes:
    """A new file of the picture, without what Pillow knows beside its pixels."""
    bare = image.copy()
    transparency = image.info.get("transparency")
    bare.info = {} if transparency is None else {"transparency": transparency}
    chunks = read(save(bare, "PNG", compress_level=1))
    chunks[1:1] = fitting(beside, chunks[0][1][9])
    if _rows_bytes(chunks[0][1]) <= _OXIPNG_MAX_ROWS_BYTES:
        return _oxipng(chunks)
    return min(_redeflated(chunks), joined(chunks), key=len)


def _rows_bytes(header: bytes) -> int:
    width, height, depth, colour = _shape(header)
    return height * _row_bytes(width, depth, colour)


def _shape(header: bytes) -> tuple[int, int, int, int]:
    """Width and height in pixels, bits a sample and colour type."""
    width, height = struct.unpack_from(">II", header)
    return width, height, header[8], header[9]


def _row_bytes(width: int, depth: int, colour: int) -> int:
    return width * depth * SAMPLES[colour] // 8 + 2


def _oxipng(chunks: list[Chunk]) -> bytes:
    """The smallest file oxipng finds, tried again until it finds no smaller one: a second pass changes nothing."""
    # Interlacing is somebody's wish. A depth that goes would make a picture of 16 bits one that may get a
    # palette next time; what depends on how pixels are stored would have to go with a colour type that goes.
    free = not has(chunks, b"sBIT", b"bKGD")
    shallow = chunks[0][1][8] != 16
    best = joined(chunks)
    while True:
        try:
            found = oxipng.optimize_from_memory(
                best,
                level=2,
                interlace=None,
                bit_depth_reduction=free and shallow,
                color_type_reduction=free,
                palette_reduction=free,
                grayscale_reduction=free,
            )
        except (oxipng.PngError, ValueError):
            return best
        if len(found) >= len(best):
            return best
        best = found


def _redeflated(chunks: list[Chunk]) -> bytes:
    """The same rows, deflated as suits them best."""
    width, height, depth, colour = _shape(chunks[0][1])
    out: list[Chunk] = []
    stream: list[bytes] = []
    sequence, area = 0, (width, height)

    def flush(kind: bytes) -> None:
        nonlocal sequence
        if not stream:
            return
        rows = _deflated(b"".join(stream), area[1] * _row_bytes(area[0], depth, colour))
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
    return joined(out)


def _deflated(stream: bytes, rows_bytes: int) -> bytes:
    """The zlib stream anew, or as it was when it is not smaller or is not what the header says."""
    # Interlaced rows are more and shorter; twice the plain size is a bound for them too.
    rows = _inflated(stream, 2 * rows_bytes + 1024)
    if not rows:
        return stream
    size = sum(map(len, rows))
    probes = [piece[:_PROBE_BYTES] for piece in rows[:: math.ceil(len(rows) / _PROBES)]]
    expected, (level, strategy) = min((sum(len(_deflate([probe], *s)) for probe in probes), s) for s in _STRATEGIES)
    # Told piece by piece a picture seems larger by what the pieces do not know of each other: not much.
    if expected / sum(map(len, probes)) >= len(stream) / size:
        return stream
    if size > _LARGE_ROWS_BYTES:
        level = min(level, _LARGE_LEVEL)
    return min(_deflate(rows, level, strategy), stream, key=len)


def _inflated(stream: bytes, most: int) -> list[bytes] | None:
    """What is in the stream, piece by piece: one copy of all of it would hold the GIL; None when it has no end or
    is longer than `most`."""
    inflater, rows, view = zlib.decompressobj(), [], memoryview(stream)
    for at in range(0, len(stream), _PIECE_BYTES):
        piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
        while piece and not inflater.eof:
            rows.append(inflater.decompress(piece, _PIECE_BYTES))
            piece = inflater.unconsumed_tail
            most -= len(rows[-1])
            if most < 0:
                return None
    return rows if inflater.eof else None


def _deflate(rows: list[bytes], level: int, strategy: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return b"".join([*map(deflater.compress, rows), deflater.flush()])
