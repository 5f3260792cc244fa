"""AVIF: a new file of a wanted quality, where Pillow can write all that the source holds."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture.equivalence import avif_quality
from gql_imgproc.core.picture.inspect import load
from gql_imgproc.core.picture.saving import Extras, extras_of, save
from gql_imgproc.core.picture.source import Source

#: libaom's speed against size; 161 instead of 411 ms/MP.
_SPEED = 8


def smaller(source: Source, options: Options) -> Iterable[bytes]:
    """Not more than 8 bits, not HDR, not an animation: Pillow would lose depth, transfer or repeats."""
    load(source.image)
    if source.anatomy.frames > 1 or _needs_more(source.data):
        return
    extras = extras_of(source.image, source.anatomy.orientation, options.keep_metadata)
    yield encode(source.image, options.quality, extras)


def encode(image: Image.Image, quality: int, extras: Extras) -> bytes:
    return _saved(image, quality, extras)


def encode_animation(frames: list[Image.Image], durations_ms: list[int], quality: int, extras: Extras) -> bytes:
    first, *rest = frames
    return _saved(first, quality, extras, save_all=True, append_images=rest, duration=durations_ms)


def _saved(image: Image.Image, quality: int, extras: Extras, **animation: object) -> bytes:
    return save(
        image,
        "AVIF",
        quality=avif_quality(quality),
        speed=_SPEED,
        max_threads=1,
        icc_profile=extras.icc,
        exif=extras.exif,
        xmp=extras.xmp,
        **animation,
    )


def _needs_more(data: bytes) -> bool:
    config = data.find(b"av1C")
    if config < 0 or data[config + 6 : config + 7] == b"" or data[config + 6] & 0x60:
        return True
    colour = data.find(b"colrnclx")
    # Primaries and transfer of BT.709, sRGB or not told are what Pillow writes.
    known = colour < 0 or (data[colour + 9] in (1, 2) and data[colour + 11] in (1, 2, 13))
    return not known or b"tmap" in data[:4096] or b"clap" in data[:4096]
