"""Measures whether an image may replace another. Every palette that is not exact must pass this check.

Images are compared strip by strip, because some of Pillow's operations hold the GIL for 5 ms per megapixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image, ImageChops

#: Side in pixels of the squares whose mean colours are compared. The height of a strip is a multiple of it.
_AREA_SIDE = 8
#: Approximate pixels of a strip: 1 ms of the slowest operation.
_STRIP_PIXELS = 1 << 18


@dataclass(frozen=True, slots=True)
class SimilarityThreshold:
    """How much an image may differ from its source.

    `psnr_db` is the minimum PSNR over the visible pixels. The mean colour of an 8 x 8 square may differ by `area_shift`
    of 255 levels in any band, and by `rare_shift` in one of `rare` squares. Such a difference is a band in a gradient
    or a small object that got lost, which PSNR over the whole image does not show.
    """

    psnr_db: float
    area_shift: int
    rare_shift: int
    rare: int = 200


def is_similar(threshold: SimilarityThreshold, one: Image.Image, other: Image.Image) -> bool:
    """Both images are RGB or both are RGBA. RGBA images must pass over white, over black, and in their alpha."""
    views = ("white", "black", "alpha") if one.mode == "RGBA" else ("",)
    return all(_passes(threshold, one, other, view) for view in views)


def strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Strips of the image from top to bottom, each with the number of its first row."""
    rows = max(1, _STRIP_PIXELS // image.width // _AREA_SIDE) * _AREA_SIDE
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(image.height, top + rows)))


def _passes(threshold: SimilarityThreshold, one: Image.Image, other: Image.Image, view: str) -> bool:
    errors, shifts, visible_pixels, squares = [0] * 256, [0] * 256, 0, 0
    for (_, a), (_, b) in zip(strips(one), strips(other), strict=True):
        visible_pixels += a.width * a.height - (a.getchannel("A").histogram()[0] if view else 0)
        a, b = _render(a, view), _render(b, view)
        _add(errors, ImageChops.difference(a, b))
        shift = ImageChops.difference(a.reduce(_AREA_SIDE), b.reduce(_AREA_SIDE))
        first, *others = shift.split()
        for band in others:
            first = ImageChops.lighter(first, band)
        _add(shifts, first)
        squares += first.width * first.height
    bands = 1 if view == "alpha" else 3
    if _psnr(errors, visible_pixels * bands) < threshold.psnr_db or any(shifts[threshold.rare_shift + 1 :]):
        return False
    return sum(shifts[threshold.area_shift + 1 :]) * threshold.rare <= squares


def _render(image: Image.Image, view: str) -> Image.Image:
    if view in ("", "alpha"):
        return image.getchannel("A") if view else image
    return Image.alpha_composite(Image.new("RGBA", image.size, view), image).convert("RGB")


def _add(counts: list[int], difference: Image.Image) -> None:
    for n, count in enumerate(difference.histogram()):
        counts[n % 256] += count


def _psnr(counts: list[int], samples: int) -> float:
    error = sum((n % 256) ** 2 * count for n, count in enumerate(counts))
    return math.inf if error == 0 else 10 * math.log10(255 * 255 * max(1, samples) / error)
