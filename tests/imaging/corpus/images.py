"""The pixels of the corpus as Pillow images. They are the same in every run."""

from __future__ import annotations

import random
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DURATIONS_MS = [100, 200, 300, 400]


@cache
def _photo(width: int, height: int) -> Image.Image:
    chance, bands = random.Random(1), []
    for n in range(3):
        soft = Image.radial_gradient("L").rotate(50 * n).resize((width, height))
        grain = Image.frombytes("L", (width, height), chance.randbytes(width * height)).filter(ImageFilter.BLUR)
        bands.append(ImageChops.add(soft, grain, 1.6))
    return Image.merge("RGB", bands)


def photo(width: int = 240, height: int = 160) -> Image.Image:
    """Soft shapes with grain, like a photograph, with far more than 256 colours."""
    return _photo(width, height).copy()


def drawing(width: int = 240, height: int = 160, background: str = "#fff0") -> Image.Image:
    """Four flat colours with soft edges on a transparent background, in RGBA: slightly more than 256 colours."""
    big = Image.new("RGBA", (width * 4, height * 4), background)
    pen = ImageDraw.Draw(big)
    for n, colour in enumerate(["#d33", "#38c", "#fa0", "#222"]):
        pen.ellipse((n * width * 0.7, n * height * 0.6, n * width * 0.7 + width, n * height * 0.6 + width), fill=colour)
    return big.resize((width, height), Image.Resampling.LANCZOS)


def quarters(width: int = 200, height: int = 120) -> Image.Image:
    """Red and green above blue and white, which shows the orientation."""
    image = Image.new("RGB", (2, 2), "white")
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)])
    return image.resize((width, height), Image.Resampling.NEAREST)


def with_alpha(image: Image.Image) -> Image.Image:
    """Transparent at the top, opaque at the bottom."""
    image = image.copy()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """The RGB image in any mode. 16-bit samples have low bytes that differ from the high bytes."""
    if mode == "I;16":
        grey = image.convert("L").tobytes()
        return Image.frombytes("I;16", image.size, b"".join(bytes((n * 7 % 256, n)) for n in grey))
    if mode in ("LA", "RGBA"):
        return with_alpha(image.convert(mode.removesuffix("A")))
    return image.quantize(64) if mode == "P" else image.convert(mode)


def encode(image: Image.Image, name: str, **settings: Any) -> bytes:
    file = BytesIO()
    image.save(file, name, **settings)
    return file.getvalue()


def animated(name: str, **settings: Any) -> bytes:
    first, *rest = [photo(96, 64).rotate(90 * n) for n in range(4)]
    return encode(first, name, save_all=True, append_images=rest, duration=DURATIONS_MS, **settings)
