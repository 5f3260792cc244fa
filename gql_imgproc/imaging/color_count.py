"""Counts the colours of an image, reduces some thousand to few, and maps an image to a palette."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping

from PIL import Image

from gql_imgproc.imaging.similarity import strips

#: Red, green, blue and alpha.
Color = tuple[int, int, int, int]
#: Pixels that are mapped in one step, which holds the GIL for 2 ms.
_STEP_PIXELS = 1 << 15

#: Pixels of a colour; its red, green and blue multiplied by alpha, and its alpha; the colour.
_Point = tuple[int, tuple[int, int, int, int], Color]
_ALPHA = 3


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
    return map_colors(image, {color: color for color in colors})


def map_colors(image: Image.Image, replacements: Mapping[Color, Color]) -> Image.Image:
    """The RGB or RGBA image with a palette of the colours that replace its own."""
    # Colours with alpha come first: the opaque ones then need no entry in the tRNS chunk.
    palette = sorted(set(replacements.values()), key=lambda c: (c[3] == 255, c))
    indices = {color: n for n, color in enumerate(palette)}
    index_of = {int.from_bytes(bytes(c), sys.byteorder): indices[to] for c, to in replacements.items()}
    out = Image.new("P", image.size)
    for top, strip in strips(image):
        pixels = memoryview(_clear_transparent(strip).convert("RGBA").tobytes()).cast("I")
        parts = (pixels[n : n + _STEP_PIXELS] for n in range(0, len(pixels), _STEP_PIXELS))
        rows = b"".join(bytes(map(index_of.__getitem__, part)) for part in parts)
        out.paste(Image.frombytes("P", strip.size, rows), (0, top))
    return set_palette(out, palette)


def _clear_transparent(strip: Image.Image) -> Image.Image:
    """Gives all transparent pixels the same colour."""
    if strip.mode != "RGBA":
        return strip
    out = Image.new("RGBA", strip.size)
    out.paste(strip, mask=strip.getchannel("A").point(lambda alpha: 255 if alpha else 0))
    return out


def set_palette(image: Image.Image, palette: Iterable[Color]) -> Image.Image:
    entries = list(palette)
    image.putpalette(bytes(level for entry in entries for level in entry[:3]))
    alphas = bytes(entry[3] for entry in entries).rstrip(b"\xff")
    if alphas:
        image.info["transparency"] = alphas
    return image


def reduce_colors(counts: Mapping[Color, int], max_colors: int) -> dict[Color, Color]:
    """The replacement for each colour; there are at most `max_colors` different ones.

    The box of colours with the largest sum of squared errors is split, at the mean of the axis with the largest error,
    until there are enough boxes. Errors are measured as they are visible: over black, the colour times its alpha; over
    white, that plus the part of the white that alpha lets through.
    """
    points = [(n, (r * a // 255, g * a // 255, b * a // 255, a), (r, g, b, a)) for (r, g, b, a), n in counts.items()]
    boxes = [_Box(points)]
    while len(boxes) < max_colors:
        worst = max(boxes, key=lambda box: box.error)
        if worst.error == 0:
            break
        boxes.remove(worst)
        boxes += worst.split()
    return {color: mean for box in boxes for mean in [box.mean()] for _, _, color in box.points}


class _Box:
    """Colours that one colour replaces."""

    __slots__ = ("axis", "error", "middle", "points")

    def __init__(self, points: list[_Point]) -> None:
        self.points = points
        count = sum(n for n, _, _ in points)
        self.error, self.axis, self.middle, largest = 0.0, 0, 0.0, -1.0
        for axis in range(4):
            total = squares = 0
            for n, levels, _ in points:
                weighted = n * levels[axis]
                total += weighted
                squares += weighted * levels[axis]
            # An error of alpha shows in each of the three bands of a white background.
            error = (squares - total * total / count) * (3 if axis == _ALPHA else 1)
            self.error += error
            if error > largest:
                largest, self.axis, self.middle = error, axis, total / count
        # Equal points have no error. This removes what rounding left.
        if len({levels for _, levels, _ in points}) == 1:
            self.error = 0.0

    def split(self) -> tuple[_Box, _Box]:
        low = [point for point in self.points if point[1][self.axis] <= self.middle]
        high = [point for point in self.points if point[1][self.axis] > self.middle]
        return _Box(low), _Box(high)

    def mean(self) -> Color:
        if len(self.points) == 1:
            return self.points[0][2]
        count = weight = red = green = blue = 0
        for n, _, (r, g, b, a) in self.points:
            count, weight = count + n, weight + n * a
            red, green, blue = red + n * a * r, green + n * a * g, blue + n * a * b
        if not weight:
            return 0, 0, 0, 0
        return round(red / weight), round(green / weight), round(blue / weight), round(weight / count)
