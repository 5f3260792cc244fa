"""A sample of the images of a file, and what it says about all of them.

The strata are the hosts and file extensions. The images of each stratum are drawn at random, as many as its share. The
part of the bytes that remains is a combined ratio estimator over the strata, its error that of Taylor linearization
with the finite population correction (Cochran, Sampling Techniques, 6.11). So a file that is measured whole has no
error.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from random import Random
from statistics import variance

from gql_imgproc.net.hosts import host_of

#: Images that are measured.
SAMPLE_IMAGES = 200
#: Strata of their own. The hosts and extensions that the file has after them are one more stratum.
MAX_STRATA = 40
#: Images of each stratum that are measured at least, if it has as many.
_MIN_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Stratum:
    """The number of its images, and the URLs of the sample."""

    images: int
    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One image of a sample: its bytes before and after, or why it fails."""

    stratum: int
    url: str
    input_bytes: int = 0
    output_bytes: int = 0
    fetch_s: float = 0.0
    cpu_s: float = 0.0
    error_code: str | None = None
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Saving:
    """Bytes of all images that do not fail. `part` is what is saved of them; it is in the interval at 95 %."""

    input_bytes: float
    part: float
    low: float
    high: float


class Sampler:
    """Draws a sample of URLs that come one after the other, with at most `size` of each stratum in memory."""

    def __init__(self, random: Random, size: int = SAMPLE_IMAGES) -> None:
        self._random = random
        self._size = size
        self._numbers: dict[tuple[str, str], int] = {}
        self._counts: list[int] = []
        self._drawn: list[list[str]] = []

    def add(self, urls: Iterable[str]) -> None:
        numbers, counts, drawn = self._numbers, self._counts, self._drawn
        for url in urls:
            number = numbers.setdefault(_stratum_of(url), min(len(numbers), MAX_STRATA))
            if len(numbers) > MAX_STRATA:
                # Later ones are not remembered.
                numbers.popitem()
            if number == len(counts):
                counts.append(0)
                drawn.append([])
            counts[number] += 1
            if len(drawn[number]) < self._size:
                drawn[number].append(url)
            # A random number below the count, as `randrange` returns it, but several times as fast.
            elif (place := int(self._random.random() * counts[number])) < self._size:
                drawn[number][place] = url

    def draw(self) -> list[Stratum]:
        shares = _share_out(self._counts, self._size)
        return [
            Stratum(count, tuple(self._random.sample(urls, share)))
            for count, urls, share in zip(self._counts, self._drawn, shares, strict=True)
        ]


# `urlsplit` and `host_of` for each of up to a million URLs would take five times as long.
_find_host = lru_cache(1024)(host_of)
_ORIGIN_AND_NAME = re.compile(r"([^:/?#]*:/*[^/?#]*)(?:[^?#]*/([^?#]*))?")


def _stratum_of(url: str) -> tuple[str, str]:
    if (match := _ORIGIN_AND_NAME.match(url)) is None:
        return host_of(url), ""
    origin, name = match[1], match[2] or ""
    return _find_host(origin), name.rpartition(".")[2][:5].lower() if "." in name else ""


def _share_out(counts: Sequence[int], size: int) -> list[int]:
    total = sum(counts)
    if total <= size:
        return list(counts)
    shares = [min(count, _MIN_IMAGES) for count in counts]
    free = size - sum(shares)
    return [min(count, share + math.floor(free * count / total)) for count, share in zip(counts, shares, strict=True)]


def estimate_saving(strata: Sequence[Stratum], measured: Sequence[Measurement]) -> Saving | None:
    """None if no image was measured that does not fail."""
    groups = _group(measured)
    weights = {number: strata[number].images / len(group) for number, group in groups.items()}
    before = sum(weights[each.stratum] * each.input_bytes for each in measured)
    after = sum(weights[each.stratum] * each.output_bytes for each in measured)
    if not before:
        return None
    ratio = after / before
    everywhere = _variance([each.output_bytes - ratio * each.input_bytes for each in measured])
    total_variance = 0.0
    for number, group in groups.items():
        images, count = strata[number].images, len(group)
        residuals = [each.output_bytes - ratio * each.input_bytes for each in group]
        spread = _variance(residuals) if count > 1 else everywhere
        total_variance += images * (images - count) * spread / count
    freedom = max(1, len(measured) - len(groups))
    error = _quantile(freedom) * math.sqrt(total_variance) / before
    return Saving(before, 1 - ratio, 1 - ratio - error, 1 - ratio + error)


def count_failures(strata: Sequence[Stratum], measured: Sequence[Measurement]) -> dict[str, tuple[float, Measurement]]:
    """How many images of the file are expected to fail, by error code, each with an example."""
    groups = _group(measured)
    failures: dict[str, tuple[float, Measurement]] = {}
    for each in measured:
        if each.error_code is not None:
            images = strata[each.stratum].images / len(groups[each.stratum])
            known = failures.get(each.error_code, (0.0, each))
            failures[each.error_code] = known[0] + images, known[1]
    return failures


def estimate_seconds(
    strata: Sequence[Stratum], measured: Sequence[Measurement], cpu_threads: int, downloads_per_host: int
) -> float:
    """How long the images take if nothing else is processed: the slowest of the CPU threads and the hosts."""
    groups = _group(measured)
    cpu_s = 0.0
    hosts: dict[str, float] = defaultdict(float)
    for number, group in groups.items():
        each_stands_for = strata[number].images / len(group)
        cpu_s += each_stands_for * math.fsum(each.cpu_s for each in group)
        for each in group:
            hosts[host_of(each.url)] += each_stands_for * each.fetch_s
    return max(chain([cpu_s / max(1, cpu_threads)], (each / downloads_per_host for each in hosts.values())))


def _group(measured: Sequence[Measurement]) -> dict[int, list[Measurement]]:
    groups: dict[int, list[Measurement]] = defaultdict(list)
    for each in measured:
        groups[each.stratum].append(each)
    return groups


def _variance(values: Sequence[float]) -> float:
    return variance(values) if len(values) > 1 else 0.0


def _quantile(freedom: int) -> float:
    """Of Student's t distribution at 97.5 %, within 2 % from 3 degrees of freedom on."""
    return 1.96 + 2.4 / freedom + 2.8 / freedom**2
