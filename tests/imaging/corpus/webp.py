"""WebPs that Pillow writes, and animations assembled frame by frame."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image

from tests.imaging.corpus.images import drawing, encode, photo, with_alpha

WIDTH, HEIGHT = 96, 64


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _u24(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(3, "little") for number in numbers)


def frame(
    image: Image.Image, at: tuple[int, int], duration: int, *, blend: bool, dispose: bool, **settings: Any
) -> bytes:
    """With `dispose`, the background replaces the frame afterwards."""
    stored = encode(image, "WEBP", **settings)
    start = 12
    if stored[start : start + 4] == b"VP8X":
        start += 18
    flags = (0 if blend else 2) | dispose
    head = _u24(at[0] // 2, at[1] // 2, image.width - 1, image.height - 1, duration) + bytes((flags,))
    return chunk(b"ANMF", head + stored[start:])


def animation(*frames: bytes, loop: int = 0, background: bytes = b"\0\0\0\0") -> bytes:
    head = bytes((0x02 | 0x10, 0, 0, 0)) + _u24(WIDTH - 1, HEIGHT - 1)
    return riff(chunk(b"VP8X", head), chunk(b"ANIM", background + struct.pack("<H", loop)), *frames)


def frames(durations: list[int], **traits: Any) -> list[bytes]:
    traits = {"blend": False, "dispose": False, "quality": 95, **traits}
    out = [frame(photo(WIDTH, HEIGHT), (0, 0), durations[0], **traits)]
    for n, duration in enumerate(durations[1:]):
        part = drawing(48, 32, "#fff0")
        part.paste(photo(24, 16), (2 * n, n))
        out.append(frame(part, (8 * n, 4 * n), duration, **traits))
    return out


def sources() -> dict[str, bytes]:
    rgb = photo()
    steps = [100, 40, 250, 1_000]
    mixed = frames(steps[:2]) + frames(steps[:2], lossless=True, exact=True)[1:]
    return {
        "lossy": encode(rgb, "WEBP", quality=92),
        "lossy with alpha": encode(with_alpha(rgb), "WEBP", quality=92),
        "lossless": encode(drawing(), "WEBP", lossless=True),
        "blending": animation(*frames(steps, blend=True)),
        "replacing": animation(*frames(steps)),
        "cleared": animation(*frames(steps, blend=True, dispose=True), loop=3),
        "background": animation(*frames(steps, dispose=True), background=b"\x10\x20\x30\xff", loop=1),
        "lossy and lossless": animation(*mixed),
        "no durations": animation(*frames([0, 0, 0])),
        "one frame": animation(*frames([70])),
    }
