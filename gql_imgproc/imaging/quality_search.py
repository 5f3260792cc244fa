"""Searches the lowest quality whose result is similar enough, by encoding an image a few times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

#: Files that are encoded at most.
MAX_ATTEMPTS = 4
#: Where the search begins if the lowest quality that is allowed is lower.
_START = 50
#: Points of similarity per step of quality, between 50 and 90. The search goes this much above the floor, so that the
#: next step is more often the last one.
_SLOPE, _MARGIN = 0.5, 0.5
_BEST = 100


@dataclass(frozen=True, slots=True)
class Attempt:
    """A file and its similarity. Without `data` the source is kept."""

    data: bytes | None
    similarity: float | None


def find_lowest_quality(encode: Callable[[int], Attempt], lowest: int, floor: float) -> Attempt:
    """The attempt of the lowest quality that reaches the floor; of the best quality if none does."""
    below, above = lowest - 1, _BEST + 1
    scores: dict[int, float] = {}
    found: Attempt | None = None
    quality = max(lowest, _START)
    for remaining in reversed(range(MAX_ATTEMPTS)):
        attempt = encode(quality)
        scores[quality] = attempt.similarity or 0.0
        if scores[quality] >= floor:
            found, above = attempt, quality
        else:
            below = quality
        if above - below <= 1 or not remaining:
            break
        quality = _guess(scores, below, above, floor) if found or remaining > 1 else _BEST
    return found or attempt


def _guess(scores: dict[int, float], below: int, above: int, floor: float) -> int:
    """A quality between both, by a line through the nearest scores."""
    if below in scores and above in scores:
        slope = (scores[above] - scores[below]) / (above - below)
        nearest = below
    else:
        slope, nearest = _SLOPE, below if below in scores else above
    guess = nearest + math.ceil((floor + _MARGIN - scores[nearest]) / max(slope, 0.1))
    return min(max(guess, below + 1), above - 1)
