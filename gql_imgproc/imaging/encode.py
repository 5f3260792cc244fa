"""New files of pixels that were changed anyway, in the format asked for; one picture or an animation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.imaging import avif, bmp, color_profiles, gif, jpeg, png, tiff, webp
from gql_imgproc.imaging.errors import too_large
from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.transform import flatten_on_white


@dataclass(frozen=True, slots=True)
class Animation:
    """Frames as displayed one after the other; `plays` of 0 is for ever."""

    frames: list[Image.Image]
    durations_ms: list[int]
    plays: int


def encode(
    image: Image.Image,
    form: Format,
    quality: int,
    extras: Extras,
    *,
    lossless: bool = False,
    source: JpegImageFile | None = None,
) -> bytes:
    if max(image.size) > form.max_side:
        raise too_large(
            f"The picture of {image.width:,} x {image.height:,} pixels is too large for {form.label}, "
            f"which holds at most {form.max_side:,} on a side."
        )
    if not form.alpha:
        image = flatten_on_white(image)
    image, extras = _colours(image, form, extras)
    match form.name:
        case "JPEG":
            return jpeg.encode(image, quality, extras, source)
        case "PNG":
            return png.encode(image, quality, extras)
        case "WEBP":
            return webp.encode(image, quality, extras, lossless)
        case "AVIF":
            return avif.encode(image, quality, extras)
        case "GIF":
            return gif.encode(image, extras)
        case "TIFF":
            return tiff.encode([image], extras)
        case _:
            return bmp.encode(image, extras)


def encode_animation(animation: Animation, form: Format, quality: int, extras: Extras, *, lossless: bool) -> bytes:
    frames, durations, plays = animation.frames, animation.durations_ms, animation.plays
    _, extras = _colours(frames[0], form, extras)
    match form.name:
        case "WEBP":
            return webp.encode_animation(frames, durations, plays, quality, extras, lossless)
        case "PNG":
            return png.encode_animation(frames, durations, plays, extras)
        case "AVIF":
            return avif.encode_animation(frames, durations, plays, quality, extras)
        case "TIFF":
            return tiff.encode(frames, extras)
        case _:
            return gif.encode_animation(frames, durations, plays, extras)


def _colours(image: Image.Image, form: Format, extras: Extras) -> tuple[Image.Image, Extras]:
    """The picture in colours that the format can hold, with a profile that is about these colours."""
    if image.mode == "CMYK" and not form.inks:
        image = image.convert("RGB")
    if color_profiles.describe_profile(extras.icc) != image.mode.removesuffix("A").replace("I;16", "L"):
        extras = replace(extras, icc=b"")
    return image, extras
