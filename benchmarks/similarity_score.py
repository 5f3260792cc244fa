"""Compares the score `similarity` with SSIMULACRA2, and its CPU time with that of encoding.

`python -m benchmarks.similarity_score --photos FOLDER` needs the package `ssimulacra2`.
"""

from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import correlation, mean

from PIL import Image

from benchmarks.images import crop_photographs
from benchmarks.png_images import make_pngs
from benchmarks.size import score as ssimulacra2
from gql_imgproc.imaging import compress as compressing
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import Options, OutputFormat

_QUALITIES = (20, 50, 80)
#: Sides of JPEGs whose score is timed, and how often each is compressed. The fastest counts, since noise only adds.
_SIDES, _ROUNDS = ((320, 240), (640, 480), (1000, 1000), (2000, 2000), (4000, 3000)), 9
#: Below that, the scale of SSIMULACRA2 is not bounded.
_LOWEST = -10.0
#: An image, the format and the quality of its result, its similarity and its SSIMULACRA2.
Pair = tuple[str, str, int, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="Folder of photographs to crop.")
    parser.add_argument("--images", type=int, default=10, help="Number of images of each kind.")
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--floor", type=int, help="Compare `minSimilarity` with a fixed quality instead.")
    arguments = parser.parse_args()
    if arguments.floor is not None:
        images = list(_images(arguments.photos, arguments.images, arguments.seed))
        for form in (OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF):
            _compare_floor([data for kind, data in images if form in _formats(kind)], form, arguments.floor)
        return
    pairs, encode_s, score_s = [], dict[str, float](), dict[str, float]()
    for kind, data in _images(arguments.photos, arguments.images, arguments.seed):
        for form, quality in product(_formats(kind), _QUALITIES):
            result, similarity, spent_s, scoring_s = _compress(data, Options(quality=quality, format=form))
            encode_s[form] = encode_s.get(form, 0) + spent_s - scoring_s
            score_s[form] = score_s.get(form, 0) + scoring_s
            pairs.append((kind, form.value, quality, similarity, ssimulacra2(data, result)))
    print("| | results | correlation | of ranks | mean difference |\n| --- | --- | --- | --- | --- |")
    for group in (*dict.fromkeys(kind for kind, *_ in pairs), *score_s, "all"):
        _print_group(group, [pair for pair in pairs if group in (*pair[:2], "all") and pair[4] > _LOWEST])
    print("\n| | CPU time of the score / of encoding |\n| --- | --- |")
    for form in score_s:
        print(f"| {form} | {score_s[form] / encode_s[form]:.1%} |")
    print("\n| JPEG to JPEG | score, CPU ms | encoding, CPU ms | |\n| --- | --- | --- | --- |")
    for size in _SIDES:
        _print_cost(
            [crop.resize(size) for crop in crop_photographs(random.Random(arguments.seed), 3, arguments.photos)]
        )


def _print_cost(images: list[Image.Image]) -> None:
    spent = scoring = 0.0
    for image in images:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90)
        times = [_compress(out.getvalue(), Options())[2:] for _ in range(_ROUNDS)]
        scoring += min(score_s for _, score_s in times) / len(images) * 1e3
        spent += min(spent_s - score_s for spent_s, score_s in times) / len(images) * 1e3
    size = f"{image.width:,} x {image.height:,}"
    print(f"| {size} | {scoring:.2f} | {spent:.2f} | {scoring / spent:.0%} |", flush=True)


def _compare_floor(images: list[bytes], form: OutputFormat, floor: int) -> None:
    """Bytes and SSIMULACRA2 at a floor, and at the fixed quality whose worst image is as good."""

    def try_options(options: Options) -> tuple[int, list[float]]:
        results = [compress(data, options, ImageLimits()).data for data in images]
        return sum(map(len, results)), [ssimulacra2(*pair) for pair in zip(images, results, strict=True)]

    size, scores = try_options(Options(quality=1, format=form, min_similarity=floor))
    below = sum(score < floor for score in scores)
    print(f"{form}: floor {floor}: {size:,} bytes, mean {mean(scores):.1f}, lowest {min(scores):.1f}, {below} below")
    for quality in range(20, 100, 8):
        fixed, fixed_scores = try_options(Options(quality=quality, format=form))
        if min(fixed_scores) >= min(scores):
            print(f"{form}: quality {quality}: {fixed:,} bytes, {size / fixed:.2f} of them at the floor", flush=True)
            return


def _images(photos: Path | None, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    for crop in crop_photographs(random.Random(seed), count, photos):
        yield "photograph", _png(crop)
    kinds = dict.fromkeys(("screenshot", "cut-out", "logo"), count)
    for n in range(count):
        for name, data in make_pngs(photos, seed + n):
            kind = name.rpartition(" ")[0]
            if kinds.get(kind, 0) > 0:
                kinds[kind] -= 1
                yield kind, data


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _formats(kind: str) -> list[OutputFormat]:
    """A JPEG has no alpha: it is compared with its source on white only."""
    lossy = [OutputFormat.WEBP, OutputFormat.AVIF]
    return lossy if kind in ("cut-out", "logo") else [OutputFormat.JPEG, *lossy]


def _compress(data: bytes, options: Options) -> tuple[bytes, float, float, float]:
    """The result, its similarity, the CPU seconds it took, and those of the score."""
    scoring_s = 0.0
    score = compressing._score

    def measured(*arguments: object) -> float | None:
        nonlocal scoring_s
        started = time.process_time()
        try:
            return score(*arguments)
        finally:
            scoring_s += time.process_time() - started

    compressing._score = measured
    try:
        started = time.process_time()
        result = compress(data, options, ImageLimits())
        spent_s = time.process_time() - started
    finally:
        compressing._score = score
    return result.data, result.similarity or 0.0, spent_s, scoring_s


def _print_group(name: str, pairs: list[Pair]) -> None:
    ours, theirs = [pair[3] for pair in pairs], [max(0.0, pair[4]) for pair in pairs]
    varies = len(set(ours)) > 1 and len(set(theirs)) > 1
    columns = (correlation(ours, theirs), correlation(_ranks(ours), _ranks(theirs))) if varies else (0.0, 0.0)
    difference = mean(abs(a - b) for a, b in zip(ours, theirs, strict=True)) if pairs else 0.0
    print(f"| {name} | {len(pairs)} | {columns[0]:.2f} | {columns[1]:.2f} | {difference:.1f} |")


def _ranks(values: list[float]) -> list[int]:
    in_order = sorted(values)
    return [in_order.index(value) for value in values]


if __name__ == "__main__":
    main()
