"""Searches the lowest quality that is similar enough, or the highest that is small enough, by encoding a few times."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gql_imgproc.enums import ImageOutcome

#: Files that are encoded at most.
MAX_ATTEMPTS = 4
#: Where the search begins if the lowest quality that is allowed is lower.
_START = 50
#: Points of similarity per step of quality, between 50 and 90. The search goes this much above the floor, so that the
#: next step is more often the last one.
_SLOPE, _MARGIN = 0.5, 0.5
_BEST = 100
#: Above this quality the bytes grow most, so it is tried before the best one.
_HIGH = 92
#: While no quality reaches the floor, the next one is this many times as far up as a line says, and at least this many
#: steps. Then two qualities enclose the floor, and the last attempt need not be the best quality.
_OVERSHOOT, _LEAST_STEP = 2, 8
#: Growth of a file per step of quality, as a logarithm. The search aims this much below the limit, more so after two
#: files that were too large, and ends if one is near it.
_GROWTH, _RESERVE, _NEAR = 0.025, 0.03, 0.06


@dataclass(frozen=True, slots=True)
class Attempt:
    """A file and its similarity, or the source itself, if no file is better."""

    data: bytes
    similarity: float | None
    outcome: ImageOutcome = ImageOutcome.COMPRESSED
    quality: int = 0


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


def find_highest_quality(
    encode: Callable[[int], Attempt], lowest: int, highest: int, max_bytes: int, floor: float = 0.0
) -> Attempt:
    """The attempt of the highest quality that is small enough; the smallest one if none is.

    None of them is below the floor, if the highest quality is not.
    """
    below, above = lowest - 1, highest + 1
    sizes: dict[int, float] = {}
    found: Attempt | None = None
    smallest: Attempt | None = None
    quality = highest
    for remaining in reversed(range(MAX_ATTEMPTS)):
        attempt = encode(quality)
        sizes[quality] = math.log(len(attempt.data))
        if (attempt.similarity or 0.0) < floor:
            below = quality
        elif len(attempt.data) <= max_bytes:
            found, below = attempt, quality
        else:
            smallest, above = attempt, quality
        is_near = found is attempt and sizes[quality] >= math.log(max_bytes) - _NEAR
        if is_near or above - below <= 1 or not remaining:
            break
        if found is None and below >= lowest:
            # Of files that are similar enough, none may be small enough.
            quality = (below + above) // 2
        elif found is None and remaining == 1:
            quality = lowest
        else:
            quality = _guess_size(sizes, below, above, math.log(max_bytes))
    return found or smallest or attempt


def _guess_size(sizes: dict[int, float], below: int, above: int, limit: float) -> int:
    """A quality between both, by a line through the nearest sizes."""
    nearest = sorted(quality for quality in sizes if quality != below)[:2] if below not in sizes else [below, above]
    growth = (sizes[nearest[1]] - sizes[nearest[0]]) / (nearest[1] - nearest[0]) if len(nearest) > 1 else _GROWTH
    reserve = _RESERVE if below in sizes else _RESERVE * len(sizes) ** 2
    guess = above - math.ceil((sizes[above] - limit + reserve) / max(growth, 0.005))
    return min(max(guess, below + 1), above - 1)


def _guess(scores: dict[int, float], below: int, above: int, floor: float) -> int:
    """A quality between both, by a line through the nearest scores."""
    lowest, highest = below + 1, above - 1
    if above not in scores:
        gap = (floor + _MARGIN - scores[below]) / _SLOPE
        guess, highest = below + max(_LEAST_STEP, math.ceil(_OVERSHOOT * gap)), _HIGH if below < _HIGH else highest
    elif below not in scores:
        guess = above + math.ceil((floor + _MARGIN - scores[above]) / _SLOPE)
    else:
        slope = (scores[above] - scores[below]) / (above - below)
        guess = below + math.ceil((floor + _MARGIN - scores[below]) / max(slope, 0.1))
        if sum(score < floor for score in scores.values()) > 1:
            # A line was too low before, and so would be the next one.
            lowest = below + (above - below) * 2 // 3
    return min(max(guess, lowest), highest)
