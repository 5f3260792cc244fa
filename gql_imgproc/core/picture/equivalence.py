"""One quality, seen alike: the number of each encoder that looks as JPEG does at the wanted one.

JPEG is the norm. The pairs are those at which the encoders reach the same structural dissimilarity (DSSIM) on
photographs, as published at https://www.industrialempathy.com/posts/avif-webp-quality-settings/; between them
it is interpolated, below them proportional.
"""

from __future__ import annotations

_JPEG = (0, 50, 60, 70, 80, 100)
_WEBP = (0, 55, 64, 72, 82, 100)
_AVIF = (0, 48, 51, 56, 64, 100)


def webp_quality(quality: int) -> int:
    return _interpolate(quality, _WEBP)


def avif_quality(quality: int) -> int:
    return _interpolate(quality, _AVIF)


def _interpolate(quality: int, to: tuple[int, ...]) -> int:
    for n in range(1, len(_JPEG)):
        if quality <= _JPEG[n]:
            part = (quality - _JPEG[n - 1]) / (_JPEG[n] - _JPEG[n - 1])
            return round(to[n - 1] + part * (to[n] - to[n - 1]))
    return to[-1]
