"""The colours of a picture: counted, joined to few where there are some thousand, and given numbers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping

from PIL import Image

from gql_imgproc.imaging.similarity import strips

#: Red, green, blue and alpha.
Colour = tuple[int, int, int, int]
#: Pixels that are given numbers at once: the GIL is held for 2 ms.
_AT_ONCE_PIXELS = 1 << 15

#: How often a colour is there; its red, green and blue as they show (times alpha) and its alpha; the colour.
_Point = tuple[int, tuple[int, int, int, int], Colour]
_ALPHA = 3


def count_colors(image: Image.Image, most: int) -> dict[Colour, int] | None:
    """How often each colour of an RGB or RGBA picture is there; None when there are more than `most`.

    All that is transparent is of one colour, since nobody sees of which.
    """
    counts: Counter[Colour] = Counter()
    for _, strip in strips(image):
        found = _seen(strip).getcolors(most)
        if found is None:
            return None
        # RGB is counted as the opaque RGBA that it is.
        counts.update({(*colour, 255)[:4]: n for n, colour in found})  # type: ignore[misc]  # four of them, which a slice does not tell
        if len(counts) > most:
            return None
    return counts


def numbered(image: Image.Image, shown: Mapping[Colour, Colour]) -> Image.Image:
    """The RGBA or RGB picture with a palette of what its colours are `shown` as."""
    # Those with alpha first: the others need no entry in the chunk of transparencies.
    palette = sorted(set(shown.values()), key=lambda c: (c[3] == 255, c))
    numbers = {colour: n for n, colour in enumerate(palette)}
    number_of = {int.from_bytes(bytes(c), sys.byteorder): numbers[to] for c, to in shown.items()}
    out = Image.new("P", image.size)
    for top, strip in strips(image):
        pixels = memoryview(_seen(strip).convert("RGBA").tobytes()).cast("I")
        parts = (pixels[n : n + _AT_ONCE_PIXELS] for n in range(0, len(pixels), _AT_ONCE_PIXELS))
        rows = b"".join(bytes(map(number_of.__getitem__, part)) for part in parts)
        out.paste(Image.frombytes("P", strip.size, rows), (0, top))
    return with_palette(out, palette)


def _seen(strip: Image.Image) -> Image.Image:
    if strip.mode != "RGBA":
        return strip
    out = Image.new("RGBA", strip.size)
    out.paste(strip, mask=strip.getchannel("A").point(lambda alpha: 255 if alpha else 0))
    return out


def with_palette(numbers: Image.Image, palette: Iterable[Colour]) -> Image.Image:
    entries = list(palette)
    numbers.putpalette(bytes(level for entry in entries for level in entry[:3]))
    alphas = bytes(entry[3] for entry in entries).rstrip(b"\xff")
    if alphas:
        numbers.info["transparency"] = alphas
    return numbers


def reduce_colors(counts: Mapping[Colour, int], most: int) -> dict[Colour, Colour]:
    """Each colour with the one, of at most `most`, that is shown for it.

    Boxes of colours are cut in two, always the one with the largest sum of squared errors, at the mean of the axis
    on which it errs most. The axes are what shows: over black a colour times its alpha, over white that and what
    alpha lets through.
    """
    points = [(n, (r * a // 255, g * a // 255, b * a // 255, a), (r, g, b, a)) for (r, g, b, a), n in counts.items()]
    boxes = [_Box(points)]
    while len(boxes) < most:
        worst = max(boxes, key=lambda box: box.error)
        if worst.error == 0:
            break
        boxes.remove(worst)
        boxes += worst.halves()
    return {colour: shown for box in boxes for shown in [box.mean()] for _, _, colour in box.points}


class _Box:
    """Colours that are shown as one."""

    __slots__ = ("axis", "error", "middle", "points")

    def __init__(self, points: list[_Point]) -> None:
        self.points = points
        count = sum(n for n, _, _ in points)
        self.error, self.axis, self.middle, most = 0.0, 0, 0.0, -1.0
        for axis in range(4):
            total = squares = 0
            for n, levels, _ in points:
                weighted = n * levels[axis]
                total += weighted
                squares += weighted * levels[axis]
            # Alpha lets each of the three bands of a white ground through.
            error = (squares - total * total / count) * (3 if axis == _ALPHA else 1)
            self.error += error
            if error > most:
                most, self.axis, self.middle = error, axis, total / count
        # Nothing tells these apart any more, whatever rounding has left.
        if len({levels for _, levels, _ in points}) == 1:
            self.error = 0.0

    def halves(self) -> tuple[_Box, _Box]:
        low = [point for point in self.points if point[1][self.axis] <= self.middle]
        high = [point for point in self.points if point[1][self.axis] > self.middle]
        return _Box(low), _Box(high)

    def mean(self) -> Colour:
        if len(self.points) == 1:
            return self.points[0][2]
        count = weight = red = green = blue = 0
        for n, _, (r, g, b, a) in self.points:
            count, weight = count + n, weight + n * a
            red, green, blue = red + n * a * r, green + n * a * g, blue + n * a * b
        if not weight:
            return 0, 0, 0, 0
        return round(red / weight), round(green / weight), round(blue / weight), round(weight / count)
