"""Bytes saved by `compress` and its CPU time, for images of each format."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from benchmarks.compression_methods import cpu_s, ours
from gql_imgproc.imaging.compress import ImageLimits, inspect
from gql_imgproc.standalone.sample_images import render_sample
from gql_imgproc.standalone.sample_products import PRODUCTS

#: Maximum number of images of the formats that are slow to encode.
_FEW = 6
#: Settings of source images in each format, with the highest quality that shops use.
_SOURCES: dict[str, dict[str, Any]] = {
    "PNG, photograph": {"format": "PNG"},
    "WebP": {"format": "WEBP", "quality": 90},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "AVIF": {"format": "AVIF", "quality": 85, "speed": 8},
    "TIFF, LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "BMP": {"format": "BMP"},
}


def print_table(photographs: list[bytes]) -> None:
    few = tuple(PRODUCTS)[: min(_FEW, len(photographs))]
    print(f"{'':24} {'images':>8} {'bytes saved':>12} {'ms CPU/MP':>10}")
    _print_row("JPEG, 4:4:4", photographs[0::2])
    _print_row("JPEG, 4:2:0", photographs[1::2])
    for name, settings in _SOURCES.items():
        _print_row(name, [_encode(data, settings) for data in photographs[: len(few)]])
    _print_row("PNG, drawing", [render_sample(f"{product}-plan.png") for product in few])
    _print_row("PNG, cut out", [render_sample(f"{product}-cutout.png") for product in few])
    _print_row("GIF, animated", [render_sample(f"{product}-moves.gif") for product in few])


def _encode(data: bytes, settings: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, **settings)
    return out.getvalue()


def _print_row(name: str, images: list[bytes]) -> None:
    megapixels = sum(inspect(data, ImageLimits()).megapixels for data in images)
    started = cpu_s()
    results = [ours(data) for data in images]
    spent_ms = 1000 * (cpu_s() - started)
    saved = 1 - sum(map(len, results)) / sum(map(len, images))
    print(f"{name:24} {len(images):8} {saved:11.0%} {spent_ms / megapixels:11.1f}", flush=True)
