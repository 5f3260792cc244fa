"""Colours as a screen shows them (sRGB), of pixels that mean something else."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

#: Bytes of a profile that is looked into; those of printers have 0.5 to 3 MB, and reading them takes time.
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
#: Kind of colours that a profile is about, as ICC.1 (7.2.6) names it, and Pillow's mode for them.
_ABOUT = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
#: Gamma of a screen as a PNG tells it, and how far from it colours still look alike.
_SCREEN_GAMMA, _GAMMA_LEEWAY = 0.45455, 0.05


def describe_profile(icc: bytes) -> str | None:
    """The mode of pixels that the profile is about; None for another one."""
    return _ABOUT.get(icc[16:20])


def convert_with_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    """The picture in RGB, with the alpha that it has; None when the profile is broken or about other colours."""
    if describe_profile(icc) != image.mode.removesuffix("A") or len(icc) > _MAX_PROFILE_BYTES:
        return None
    try:
        # As browsers do: what both can show stays, black becomes black.
        shown = ImageCms.profileToProfile(
            image.convert(image.mode.removesuffix("A")),
            ImageCms.ImageCmsProfile(BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if shown is not None and image.mode.endswith("A"):
        shown.putalpha(image.getchannel("A"))
    return shown


def convert_with_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """The picture on a screen's curve, of one that tells another (PNG, 13.13)."""
    if not 0 < gamma < 10 or abs(gamma - _SCREEN_GAMMA) <= _GAMMA_LEEWAY or image.mode not in _ON_CURVES:
        return image
    bands = list(image.split())
    for n in range(_ON_CURVES[image.mode]):
        bands[n] = bands[n].point(_curve(gamma))
    return Image.merge(image.mode, bands)


#: Modes whose numbers are light, and how many of their bands.
_ON_CURVES = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}


@lru_cache(maxsize=8)
def _curve(gamma: float) -> list[int]:
    light = ((level / 255) ** (1 / gamma) for level in range(256))
    return [round(255 * (12.92 * n if n <= 0.0031308 else 1.055 * n ** (1 / 2.4) - 0.055)) for n in light]
