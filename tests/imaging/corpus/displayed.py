"""Pictures as a person sees them: turned upright, over a page of some colour, frame after frame."""

from __future__ import annotations

import math
from io import BytesIO

from PIL import Image, ImageChops, ImageOps

GROUNDS = ("white", "black")


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def frames(data: bytes) -> list[Image.Image]:
    """Each frame or page, composed and upright, in RGBA."""
    with Image.open(BytesIO(data)) as image:
        out = []
        # A default image is for readers without animation.
        for number in range(bool(image.info.get("default_image")), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            out.append(ImageOps.exif_transpose(_in_rgba(image)))
        return out


def durations_ms(data: bytes) -> list[float]:
    with Image.open(BytesIO(data)) as image:
        out = []
        for number in range(bool(image.info.get("default_image")), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            out.append(image.info.get("duration", 0))
        return out


def _in_rgba(image: Image.Image) -> Image.Image:
    """What matters of 16 bits on a screen of 8."""
    if image.mode.startswith("I;16"):
        high = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
        high.info = {k: v for k, v in image.info.items() if k != "transparency"}
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            mask = image.convert("I").point(lambda level: level * 1 + 0)
            alpha = Image.frombytes("L", image.size, bytes(0 if n == clear else 255 for n in mask.get_flattened_data()))
            high.putalpha(alpha)
        return high.convert("RGBA")
    return image.convert("RGBA")


def over(image: Image.Image, ground: str) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, ground), rgba).convert("RGB")


def look_alike(one: list[Image.Image], other: list[Image.Image]) -> float:
    """PSNR in dB of the frames that differ most, the worse of over white and over black; 99 when all are the same."""
    worst = 99.0
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for ground in GROUNDS:
            worst = min(worst, _psnr(over(a, ground), over(b, ground)))
    return worst


def look_alike_upright(one: Image.Image, other: Image.Image) -> float:
    return look_alike([ImageOps.exif_transpose(one)], [ImageOps.exif_transpose(other)])


def fidelity(one: bytes, other: bytes) -> float:
    """How alike two files look, in dB; 99 when they are displayed as the same."""
    return look_alike(frames(one), frames(other))


def _psnr(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    histogram = ImageChops.difference(one, other).histogram()
    error = sum((n % 256) ** 2 * count for n, count in enumerate(histogram)) / sum(histogram)
    return 99.0 if error == 0 else min(98.9, 10 * math.log10(255 * 255 / error))


def looks_the_same(one: bytes, other: bytes) -> bool:
    return fidelity(one, other) == 99.0


def played(data: bytes) -> list[tuple[bytes, float]]:
    """What is seen over white and for how long, which does not depend on how often it is told."""
    out: list[tuple[bytes, float]] = []
    for frame, duration in zip(frames(data), durations_ms(data), strict=True):
        seen = over(frame, "white").tobytes()
        if out and out[-1][0] == seen:
            duration += out.pop()[1]
        out.append((seen, duration))
    return out
