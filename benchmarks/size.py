"""Compares the size of compressed PNGs with other programs: bytes, SSIMULACRA2, CPU seconds.

`python -m benchmarks.size --photos FOLDER` prints scores if the package `ssimulacra2` is installed. It measures
pngquant if that is installed, and sharp with `--sharp node_modules/sharp`.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from shutil import which
from statistics import mean

import oxipng
from PIL import Image

from benchmarks.compression_methods import cpu_s
from benchmarks.png_images import make_pngs
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import Options

try:
    from ssimulacra2 import compute_ssimulacra2
except ImportError:
    # It brings numpy and scipy, so it is not among the packages for development.
    compute_ssimulacra2 = None

Method = Callable[[bytes], bytes]
_SHARP = """
const sharp = require(process.argv[1]), fs = require("fs");
sharp.concurrency(1);
sharp(fs.readFileSync(0)).png({ palette: true, quality: 80 }).toBuffer().then((data) => fs.writeFileSync(1, data));
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="Folder of photographs to crop.")
    parser.add_argument("--sharp", type=Path, help="The folder `sharp` of node_modules.")
    parser.add_argument("--images", type=int, default=20, help="Number of images, evenly of each kind.")
    parser.add_argument("--seed", type=int, default=22)
    arguments = parser.parse_args()
    images = list(make_pngs(arguments.photos, arguments.seed))
    sources = dict(images[:: -(-len(images) // arguments.images)])
    print(f"{len(sources)} PNGs, {sum(map(len, sources.values())) / 1e6:.1f} MB\n")
    print("| | bytes / source | SSIMULACRA2, mean | lowest | CPU s |\n| --- | --- | --- | --- | --- |")
    for name, method in _methods(arguments.sharp).items():
        started = cpu_s()
        results = {image: method(data) for image, data in sources.items()}
        spent_s = cpu_s() - started
        scores = {image: score(sources[image], result) for image, result in results.items()}
        ratio = sum(map(len, results.values())) / sum(map(len, sources.values()))
        lowest = min(scores, key=scores.__getitem__)
        print(
            f"| {name} | {ratio:.3f} | {mean(scores.values()):.1f} | {scores[lowest]:.1f} ({lowest}) | {spent_s:.1f} |",
            flush=True,
        )


def ours(data: bytes, quality: int = 50) -> bytes:
    return compress(data, Options(quality=quality), ImageLimits()).data


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
            scores.append(float(compute_ssimulacra2(*names)))
    return min(scores)


def _methods(sharp: Path | None) -> dict[str, Method]:
    methods: dict[str, Method] = {
        "ours": ours,
        "ours, lossless": lambda data: ours(data, 100),
        "oxipng 2": lambda data: oxipng.optimize_from_memory(data, level=2),
    }
    if which("pngquant"):
        methods["pngquant 70-90"] = lambda data: _run(["pngquant", "--quality", "70-90", "-"], data)
        methods["pngquant 70-90 + oxipng 2"] = lambda data: oxipng.optimize_from_memory(
            _run(["pngquant", "--quality", "70-90", "-"], data), level=2
        )
    if sharp:
        methods["sharp, quality 80"] = lambda data: _run(["node", "-e", _SHARP, str(sharp.resolve())], data)
    return methods


def _run(command: list[str], data: bytes) -> bytes:
    process = subprocess.run(command, input=data, capture_output=True)
    # pngquant refuses an image that does not reach the quality, with this status; then the source stays.
    if process.returncode == 99:
        return data
    process.check_returncode()
    return process.stdout


if __name__ == "__main__":
    main()
