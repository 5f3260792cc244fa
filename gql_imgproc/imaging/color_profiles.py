"""Converts colours of other colour spaces to sRGB, the colour space of screens."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

from PIL import Image, ImageCms

#: Bytes of the largest profile that is read. Those of printers have 0.5 to 3 MB, and reading them takes time.
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
#: Colour space of a profile, as ICC.1 (7.2.6) names it, and Pillow's mode for it.
_MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}
_GREY_MODES = ("1", "L", "LA", "I;16", "I;16B")
_MAX_CACHED_BYTES = 64 * 1024
#: Gamma of a screen in units of PNG, and the difference at which colours still look alike.
_SCREEN_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.05


def describe_profile(icc: bytes) -> str | None:
    """Pillow's mode for the colour space of the profile; None for other colour spaces."""
    return _MODES.get(icc[16:20])


def usable_profile(icc: bytes, mode: str) -> bytes:
    """The profile if browsers apply it to an image of this mode; otherwise they ignore it, or refuse an AVIF for it."""
    described = describe_profile(icc)
    fits = {"L": mode in _GREY_MODES, "RGB": mode != "CMYK", "CMYK": mode == "CMYK", None: False}[described]
    builds = _cached_builds if len(icc) <= _MAX_CACHED_BYTES else _builds
    return icc if fits and builds(icc) else b""


def _builds(icc: bytes) -> bool:
    """Whether a transform can be built from the profile."""
    try:
        profile, screen = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
        ImageCms.buildTransform(profile, screen, describe_profile(icc) or "", "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return False
    return True


# Most images have one of few profiles, and building a transform takes 5 ms.
_cached_builds = lru_cache(maxsize=64)(_builds)


def convert_grey(image: Image.Image, icc: bytes) -> Image.Image | None:
    """As `convert_with_profile`, for an image that is grey although its mode may be RGB."""
    return convert_with_profile(image.convert("LA" if image.mode.endswith("A") else "L"), icc)


def convert_with_profile(image: Image.Image, icc: bytes) -> Image.Image | None:
    """The image in sRGB, with its alpha; None if the profile is broken or describes another mode."""
    if describe_profile(icc) != image.mode.removesuffix("A") or len(icc) > _MAX_PROFILE_BYTES:
        return None
    try:
        # As in browsers: colours that both spaces contain stay, and black becomes black.
        converted = ImageCms.profileToProfile(
            image.convert(image.mode.removesuffix("A")),
            ImageCms.ImageCmsProfile(BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if converted is not None and image.mode.endswith("A"):
        converted.putalpha(image.getchannel("A"))
    return converted


def convert_with_gamma(image: Image.Image, gamma: float) -> Image.Image:
    """The image with the gamma of a screen instead of `gamma` (PNG specification, 13.13)."""
    if not 0 < gamma < 10 or abs(gamma - _SCREEN_GAMMA) <= _GAMMA_TOLERANCE or image.mode not in _COLOR_BANDS:
        return image
    bands = list(image.split())
    for n in range(_COLOR_BANDS[image.mode]):
        bands[n] = bands[n].point(_gamma_table(gamma))
    return Image.merge(image.mode, bands)


#: Number of bands that a gamma applies to, for each mode.
_COLOR_BANDS = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}


@lru_cache(maxsize=8)
def _gamma_table(gamma: float) -> list[int]:
    light = ((level / 255) ** (1 / gamma) for level in range(256))
    return [round(255 * (12.92 * n if n <= 0.0031308 else 1.055 * n ** (1 / 2.4) - 0.055)) for n in light]
