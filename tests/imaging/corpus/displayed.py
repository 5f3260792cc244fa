"""Renders images as a viewer displays them (upright, over a background, frame by frame) and compares them."""

from __future__ import annotations

import math
from io import BytesIO

from PIL import Image, ImageChops, ImageOps

from gql_imgproc.imaging.codecs.gif import read_frames
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.probe import open_image

BACKGROUNDS = ("white", "black")


def decode(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def frames(data: bytes) -> list[Image.Image]:
    """Each frame or page, composed, upright, in RGBA. Those of a GIF as browsers do, see `test_composition`."""
    if data.startswith(b"GIF8"):
        return list(read_frames(open_image(data, ImageLimits())))
    with Image.open(BytesIO(data)) as image:
        out = []
        # The default image is for readers without animation support.
        for number in range(bool(image.info.get("default_image")), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            out.append(ImageOps.exif_transpose(_to_rgba(image)))
        return out


def durations_ms(data: bytes) -> list[float]:
    with Image.open(BytesIO(data)) as image:
        out = []
        for number in range(bool(image.info.get("default_image")), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            out.append(image.info.get("duration", 0))
        return out


def _to_rgba(image: Image.Image) -> Image.Image:
    """Keeps the high byte of 16-bit samples, as a screen of 8 bits does."""
    if image.mode.startswith("I;16"):
        high = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
        high.info = {k: v for k, v in image.info.items() if k != "transparency"}
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            mask = image.convert("I").point(lambda level: level * 1 + 0)
            alpha = Image.frombytes(
                "L", image.size, bytes(0 if n == transparent else 255 for n in mask.get_flattened_data())
            )
            high.putalpha(alpha)
        return high.convert("RGBA")
    return image.convert("RGBA")


def over(image: Image.Image, background: str) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba).convert("RGB")


def min_psnr_db(one: list[Image.Image], other: list[Image.Image]) -> float:
    """PSNR of the frames that differ most, over white or over black; 99 if all frames are equal."""
    worst = 99.0
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for background in BACKGROUNDS:
            worst = min(worst, _psnr_db(over(a, background), over(b, background)))
    return worst


def upright_psnr_db(one: Image.Image, other: Image.Image) -> float:
    return min_psnr_db([ImageOps.exif_transpose(one)], [ImageOps.exif_transpose(other)])


def displayed_psnr_db(one: bytes, other: bytes) -> float:
    """PSNR of two files as displayed; 99 if they look equal."""
    return min_psnr_db(frames(one), frames(other))


def _psnr_db(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    histogram = ImageChops.difference(one, other).histogram()
    error = sum((n % 256) ** 2 * count for n, count in enumerate(histogram)) / sum(histogram)
    return 99.0 if error == 0 else min(98.9, 10 * math.log10(255 * 255 / error))


def is_displayed_equal(one: bytes, other: bytes) -> bool:
    return displayed_psnr_db(one, other) == 99.0


def timeline(data: bytes) -> list[tuple[bytes, float]]:
    """Pixels over white and their duration. Equal consecutive frames are merged."""
    out: list[tuple[bytes, float]] = []
    for frame, duration in zip(frames(data), durations_ms(data), strict=True):
        pixels = over(frame, "white").tobytes()
        if out and out[-1][0] == pixels:
            duration += out.pop()[1]
        out.append((pixels, duration))
    return out
