"""Whether one picture may stand for another: the gate before every palette that is not exact.

All is measured strip by strip: some of Pillow's operations hold the GIL, 5 ms a megapixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

#: Squares of this side in pixels are compared by their mean colour. Strips are a multiple of it high.
_AREA_SIDE = 8
#: Pixels of a strip, about: 1 ms of the slowest operation.
_STRIP_PIXELS = 1 << 18


@dataclass(frozen=True, slots=True)
class SimilarityThreshold:
    """How far a picture may be from its source.

    `psnr_db` is over the pixels that can be seen. The mean colour of an 8 x 8 square may move by `area_shift`
    levels of 255 in any band, and by `rare_shift` in one square of `rare`: a shift of an area is a band in a
    gradient or a lost small object, which PSNR over the whole picture does not tell.
    """

    psnr_db: float
    area_shift: int
    rare_shift: int
    rare: int = 200


def is_similar(gate: SimilarityThreshold, one: Image.Image, other: Image.Image) -> bool:
    """Both RGB, or both RGBA: then over white, over black, and the alpha by itself must each pass."""
    views = ("white", "black", "alpha") if one.mode == "RGBA" else ("",)
    return all(_passes(gate, one, other, view) for view in views)


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Pieces of the picture from above to below, each with its first row."""
    rows = max(1, _STRIP_PIXELS // image.width // _AREA_SIDE) * _AREA_SIDE
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def psnr(one: Image.Image, other: Image.Image) -> float:
    errors = [0] * 256
    for (_, a), (_, b) in zip(strips(one), strips(other), strict=True):
        _add(errors, ImageChops.difference(a, b))
    return _psnr(errors, one.width * one.height * len(one.getbands()))


def _passes(gate: SimilarityThreshold, one: Image.Image, other: Image.Image, view: str) -> bool:
    errors, shifts, seen, squares = [0] * 256, [0] * 256, 0, 0
    for (_, a), (_, b) in zip(strips(one), strips(other), strict=True):
        seen += a.width * a.height - (a.getchannel("A").histogram()[0] if view else 0)
        a, b = _viewed(a, view), _viewed(b, view)
        _add(errors, ImageChops.difference(a, b))
        moved = ImageChops.difference(a.reduce(_AREA_SIDE), b.reduce(_AREA_SIDE))
        first, *others = moved.split()
        for band in others:
            first = ImageChops.lighter(first, band)
        _add(shifts, first)
        squares += first.width * first.height
    bands = 1 if view == "alpha" else 3
    if _psnr(errors, seen * bands) < gate.psnr_db or any(shifts[gate.rare_shift + 1 :]):
        return False
    return sum(shifts[gate.area_shift + 1 :]) * gate.rare <= squares


def _viewed(image: Image.Image, view: str) -> Image.Image:
    if view in ("", "alpha"):
        return image.getchannel("A") if view else image
    return Image.alpha_composite(Image.new("RGBA", image.size, view), image).convert("RGB")


def _add(counts: list[int], difference: Image.Image) -> None:
    for n, count in enumerate(difference.histogram()):
        counts[n % 256] += count


def _psnr(counts: list[int], samples: int) -> float:
    error = sum((n % 256) ** 2 * count for n, count in enumerate(counts))
    return math.inf if error == 0 else 10 * math.log10(255 * 255 * max(1, samples) / error)
