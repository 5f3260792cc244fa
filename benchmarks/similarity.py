"""Similarity of two images with Pillow alone: PSNR, and structural similarity on luma.

SSIM: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
IEEE Transactions on Image Processing 13 (2004), https://doi.org/10.1109/TIP.2003.819861; over windows of 8 x 8.
"""

from __future__ import annotations

import math

from PIL import Image, ImageChops, ImageMath, ImageStat

#: Constants that stabilize the quotient without luminance or contrast: (0.01 * 255)^2 and (0.03 * 255)^2.
_STABILIZERS = (6.5025, 58.5225)
_WINDOW = 8


def psnr_db(one: Image.Image, other: Image.Image) -> float:
    """Infinite if the images are equal."""
    squares = ImageStat.Stat(ImageChops.difference(one, other)).sum2
    mean = sum(squares) / (len(squares) * one.width * one.height)
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def dssim(one: Image.Image, other: Image.Image) -> float:
    """Structural dissimilarity: 0 if the images are equal, 0.5 if they have no structure in common."""
    # Only complete windows: `reduce` would give those at the edge too much weight.
    complete = (0, 0, one.width // _WINDOW * _WINDOW, one.height // _WINDOW * _WINDOW)
    a, b = (image.convert("L").crop(complete).convert("F") for image in (one, other))
    means = {
        "a": _window_means(a),
        "b": _window_means(b),
        "aa": _window_means(_product(a, a)),
        "bb": _window_means(_product(b, b)),
        "ab": _window_means(_product(a, b)),
    }
    light, contrast = _STABILIZERS

    def similarity(m: dict[str, ImageMath._Operand]) -> ImageMath._Operand:
        both, squares = m["a"] * m["b"], m["a"] * m["a"] + m["b"] * m["b"]
        shared, spread = m["ab"] - both, m["aa"] + m["bb"] - squares
        return (both * 2 + light) * (shared * 2 + contrast) / ((squares + light) * (spread + contrast))

    # Not `ImageStat`, which assumes 256 different values.
    mean = ImageMath.lambda_eval(similarity, **means).resize((1, 1), Image.Resampling.BOX)
    return (1 - float(mean.getpixel((0, 0)))) / 2


def _product(a: Image.Image, b: Image.Image) -> Image.Image:
    product: Image.Image = ImageMath.lambda_eval(lambda m: m["a"] * m["b"], a=a, b=b)
    return product


def _window_means(image: Image.Image) -> Image.Image:
    return image.reduce(_WINDOW)
