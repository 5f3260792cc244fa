"""New files of pixels that were changed anyway, in the format asked for; one picture or an animation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.core import jpeg, png, webp
from gql_imgproc.core.equivalence import avif_quality
from gql_imgproc.core.failures import too_large
from gql_imgproc.core.formats import Format
from gql_imgproc.core.saving import Extras, save
from gql_imgproc.core.transform import on_white

#: libaom's speed against size; 161 instead of 411 ms/MP.
_AVIF_SPEED = 8
#: From this alpha on a pixel of a GIF is opaque.
_GIF_OPAQUE = 128


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
        image = on_white(image)
    image, extras = _colours(image, form, extras)
    match form.name:
        case "JPEG":
            return jpeg.encode(image, quality, extras, source)
        case "PNG":
            return png.encode(image, quality, extras)
        case "WEBP":
            return webp.encode(image, quality, extras, lossless)
        case "AVIF":
            return avif(image, quality, extras)
        case "GIF":
            return save(_gif_frame(image), "GIF", optimize=True)
        case "TIFF":
            return save(image, "TIFF", **_tiff_settings(extras))
        case _:
            return save(image.convert("RGBA") if image.mode == "LA" else image, "BMP", dpi=extras.dpi or (96, 96))


def encode_animation(animation: Animation, form: Format, quality: int, extras: Extras, *, lossless: bool) -> bytes:
    frames, durations, plays = animation.frames, animation.durations_ms, animation.plays
    match form.name:
        case "WEBP":
            return webp.encode_animation(frames, durations, plays, quality, extras, lossless)
        case "PNG":
            return png.encode_animation(frames, durations, plays, extras)
        case "AVIF":
            return avif(frames[0], quality, extras, save_all=True, append_images=frames[1:], duration=durations)
        case "TIFF":
            return save(frames[0], "TIFF", save_all=True, append_images=frames[1:], **_tiff_settings(extras))
    first, *rest = [_gif_frame(frame) for frame in frames]
    # A GIF tells repeats after the first play, and none by leaving the number out.
    loop = {} if plays == 1 else {"loop": max(0, plays - 1)}
    return save(first, "GIF", save_all=True, append_images=rest, duration=durations, disposal=2, **loop)


def avif(image: Image.Image, quality: int, extras: Extras, **animation: object) -> bytes:
    return save(
        image,
        "AVIF",
        quality=avif_quality(quality),
        speed=_AVIF_SPEED,
        max_threads=1,
        icc_profile=extras.icc,
        exif=extras.exif,
        xmp=extras.xmp,
        **animation,
    )


def _tiff_settings(extras: Extras) -> dict[str, object]:
    settings: dict[str, object] = {"compression": "tiff_adobe_deflate"}
    if extras.icc:
        settings["icc_profile"] = extras.icc
    if extras.dpi:
        settings["dpi"] = extras.dpi
    return settings


def _colours(image: Image.Image, form: Format, extras: Extras) -> tuple[Image.Image, Extras]:
    """The picture in colours that the format can hold, with a profile that is about these colours."""
    if image.mode == "CMYK" and form.name not in ("JPEG", "TIFF"):
        image = image.convert("RGB")
    about = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}.get(extras.icc[16:20].decode("latin-1"))
    if about != image.mode.removesuffix("A"):
        extras = replace(extras, icc=b"")
    return image, extras


def _gif_frame(image: Image.Image) -> Image.Image:
    """256 colours, one of them for what is transparent."""
    if image.mode == "L":
        return image
    if image.mode not in ("RGBA", "LA"):
        return image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
    reduced = image.convert("RGB").quantize(255, Image.Quantize.MEDIANCUT)
    clear = image.getchannel("A").point(lambda alpha: 255 if alpha < _GIF_OPAQUE else 0)
    if clear.getbbox() is None:
        return reduced
    palette = (reduced.getpalette() or [])[: 255 * 3]
    reduced.putpalette(palette + [0] * (256 * 3 - len(palette)))
    reduced.paste(255, mask=clear)
    reduced.info["transparency"] = 255
    return reduced
