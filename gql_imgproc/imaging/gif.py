"""GIF: lossless already, of 256 colours at most."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageChops

from gql_imgproc.imaging import png_color_count
from gql_imgproc.imaging.metadata import Extras, save
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.probe import load

#: From this alpha on a pixel of a GIF is opaque.
_OPAQUE = 128


def recompress(source: OpenedImage, options: Options) -> Iterable[bytes]:
    """None: its first frame is read lest a broken one is handed on."""
    load(source.image)
    return ()


def encode(image: Image.Image, extras: Extras) -> bytes:
    return save(_frame(image), "GIF", optimize=True, comment=extras.comment)


def encode_animation(frames: list[Image.Image], durations_ms: list[int], plays: int, extras: Extras) -> bytes:
    first, *rest = [_frame(frame) for frame in frames]
    # A GIF tells repeats after the first play, and none by leaving the number out.
    loop = {} if plays == 1 else {"loop": max(0, plays - 1)}
    more = {"comment": extras.comment, **loop}
    return save(first, "GIF", save_all=True, append_images=rest, duration=durations_ms, disposal=2, **more)


def _frame(image: Image.Image) -> Image.Image:
    """256 colours, one of them for what is transparent; exact ones where there are no more."""
    if image.mode == "L":
        return image
    if image.mode not in ("RGBA", "LA"):
        image = image.convert("RGB")
        if counts := png_color_count.count_colors(image, 256):
            return png_color_count.numbered(image, {colour: colour for colour in counts})
        return image.quantize(256, Image.Quantize.MEDIANCUT)
    opaque = image.getchannel("A").point(lambda alpha: 255 if alpha >= _OPAQUE else 0)
    # What is clear is of one colour, lest it takes those of what is seen.
    colours = Image.new("RGB", image.size)
    colours.paste(image.convert("RGB"), mask=opaque)
    clear = ImageChops.invert(opaque)
    if clear.getbbox() is None:
        return _frame(colours)
    counts = png_color_count.count_colors(colours, 255)
    if counts:
        reduced = png_color_count.numbered(colours, {colour: colour for colour in counts})
    else:
        reduced = colours.quantize(255, Image.Quantize.MEDIANCUT)
    palette = (reduced.getpalette() or [])[: 255 * 3]
    reduced.putpalette(palette + [0] * (256 * 3 - len(palette)))
    reduced.paste(255, mask=clear)
    reduced.info["transparency"] = 255
    return reduced
