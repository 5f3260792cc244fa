"""What `compress` saves, and what it costs, for pictures of each format."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from benchmarks.compression_methods import cpu_s, ours
from gql_imgproc.imaging.compress import ImageLimits, inspect
from gql_imgproc.standalone.sample_images import render_sample

#: Formats that are slow to encode are measured on so many pictures at most.
_FEW = 6
#: A shop's own pictures in these formats: of the highest quality that people use.
_STORED: dict[str, dict[str, Any]] = {
    "PNG, photograph": {"format": "PNG"},
    "WebP": {"format": "WEBP", "quality": 90},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "AVIF": {"format": "AVIF", "quality": 85, "speed": 8},
    "TIFF, LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "BMP": {"format": "BMP"},
}


def table(photographs: list[bytes]) -> None:
    print(f"{'':24} {'pictures':>8} {'bytes saved':>12} {'ms CPU/MP':>10}")
    _row("JPEG, 4:4:4", photographs[0::2])
    _row("JPEG, 4:2:0", photographs[1::2])
    for name, how in _STORED.items():
        _row(name, [_stored(data, how) for data in photographs[:_FEW]])
    _row("PNG, drawing", [render_sample(f"{n}-plan.png") for n in range(_FEW)])
    _row("PNG, cut out", [render_sample(f"{n}-cutout.png") for n in range(_FEW)])
    _row("GIF, animated", [render_sample(f"{n}-moves.gif") for n in range(_FEW)])


def _stored(data: bytes, how: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, **how)
    return out.getvalue()


def _row(name: str, pictures: list[bytes]) -> None:
    megapixels = sum(inspect(data, ImageLimits()).megapixels for data in pictures)
    started = cpu_s()
    made = [ours(data) for data in pictures]
    spent_ms = 1000 * (cpu_s() - started)
    saved = 1 - sum(map(len, made)) / sum(map(len, pictures))
    print(f"{name:24} {len(pictures):8} {saved:11.0%} {spent_ms / megapixels:11.1f}", flush=True)
