"""GIFs assembled block by block, because Pillow writes only some of their features."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

WIDTH, HEIGHT = 60, 40
PALETTE = bytes(level for n in range(64) for level in (n * 4, 255 - n * 3, n * 37 % 256))
OTHER_PALETTE = bytes(level for n in range(64) for level in (255 - n * 4, n * 3, n * 91 % 256))


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle of the canvas. With a `duration` of None there is no graphic control extension."""

    box: tuple[int, int, int, int] = (0, 0, WIDTH, HEIGHT)
    duration: int | None = 10
    disposal: int = 0
    transparent: int | None = None
    palette: bytes = b""
    interlaced: bool = False
    shift: int = 0
    numbers: Iterable[int] = field(default=())


def gif(
    *frames: Frame, loop: int | None = None, comment: bytes = b"", size: tuple[int, int] = (WIDTH, HEIGHT)
) -> bytes:
    out = [b"GIF89a" + struct.pack("<HHBBB", *size, 0x80 | 5, 1, 0), PALETTE]
    if loop is not None:
        out.append(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0")
    if comment:
        out.append(b"\x21\xfe" + bytes((len(comment),)) + comment + b"\0")
    for frame in frames:
        left, top, right, bottom = frame.box
        width, height = right - left, bottom - top
        if frame.duration is not None:
            flags = frame.disposal << 2 | (frame.transparent is not None)
            out.append(b"\x21\xf9\x04" + struct.pack("<BHB", flags, frame.duration, frame.transparent or 0) + b"\0")
        flags = (0x80 | 5 if frame.palette else 0) | (0x40 if frame.interlaced else 0)
        out += [b"\x2c" + struct.pack("<HHHHB", left, top, width, height, flags), frame.palette]
        rows = [[(x + y + frame.shift) // 4 % 64 for x in range(width)] for y in range(height)]
        if frame.interlaced:
            order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
            rows = [rows[y] for y in order]
        out.append(_stream([n for row in rows for n in row]))
    return b"".join([*out, b"\x3b"])


def _stream(numbers: list[int]) -> bytes:
    """LZW of 6 bits with a clear code before the codes would grow."""
    value = bits = 0
    packed = bytearray()
    for at, number in enumerate([*numbers, 65]):
        for code in ([64] if at % 60 == 0 else []) + [number]:
            value |= code << bits
            bits += 7
            while bits >= 8:
                packed.append(value & 255)
                value >>= 8
                bits -= 8
    packed.append(value & 255)
    blocks = [packed[n : n + 255] for n in range(0, len(packed), 255)]
    return b"\x06" + b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"


_PART = (10, 8, 40, 30)


def _disposed_frames(disposal: int) -> list[Frame]:
    return [Frame(box=_PART, disposal=disposal, transparent=7, shift=9 * n, duration=5 + n) for n in range(3)]


def sources() -> dict[str, bytes]:
    return {
        "still": gif(Frame(duration=None)),
        "still with a transparent colour": gif(Frame(transparent=3)),
        "interlaced": gif(Frame(interlaced=True)),
        "comment": gif(Frame(), comment=b"made by hand"),
        "contains a script": gif(Frame(), comment=b"*/=1;alert(1)//"),
        "frame smaller than the screen": gif(Frame(box=_PART)),
        **{
            f"disposal {n}": gif(
                Frame(),
                *[Frame(box=_PART, disposal=n, transparent=7, shift=9 * k, duration=5 + k) for k in range(3)],
                loop=0,
            )
            for n in range(4)
        },
        "local palettes": gif(Frame(), Frame(palette=OTHER_PALETTE, shift=20), loop=0),
        "transparent from the first frame": gif(
            Frame(box=_PART, transparent=3, disposal=2), Frame(box=_PART, transparent=5), loop=0
        ),
        "no durations": gif(*[Frame(duration=0, shift=7 * n) for n in range(3)], loop=0),
        "a frame without a duration": gif(Frame(duration=50), Frame(duration=None, shift=9), Frame(shift=18)),
        "equal frames": gif(Frame(), Frame(duration=20), Frame(shift=9)),
        "plays once": gif(Frame(), Frame(shift=9)),
        "plays without end": gif(Frame(), Frame(shift=9), loop=0),
        "plays twice": gif(Frame(), Frame(shift=9), loop=1),
        "plays seven times": gif(Frame(), Frame(shift=9), loop=6),
    }
