"""Counts the colours of an image, and gives an image with few colours a palette of them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

from PIL import Image

from gql_imgproc.imaging.similarity import strips

#: Red, green, blue and alpha.
Color = tuple[int, int, int, int]
#: Pixels that are mapped in one step, which holds the GIL for 2 ms.
_STEP_PIXELS = 1 << 15


def count_colors(image: Image.Image, max_colors: int) -> dict[Color, int] | None:
    """Pixels of each colour of an RGB or RGBA image; None if there are more than `max_colors`.

    All transparent pixels count as one colour.
    """
    counts: Counter[Color] = Counter()
    for _, strip in strips(image):
        colors = _clear_transparent(strip).getcolors(max_colors)
        if colors is None:
            return None
        # RGB is counted as opaque RGBA.
        counts.update({(*color, 255)[:4]: n for n, color in colors})  # type: ignore[misc]  # mypy: a slice has no length
        if len(counts) > max_colors:
            return None
    return counts


def exact_palette(image: Image.Image, colors: Iterable[Color]) -> Image.Image:
    """The RGB or RGBA image with a palette of its own colours."""
    # Colours with alpha come first: the opaque ones then need no entry in the tRNS chunk.
    palette = sorted(colors, key=lambda color: (color[3] == 255, color))
    index_of = {int.from_bytes(bytes(color), sys.byteorder): n for n, color in enumerate(palette)}
    out = Image.new("P", image.size)
    for top, strip in strips(image):
        pixels = memoryview(_clear_transparent(strip).convert("RGBA").tobytes()).cast("I")
        parts = (pixels[n : n + _STEP_PIXELS] for n in range(0, len(pixels), _STEP_PIXELS))
        rows = b"".join(bytes(map(index_of.__getitem__, part)) for part in parts)
        out.paste(Image.frombytes("P", strip.size, rows), (0, top))
    out.putpalette(bytes(level for color in palette for level in color[:3]))
    if alphas := bytes(color[3] for color in palette).rstrip(b"\xff"):
        out.info["transparency"] = alphas
    return out


def _clear_transparent(strip: Image.Image) -> Image.Image:
    """Gives all transparent pixels the same colour."""
    if strip.mode != "RGBA":
        return strip
    out = Image.new("RGBA", strip.size)
    out.paste(strip, mask=strip.getchannel("A").point(lambda alpha: 255 if alpha else 0))
    return out
