"""Compares the size of compressed PNGs and JPEGs with other programs: bytes, SSIMULACRA2, CPU seconds.

`python -m benchmarks.size --photos FOLDER` prints scores if the package `ssimulacra2` is installed. It measures
pngquant if that is installed, and sharp with `--sharp node_modules/sharp`. MozJPEG is the one in libvips.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from shutil import which
from statistics import fmean

import oxipng
import pyvips
from PIL import Image

from benchmarks.compression_methods import cpu_s
from benchmarks.images import crop_photographs
from benchmarks.png_images import make_pngs
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import Effort, Options

try:
    from ssimulacra2 import compute_ssimulacra2
except ImportError:
    # It brings numpy and scipy, so it is not among the packages for development.
    compute_ssimulacra2 = None

Method = Callable[[Sequence[bytes]], list[bytes]]
#: Replaces each file of a folder, in one process and one thread.
_SHARP = """
const [path, folder, format, options] = process.argv.slice(1), fs = require("fs"), sharp = require(path);
sharp.concurrency(1);
(async () => {
  for (const name of fs.readdirSync(folder).map((name) => `${folder}/${name}`))
    fs.writeFileSync(name, await sharp(fs.readFileSync(name)).toFormat(format, JSON.parse(options)).toBuffer());
})();
"""
#: Sides of the photographs that become JPEGs, and the qualities between which their bytes are interpolated.
_JPEG_SIDES, _QUALITIES = (300, 500), (35, 50, 65, 80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="Folder of photographs to crop.")
    parser.add_argument("--sharp", type=Path, help="The folder `sharp` of node_modules.")
    parser.add_argument("--images", type=int, default=20, help="Number of PNGs, evenly of each kind, and of JPEGs.")
    parser.add_argument("--seed", type=int, default=22)
    arguments = parser.parse_args()
    sharp = arguments.sharp and arguments.sharp.resolve()
    pyvips.vips_lib.vips_concurrency_set(1)
    images = list(make_pngs(arguments.photos, arguments.seed))
    _compare_pngs(dict(images[:: -(-len(images) // arguments.images)]), sharp)
    crops = crop_photographs(random.Random(arguments.seed), arguments.images, arguments.photos, _JPEG_SIDES)
    _compare_jpegs([_save(crop, "JPEG", quality=92) for crop in crops], sharp)


def _compare_pngs(sources: dict[str, bytes], sharp: Path | None) -> None:
    print(f"{len(sources)} PNGs, {sum(map(len, sources.values())) / 1e6:.1f} MB\n")
    print("| | bytes / source | SSIMULACRA2, mean | lowest | CPU s |\n| --- | --- | --- | --- | --- |")
    for name, method in _png_methods(sharp).items():
        results, spent_s = _measure(method, list(sources.values()))
        scores = {image: score(*pair) for image, *pair in zip(sources, sources.values(), results, strict=True)}
        ratio = sum(map(len, results)) / sum(map(len, sources.values()))
        lowest = min(scores, key=scores.__getitem__)
        print(
            f"| {name} | {ratio:.3f} | {fmean(scores.values()):.1f} | {scores[lowest]:.1f} ({lowest}) "
            f"| {spent_s:.2f} |",
            flush=True,
        )


def _compare_jpegs(sources: list[bytes], sharp: Path | None) -> None:
    """Bytes at the score that our result of quality 50 has, and CPU seconds at quality 50."""
    print(f"\n{len(sources)} JPEGs, {sum(map(len, sources)) / 1e6:.1f} MB; at quality 50, and at our score\n")
    print("| | bytes / ours at equal score | SSIMULACRA2, mean | CPU s |\n| --- | --- | --- | --- |")
    targets: list[tuple[float, float]] = []
    for name, make in _jpeg_methods(sharp).items():
        curves: list[list[tuple[float, float]]] = [[] for _ in sources]
        cpu_s_by_quality = {}
        for quality in _QUALITIES:
            results, cpu_s_by_quality[quality] = _measure(make(quality), sources)
            for curve, *pair in zip(curves, sources, results, strict=True):
                curve.append((score(*pair), math.log(len(pair[1]))))
        points = [curve[_QUALITIES.index(50)] for curve in curves]
        targets = targets or points
        ratios = [_interpolate(curve, at) - size for curve, (at, size) in zip(curves, targets, strict=True)]
        mean = fmean(at for at, _ in points)
        print(f"| {name} | {math.exp(fmean(ratios)):.3f} | {mean:.1f} | {cpu_s_by_quality[50]:.2f} |", flush=True)


def _interpolate(curve: list[tuple[float, float]], at: float) -> float:
    """The logarithm of the bytes at this score, by the two points around it."""
    pairs = list(pairwise(curve))
    (low, small), (high, large) = next((pair for pair in pairs if pair[1][0] >= at), pairs[-1])
    return small + (large - small) * (at - low) / (high - low) if high != low else large


def _measure(method: Method, sources: Sequence[bytes]) -> tuple[list[bytes], float]:
    """Results and CPU seconds, without those that starting a program takes."""
    started_s = cpu_s()
    method([])
    ready_s = cpu_s()
    results = method(sources)
    return results, cpu_s() - ready_s - (ready_s - started_s)


def ours(data: bytes, quality: int = 50, effort: Effort = Effort.BALANCED) -> bytes:
    return compress(data, Options(quality=quality, effort=effort), ImageLimits()).data


def score(one: bytes, other: bytes) -> float:
    """SSIMULACRA2, 0 if it is not installed; of an image with alpha the lower one over white and over black."""
    scores = []
    if compute_ssimulacra2 is None:
        return 0.0
    with Image.open(io.BytesIO(one)) as image:
        backgrounds = ("white", "black") if image.has_transparency_data else ("white",)
    with tempfile.TemporaryDirectory() as folder:
        for background in backgrounds:
            names = [f"{folder}/{name}.png" for name in ("one", "other")]
            for data, name in zip((one, other), names, strict=True):
                with Image.open(io.BytesIO(data)) as image:
                    upright = image.convert("RGBA")
                ground = Image.new("RGBA", upright.size, background)
                Image.alpha_composite(ground, upright).convert("RGB").save(name, compress_level=1)
            is_same = Path(names[0]).read_bytes() == Path(names[1]).read_bytes()
            scores.append(100.0 if is_same else float(compute_ssimulacra2(*names)))
    return min(scores)


def _png_methods(sharp: Path | None) -> dict[str, Method]:
    methods = {
        "ours": _each(ours),
        "ours, lossless": _each(lambda data: ours(data, 100)),
        "oxipng 2": _each(_oxipng),
    }
    if which("pngquant"):
        methods["pngquant 70-90"] = _each(_pngquant)
        methods["pngquant 70-90 + oxipng 2"] = _each(lambda data: _oxipng(_pngquant(data)))
    if sharp:
        methods["sharp, quality 80"] = _sharp(sharp, "png", palette=True, quality=80)
    return methods


def _jpeg_methods(sharp: Path | None) -> dict[str, Callable[[int], Method]]:
    methods: dict[str, Callable[[int], Method]] = {
        "ours": lambda quality: _each(lambda data: ours(data, quality)),
        "ours, SMALL": lambda quality: _each(lambda data: ours(data, quality, Effort.SMALL)),
        "MozJPEG": lambda quality: _each(lambda data: _mozjpeg(data, quality)),
    }
    if sharp:
        methods["sharp"] = lambda quality: _sharp(sharp, "jpeg", quality=quality)
        methods["sharp, mozjpeg"] = lambda quality: _sharp(sharp, "jpeg", quality=quality, mozjpeg=True)
    return methods


def _each(compress_one: Callable[[bytes], bytes]) -> Method:
    return lambda images: [compress_one(data) for data in images]


def _oxipng(data: bytes) -> bytes:
    return oxipng.optimize_from_memory(data, level=2)


def _pngquant(data: bytes) -> bytes:
    process = subprocess.run(["pngquant", "--quality", "70-90", "-"], input=data, capture_output=True)
    # pngquant refuses an image that does not reach the quality, with this status; then the source stays.
    if process.returncode == 99:
        return data
    process.check_returncode()
    return process.stdout


def _mozjpeg(data: bytes, quality: int) -> bytes:
    settings = {"trellis_quant": True, "overshoot_deringing": True, "optimize_scans": True, "quant_table": 3}
    image = pyvips.Image.new_from_buffer(data, "", access="sequential")
    return image.jpegsave_buffer(Q=quality, optimize_coding=True, interlace=True, keep="none", **settings)


def _sharp(path: Path, form: str, **options: object) -> Method:
    def run(images: Sequence[bytes]) -> list[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder, f"{n:04}") for n in range(len(images))]
            for file, data in zip(files, images, strict=True):
                file.write_bytes(data)
            subprocess.run(["node", "-e", _SHARP, str(path), folder, form, json.dumps(options)], check=True)
            return [file.read_bytes() for file in files]

    return run


def _save(image: Image.Image, form: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **settings)
    return out.getvalue()


if __name__ == "__main__":
    main()
