"""Finds the border of one colour around the content of an image."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import Image, ImageChops

from gql_imgproc.imaging.options import Crop
from gql_imgproc.imaging.similarity import strips
from gql_imgproc.imaging.transform import to_upright, to_working_mode

Box = tuple[int, int, int, int]

#: Levels by which a channel of the border may differ from the pixel in its upper left corner: the noise of a JPEG.
TOLERANCE = 10


def find_content(frames: Iterable[Image.Image], orientation: int, crop: Crop | None) -> Box | None:
    """The part of the displayed image without its border, of all frames together; None if there is nothing else.

    A border is what the upper left corner of the first frame looks like. Where that is transparent, colours do not
    matter.
    """
    corner: tuple[int, ...] | None = None
    found: Box | None = None
    for frame in frames:
        image = to_upright(to_working_mode(frame), orientation)
        left, top = (crop.x, crop.y) if crop else (0, 0)
        if crop:
            image = image.crop((left, top, left + crop.width, top + crop.height))
        image = image.convert("RGBA" if image.mode.endswith("A") else "RGB")
        corner = corner or tuple(image.getpixel((0, 0)))  # type: ignore[arg-type]  # several channels are a tuple
        for row, strip in strips(image):
            if box := _find_difference(strip, corner):
                moved = box[0] + left, box[1] + top + row, box[2] + left, box[3] + top + row
                found = _join(found, moved)
    return found


def _find_difference(image: Image.Image, corner: tuple[int, ...]) -> Box | None:
    if corner[3:] and corner[3] <= TOLERANCE:
        difference = image.getchannel("A") if image.mode == "RGBA" else Image.new("L", image.size, 255)
    else:
        flat = Image.new("RGB", image.size, corner[:3])
        shown = flat.copy()
        shown.paste(image.convert("RGB"), mask=image.getchannel("A") if image.mode == "RGBA" else None)
        red, green, blue = ImageChops.difference(shown, flat).split()
        difference = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return difference.point(lambda level: 255 if level > TOLERANCE else 0).getbbox()


def _join(one: Box | None, other: Box) -> Box:
    if one is None:
        return other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
