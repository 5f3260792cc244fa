"""PNGs of every depth and colour type, assembled chunk by chunk."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageChops

from gql_imgproc.imaging.codecs.png_chunks import SAMPLES, read, write
from tests.imaging.corpus.images import drawing, encode, photo

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
#: Below and above the maximum size for oxipng.
SIZES = [(40, 30), (200, 150)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *more: tuple[bytes, bytes], adam7: bool = False
) -> bytes:
    """A PNG of packed rows, neither filtered nor compressed. The chunks in `more` precede the pixels."""
    (width, height), bits = size, depth * SAMPLES[colour]
    whole = [rows[y * (width * bits + 7 >> 3) :][: width * bits + 7 >> 3] for y in range(height)]
    if adam7:
        at = bits // 8
        whole = [
            b"".join(whole[y][x * at : x * at + at] for x in range(left, width, right))
            for left, top, right, down in ADAM7
            for y in range(top, height, down)
        ]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, adam7)
    stream = zlib.compress(b"".join(b"\0" + row for row in whole), 0)
    return write([(b"IHDR", header), *more, (b"IDAT", stream), (b"IEND", b"")])


def samples(data: bytes) -> bytes:
    """The unfiltered rows of a PNG that is not interlaced."""
    chunks = read(data)
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    bits = depth * SAMPLES[colour]
    left, row_bytes = max(1, bits // 8), width * bits + 7 >> 3
    stream = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    above, out = bytes(row_bytes), bytearray()
    for y in range(height):
        kind, *row = stream[y * (row_bytes + 1) : (y + 1) * (row_bytes + 1)]
        for x in range(row_bytes):
            a, b, c = (row[x - left] if x >= left else 0), above[x], (above[x - left] if x >= left else 0)
            paeth = min((a, b, c), key=lambda level: abs(a + b - c - level))
            row[x] = (row[x] + (0, a, b, a + b >> 1, paeth)[kind]) % 256
        above = bytes(row)
        out += above
    return bytes(out)


def shape(data: bytes) -> tuple[int, int, int]:
    """Depth, colour type and interlacing."""
    header = read(data)[0][1]
    return header[8], header[9], header[12]


def chunk(data: bytes, kind: bytes) -> bytes | None:
    return dict(read(data)).get(kind)


def encode_png(image: Image.Image, **settings: Any) -> bytes:
    return encode(image, "PNG", **{"compress_level": 0, **settings})


def steps(size: tuple[int, int], levels: int) -> list[int]:
    """A number below `levels` for each pixel, in runs, as drawings have them."""
    return [(x // 3 + y // 2) % levels for y in range(size[1]) for x in range(size[0])]


def packed(size: tuple[int, int], depth: int) -> bytes:
    """Rows with one sample of at most 8 bits per pixel."""
    numbers, out = steps(size, min(1 << depth, 200)), bytearray()
    for y in range(size[1]):
        row = numbers[y * size[0] : (y + 1) * size[0]]
        row += [0] * (-len(row) % (8 // depth))
        for x in range(0, len(row), 8 // depth):
            out.append(sum(n << 8 - depth * (i + 1) for i, n in enumerate(row[x : x + 8 // depth])))
    return bytes(out)


def colored(size: tuple[int, int], colors: int, *, alpha: bool) -> bytes:
    """Rows of RGB or RGBA with this number of unrelated colours."""
    chance = random.Random(colors)
    palette = [chance.randbytes(4 if alpha else 3) for _ in range(colors)]
    return b"".join(palette[n] for n in steps(size, colors))


def sources(size: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Every way to store pixels of at most 8 bits, with pixels that each way can store exactly."""
    for depth in (1, 2, 4, 8):
        yield f"grey of {depth} bits", png(size, depth, GREY, packed(size, depth))
        table = random.Random(depth).randbytes(3 << depth)
        yield f"palette of {depth} bits", png(size, depth, PALETTE, packed(size, depth), (b"PLTE", table))
        alphas = (b"tRNS", bytes(range(1 << depth)))
        yield (
            f"palette with alpha of {depth} bits",
            png(size, depth, PALETTE, packed(size, depth), (b"PLTE", table), alphas),
        )
        yield (
            f"grey with a transparent level of {depth} bits",
            png(size, depth, GREY, packed(size, depth), (b"tRNS", b"\0\1")),
        )
    twos = bytes(n * 37 % 256 for n in steps(size, 150) for n in (n, n + 1))
    yield "grey with alpha", png(size, 8, GREY_ALPHA, twos)
    yield (
        "grey with opaque alpha",
        png(size, 8, GREY_ALPHA, b"".join(bytes((n, 255)) for n in packed(size, 8))),
    )
    yield "RGB", png(size, 8, RGB, colored(size, 100, alpha=False))
    key = colored(size, 100, alpha=False)[:3]
    yield (
        "RGB with a transparent colour",
        png(size, 8, RGB, colored(size, 100, alpha=False), (b"tRNS", b"\0%c\0%c\0%c" % (*key,))),
    )
    yield "RGB of greys", png(size, 8, RGB, bytes(n for level in packed(size, 8) for n in (level,) * 3))
    yield "RGB with alpha", png(size, 8, RGB_ALPHA, colored(size, 200, alpha=True))
    yield "RGB with opaque alpha", encode_png(photo(*size).convert("RGBA"))
    yield "RGB photograph", encode_png(photo(*size))
    noisy = photo(*size).convert("RGBA")
    noisy.putalpha(Image.linear_gradient("L").resize(size))
    yield "RGB photograph with alpha", encode_png(noisy)
    yield (
        "RGB photograph with a transparent colour",
        encode_png(photo(*size), transparency=photo(*size).getpixel((0, 0))),
    )


def png_16_bit(colour: int, *more: tuple[bytes, bytes], size: tuple[int, int] = (200, 150)) -> bytes:
    """Samples whose low bytes are independent of the high bytes."""
    chance = random.Random(colour)
    palette = [chance.randbytes(2 * SAMPLES[colour]) for _ in range(40)]
    return png(size, 16, colour, b"".join(palette[n] for n in steps(size, 40)), *more)


def png_16_bit_with_transparent_color(colour: int) -> bytes:
    """The first colour of the image is transparent."""
    first = random.Random(colour).randbytes(2 * SAMPLES[colour])
    return png_16_bit(colour, (b"tRNS", first))


def animation(**settings: Any) -> bytes:
    """Four frames; the later ones are partly transparent."""
    frames = [photo(200, 150).convert("RGBA")]
    for n in range(3):
        frame = drawing(200, 150, "#fff0")
        frames.append(ImageChops.offset(frame, 20 * n, 10 * n))
    return encode_png(frames[0], save_all=True, append_images=frames[1:], **settings)


def split_frames(data: bytes) -> bytes:
    """The same animation with the pixels of each frame in three chunks, and a text."""
    out: list[tuple[bytes, bytes]] = []
    sequence = 0
    for kind, body in read(data):
        if kind == b"fcTL":
            out.append((kind, struct.pack(">I", sequence) + body[4:]))
            sequence += 1
        elif kind in (b"IDAT", b"fdAT"):
            stream = body if kind == b"IDAT" else body[4:]
            third = len(stream) // 3 + 1
            for at in range(0, len(stream), third):
                piece = stream[at : at + third]
                if kind == b"fdAT":
                    piece, sequence = struct.pack(">I", sequence) + piece, sequence + 1
                out.append((kind, piece))
        else:
            out.append((kind, body))
    out.insert(-1, (b"tEXt", b"Comment\0made by hand"))
    return write(out)


ANIMATIONS: dict[str, dict[str, Any]] = {
    "plain": {"duration": 100},
    "durations and plays": {"duration": [40, 100, 200, 1_000], "loop": 3},
    "disposal": {"duration": 100, "disposal": [0, 1, 2, 1]},
    "blending": {"duration": 100, "blend": [0, 1, 1, 0]},
    "both": {"duration": 100, "disposal": [0, 2, 1, 0], "blend": [0, 1, 0, 1]},
    "default image": {"duration": 100, "default_image": True, "loop": 1},
    "no durations": {"duration": 0},
}
