"""Finds the qualities of WebP and AVIF with the structural dissimilarity that JPEG has at each quality.

`python -m benchmarks.equivalence --photos FOLDER` uses crops of the photographs in the folder. It prints the measured
qualities next to those in `gql_imgproc/imaging/quality_mapping.py`.
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

from benchmarks.images import crop_photographs
from benchmarks.similarity import dssim
from gql_imgproc.imaging.quality_mapping import avif_quality, webp_quality

JPEG_QUALITIES = (30, 40, 50, 60, 70, 80, 90)
#: An image is flat if every channel spans at most this number of levels. Encoders have nothing to degrade in it.
MAX_FLAT_LEVELS = 32
#: The encoders with the settings that `compress` gives them.
ENCODERS: dict[str, dict[str, Any]] = {
    "JPEG": {"subsampling": "4:2:0"},
    "WEBP": {"method": 2},
    "AVIF": {"speed": 8, "max_threads": 1},
}


class Photograph:
    """An image, and its dissimilarity after each encoder and quality."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        self.encode = cache(self._encode)

    def dissimilarity(self, encoder: str, quality: int) -> float:
        return self.encode(encoder, quality)[0]

    def _encode(self, encoder: str, quality: int) -> tuple[float, int]:
        """Dissimilarity and bytes."""
        out = io.BytesIO()
        self._image.save(out, encoder, quality=quality, **ENCODERS[encoder])
        with Image.open(out) as decoded:
            return dssim(self._image, decoded), out.tell()


def equivalent_quality(photographs: list[Photograph], encoder: str, jpeg_quality: int) -> int:
    """The lowest quality at which the mean dissimilarity of the encoder is not higher than that of JPEG."""

    def mean(encoder: str, quality: int) -> float:
        return fmean(photograph.dissimilarity(encoder, quality) for photograph in photographs)

    target = mean("JPEG", jpeg_quality)
    return bisect_left(range(100), True, lo=1, key=lambda quality: mean(encoder, quality) <= target)


def _has_detail(image: Image.Image) -> bool:
    return any(high - low > MAX_FLAT_LEVELS for low, high in ImageStat.Stat(image).extrema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="Folder of photographs to crop.")
    parser.add_argument("--images", type=int, default=24)
    arguments = parser.parse_args()
    # Halved, because the photographs were JPEGs, and their artefacts must not favour an encoder.
    halves = [crop.reduce(2) for crop in crop_photographs(random.Random(8), arguments.images, arguments.photos)]
    photographs = [Photograph(half) for half in halves if _has_detail(half)]
    print(f"{len(photographs)} images. For each encoder: the quality with the mean dissimilarity of JPEG,")
    print("the quartiles of the qualities for single images, the quality in use, and bytes / bytes of JPEG\n")
    print("JPEG  DSSIM" + "".join(f"   {name} quartiles used bytes" for name in ("WebP", "AVIF")))
    for quality in JPEG_QUALITIES:
        line = f"{quality:4} {fmean(one.dissimilarity('JPEG', quality) for one in photographs):6.4f}"
        for encoder, mapped in (("WEBP", webp_quality), ("AVIF", avif_quality)):
            equivalent = equivalent_quality(photographs, encoder, quality)
            low, _, high = quantiles([equivalent_quality([one], encoder, quality) for one in photographs], n=4)
            sizes = [(one.encode(encoder, equivalent)[1], one.encode("JPEG", quality)[1]) for one in photographs]
            ratio = sum(size for size, _ in sizes) / sum(size for _, size in sizes)
            line += f"   {equivalent:4} {low:5.0f}-{high:<3.0f} {mapped(quality):4} {ratio:5.2f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
