"""AVIF: a new file of a wanted quality, where Pillow can write all that the source holds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from PIL import Image

from gql_imgproc.imaging import heif
from gql_imgproc.imaging.metadata import Extras, extras_of, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import load
from gql_imgproc.imaging.quality_mapping import avif_quality
from gql_imgproc.imaging.structure import ImageStructure

#: libaom's speed against size; 161 instead of 411 ms/MP.
_SPEED = 8


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """One file of the wanted quality; none when the source is lossless, no better than that, or more than that.

    More than 8 bits, HDR and a crop would be lost by Pillow, as would the repeats of an animation.
    """
    image, anatomy = source.image, source.anatomy
    load(image)
    if anatomy.frames > 1 or anatomy.lossless or not anatomy.plain or is_already_at_quality(anatomy, options.quality):
        return
    yield encode(image, options.quality, extras_of(image, anatomy.orientation, options.keep_metadata))


def is_already_at_quality(anatomy: ImageStructure, quality: int) -> bool:
    """Whether the source is known to be quantised as coarsely as the quality asks, or more so."""
    return anatomy.quantiser >= quantiser_of(quality)


@lru_cache(maxsize=101)
def quantiser_of(quality: int) -> int:
    """AV1's base_q_idx (0-255) for one of our qualities; above 255 when it cannot be told.

    Asked of the encoder, in less than 1 ms: it depends on the quality alone, neither on size nor on content, but
    how is libavif's affair, and has changed between its versions.
    """
    made = encode(Image.new("RGB", (8, 8)), quality, Extras())
    picture = heif.structure(made, 1).picture
    return picture.frame.base_q_idx if picture is not None and picture.frame is not None else 256


def encode(image: Image.Image, quality: int, extras: Extras) -> bytes:
    return _encode(image, quality, extras)


def encode_animation(
    frames: list[Image.Image], durations_ms: list[int], plays: int, quality: int, extras: Extras
) -> bytes:
    first, *rest = frames
    made = _encode(first, quality, extras, save_all=True, append_images=rest, duration=durations_ms)
    return _set_play_count(made, plays, sum(durations_ms)) if plays and rest else made


def _set_play_count(made: bytes, plays: int, duration_ms: int) -> bytes:
    """Pillow writes animations that never end; one that does has an end in the headers of movie and tracks.

    Both headers are of version 1, in milliseconds (ISO/IEC 14496-12, 8.2.2 and 8.3.2).
    """
    out = bytearray(made)
    for header, at in ((b"mvhd", 24), (b"tkhd", 28)):
        start = made.find(header)
        while 0 <= start < made.find(b"mdat"):
            start += 4
            if made[start] == 1 and made[start + at : start + at + 8] == b"\xff" * 8:
                out[start + at : start + at + 8] = (plays * duration_ms).to_bytes(8, "big")
            start = made.find(header, start)
    return bytes(out)


def _encode(image: Image.Image, quality: int, extras: Extras, **animation: object) -> bytes:
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
