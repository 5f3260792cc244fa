"""Which numbers of WebP and AVIF look, by structural dissimilarity, as JPEG does at the wanted quality.

`python -m benchmarks.equivalence --photos FOLDER` with photographs, of which crops are used. It prints what
`gql_imgproc/imaging/quality_mapping.py` is to hold, beside what it holds.
"""

from __future__ import annotations

import argparse
import io
import random
from bisect import bisect_left
from functools import cache
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from PIL import Image, ImageStat

from benchmarks.images import crops
from benchmarks.similarity import dssim
from gql_imgproc.imaging.quality_mapping import avif_quality, webp_quality

JPEG_QUALITIES = (30, 40, 50, 60, 70, 80, 90)
#: A picture whose channels all span fewer levels shows nothing that an encoder could spoil.
FLAT = 32
#: The encoders with the settings that `compress` gives them.
ENCODERS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": "4:2:0"},
    "WEBP": {"method": 2},
    "AVIF": {"speed": 8, "max_threads": 1},
}


class Photograph:
    """A picture, and how far an encoder at a number is from it."""

    def __init__(self, picture: Image.Image) -> None:
        self._picture = picture
        self.made = cache(self._made)

    def unlike(self, encoder: str, number: int) -> float:
        return self.made(encoder, number)[0]

    def _made(self, encoder: str, number: int) -> tuple[float, int]:
        """Dissimilarity and bytes."""
        out = io.BytesIO()
        self._picture.save(out, encoder, quality=number, **ENCODERS[encoder])
        with Image.open(out) as again:
            return dssim(self._picture, again), out.tell()


def alike(photographs: list[Photograph], encoder: str, quality: int) -> int:
    """The lowest number at which the encoder, in the mean over the pictures, is no further off than JPEG."""

    def mean(encoder: str, number: int) -> float:
        return fmean(photograph.unlike(encoder, number) for photograph in photographs)

    wanted = mean("JPEG", quality)
    return bisect_left(range(100), True, lo=1, key=lambda number: mean(encoder, number) <= wanted)


def _has_something(picture: Image.Image) -> bool:
    return any(high - low > FLAT for low, high in ImageStat.Stat(picture).extrema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs to take crops of")
    parser.add_argument("--pictures", type=int, default=24)
    given = parser.parse_args()
    # Halved: the photographs were JPEGs, and what those have lost must not count for or against any encoder.
    halves = [crop.reduce(2) for crop in crops(random.Random(8), given.pictures, given.photos)]
    photographs = [Photograph(half) for half in halves if _has_something(half)]
    print(f"{len(photographs)} pictures; of each encoder the number that has JPEG's mean dissimilarity,")
    print("the quartiles of the numbers that single pictures would need, what we use, and bytes to JPEG's\n")
    print("JPEG  DSSIM" + "".join(f"   {name} quartiles ours bytes" for name in ("WebP", "AVIF")))
    for quality in JPEG_QUALITIES:
        line = f"{quality:4} {fmean(one.unlike('JPEG', quality) for one in photographs):6.4f}"
        for encoder, ours in (("WEBP", webp_quality), ("AVIF", avif_quality)):
            number = alike(photographs, encoder, quality)
            low, _, high = quantiles([alike([one], encoder, quality) for one in photographs], n=4)
            sizes = [(one.made(encoder, number)[1], one.made("JPEG", quality)[1]) for one in photographs]
            smaller = sum(size for size, _ in sizes) / sum(size for _, size in sizes)
            line += f"   {number:4} {low:5.0f}-{high:<3.0f} {ours(quality):4} {smaller:5.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
