"""Compresses the same PNG pixels better, with oxipng."""

from __future__ import annotations

import math
import os
import struct
from typing import Any

import oxipng
from PIL import Image

from gql_imgproc.imaging.codecs.png_chunks import Chunk, has_chunk, read, write
from gql_imgproc.imaging.codecs.png_repair import repair_stream
from gql_imgproc.imaging.encode import save
from gql_imgproc.imaging.limits import require_memory
from gql_imgproc.imaging.options import Effort

# One image gets one thread, as in the CPU pool. oxipng reads this when it is first used.
os.environ.setdefault("RAYON_NUM_THREADS", "1")
#: Pixels of all frames, the highest level up to there, and the virtual memory per pixel that it takes. Level 2 takes
#: 1.2 s per megapixel of RGB, level 1 0.5 s for 3 to 5 % more bytes, level 0 0.15 s.
_LEVELS = {
    Effort.FAST: ((math.inf, 0, 24),),
    Effort.BALANCED: ((4_000_000, 2, 48), (16_000_000, 1, 24), (math.inf, 0, 24)),
    Effort.SMALL: ((4_000_000, 4, 48), (16_000_000, 2, 48), (math.inf, 1, 24)),
}
#: On a palette, level 2 takes three times as long as level 1 for 4 % fewer bytes. A palette for which level 1 saves
#: less than 5 % is not compressed with level 2.
PALETTE_LEVEL, _COMPACT_RATIO = 1, 0.95
#: Bytes of a file up to which oxipng is run until it finds nothing smaller.
_REPEATED_BYTES = 16_384
_PALETTE, _GREYS = 3, (0, 4)


def optimize(chunks: list[Chunk], effort: Effort = Effort.BALANCED, *, max_level: int = 4) -> bytes:
    """Keeps the pixels as displayed, the interlacing, the animation, and a depth of 16 bits."""
    header = chunks[0][1]
    pixels = sum(w * h for w, h in _frame_sizes(chunks))
    level, memory = next((level, memory) for most, level, memory in _LEVELS[effort] if pixels <= most)
    require_memory(pixels * memory)
    # A background refers to a stored colour, a profile to grey or to RGB. The next pass might give an image that had 16
    # bits a palette. Frames of an animation are drawn over others.
    is_free = header[8] != 16 and not has_chunk(chunks, b"bKGD", b"acTL")
    is_profiled = has_chunk(chunks, b"iCCP")
    settings: dict[str, Any] = {
        "level": min(level, max_level),
        "interlace": "keep",
        "optimize_alpha": is_free,
        "bit_depth_reduction": is_free,
        "color_type_reduction": is_free,
        "palette_reduction": is_free and not (is_profiled and header[9] in _GREYS),
        "grayscale_reduction": is_free and not is_profiled,
    }
    if max_level == PALETTE_LEVEL:
        # Other filters take a third of the time and hardly ever suit a palette; nor does another order of its colours.
        settings |= {"filter": ["none"], "palette_reduction": False}
    best = write(chunks)
    try:
        while len(smaller := oxipng.optimize_from_memory(best, **settings)) < len(best):
            best = smaller
            if len(best) > _REPEATED_BYTES:
                break
    except oxipng.PngError:
        # It refuses a wrong checksum of the pixels, which does not matter otherwise.
        repaired = repair_stream(chunks)
        return best if repaired is None else optimize(repaired, effort, max_level=max_level)
    return best


def is_compact_palette(chunks: list[Chunk], effort: Effort) -> bool:
    """Whether the image has a palette and is as small as an output would be, which a second pass must not change."""
    if chunks[0][1][9] != _PALETTE:
        return False
    return len(optimize(chunks, effort, max_level=PALETTE_LEVEL)) > _COMPACT_RATIO * len(write(chunks))


def encode(image: Image.Image, ancillary: list[Chunk]) -> list[Chunk]:
    """The chunks of a new file with these ancillary ones, and none that Pillow would add."""
    bare = image.copy()
    transparency = image.info.get("transparency")
    bare.info = {} if transparency is None else {"transparency": transparency}
    chunks = read(save(bare, "PNG", compress_level=1))
    return [chunks[0], *ancillary, *chunks[1:]]


def _frame_sizes(chunks: list[Chunk]) -> list[tuple[int, int]]:
    size = struct.unpack_from(">II", chunks[0][1])
    return [struct.unpack_from(">II", body, 4) for kind, body in chunks if kind == b"fcTL"] or [size]
