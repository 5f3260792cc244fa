"""Applies crop, trim, pad, scale, fit and filters, in this order, to the image as displayed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageColor, ImageFilter, ImageOps

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging import options as request_options
from gql_imgproc.imaging.errors import unsupported
from gql_imgproc.imaging.options import Crop, Fit, Options

_Box = tuple[float, float, float, float]

#: The operation that makes each EXIF orientation upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The options for an image of one size. `size` and `target` are sizes before and after.

    `inner` is the size of the scaled image on its canvas, and `background` the colour of that; None is transparent.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None
    target: tuple[int, int]
    filters: tuple[request_options.ImageFilter, ...]
    inner: tuple[int, int]
    background: str | None = None
    #: Whether the background replaces transparency.
    is_flattened: bool = False

    @property
    def changes_pixels(self) -> bool:
        is_moved = self.crop is not None or self.target != self.size
        return is_moved or self.is_padded or bool(self.filters)

    @property
    def is_padded(self) -> bool:
        return self.inner != self.target or self.is_flattened

    @property
    def is_scaled(self) -> bool:
        return self.inner != (self.size if self.crop is None else _extent(self.crop))


def make_plan(
    options: Options,
    size: tuple[int, int],
    *,
    content: tuple[int, int, int, int] | None = None,
    has_alpha: bool = False,
) -> Plan:
    """`size` is the displayed size, `content` the part of it to which the image is trimmed.

    Raises ImageError if the crop rectangle is not inside it.
    """
    box = _crop_box(options.crop, size) if options.crop else None
    if content is not None:
        box = None if content == (0, 0, *size) else content
    if options.fit is Fit.COVER:
        box = _cover_box(box or (0, 0, *size), options)
        box = None if box == (0, 0, *size) else box
    before = width, height = _extent(box) if box else size
    if options.pad:
        width, height = options.pad.canvas(width, height)
    canvas = width, height
    # Rounded up, as libjpeg does when it decodes at half the size.
    width, height = (max(1, math.ceil(n * options.scale - 1e-9)) for n in (width, height))
    largest = options.max_width or width, options.max_height or height
    if options.fit is Fit.COVER:
        # It has the ratio of the largest sides already, as far as whole pixels can.
        width, height = map(min, (width, height), largest)
    elif (fit := min(largest[0] / width, largest[1] / height)) < 1:
        width, height = (max(1, round(n * fit)) for n in (width, height))
    scaled = zip(before, canvas, (width, height), strict=True)
    # Scaled by as much as the canvas.
    inner_width, inner_height = (
        target if side == whole else min(target, max(1, round(side * target / whole))) for side, whole, target in scaled
    )
    color = options.pad.color if options.pad else None
    background = color or (None if has_alpha else "#FFFFFF")
    is_flattened = color is not None and has_alpha
    return Plan(size, box, (width, height), options.filters, (inner_width, inner_height), background, is_flattened)


def _crop_box(crop: Crop, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    box = crop.x, crop.y, crop.x + crop.width, crop.y + crop.height
    if box[2] > size[0] or box[3] > size[1]:
        raise ImageError(
            ImageErrorCode.OPTIONS_IMPOSSIBLE,
            f"The crop rectangle of {crop.width} x {crop.height} pixels at ({crop.x}, {crop.y}) lies outside "
            f"the image of {size[0]} x {size[1]} pixels. Choose a rectangle inside it.",
        )
    return None if box == (0, 0, *size) else box


def _cover_box(box: tuple[int, int, int, int], options: Options) -> tuple[int, int, int, int]:
    """The middle of the box with the ratio of the largest sides. Rounded up, so that a second time it is the same."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    across, down = options.max_width or 1, options.max_height or 1
    new_width, new_height = min(width, -(-height * across // down)), min(height, -(-width * down // across))
    left, top = left + (width - new_width) // 2, top + (height - new_height) // 2
    return left, top, left + new_width, top + new_height


def _extent(box: tuple[int, int, int, int]) -> tuple[int, int]:
    return box[2] - box[0], box[3] - box[1]


def draft_size(image: Image.Image, plan: Plan, orientation: int) -> None:
    """Makes a JPEG decoder skip the details that scaling would remove. Call it before the pixels are loaded.

    At half the size no further scaling is needed. The median PSNR to LANCZOS on all pixels is 52 dB.
    """
    if plan.is_scaled and plan.crop is None:
        # Pillow divides the sizes and rounds down: for 501 of 1001 columns it would decode all.
        divisor = draft_divisor(plan)
        width, height = _to_stored_size(plan.size, orientation)
        image.draft(None, (width // divisor, height // divisor))


def draft_divisor(plan: Plan) -> int:
    """The largest divisor of both sides at which a JPEG decoder does not fall below the target size."""

    def is_large_enough(divisor: int) -> bool:
        return all(
            divisor <= side and math.ceil(side / divisor) >= target
            for side, target in zip(plan.size, plan.inner, strict=True)
        )

    return next((divisor for divisor in (8, 4, 2) if is_large_enough(divisor)), 1)


def apply_geometry(
    image: Image.Image, plan: Plan, orientation: int, *, keep_high_bit_depth: bool = False
) -> Image.Image:
    """Crops, scales, turns the image upright and pads it. Modes that cannot be resampled become RGB or grey."""
    image = to_working_mode(image, keep_high_bit_depth=keep_high_bit_depth)
    if plan.crop is None:
        # Scaled before it is rotated, so that fewer pixels are rotated, and because the column that a draft fills only
        # in part is still the last one.
        image = _resize(image, _to_stored_size(plan.inner, orientation), _draft_box(image, plan, orientation))
    image = to_upright(image, orientation)
    if plan.crop:
        image = _resize(image.crop(plan.crop), plan.inner)
    return _pad(image, plan) if plan.is_padded else image


def to_upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _pad(image: Image.Image, plan: Plan) -> Image.Image:
    """Draws the image in the middle of its canvas, whose colour is also behind transparent pixels."""
    left, top = ((whole - side) // 2 for whole, side in zip(plan.target, image.size, strict=True))
    if plan.background is None:
        image = image.convert("LA" if image.mode in ("L", "LA") else "RGBA")
        canvas = Image.new(image.mode, plan.target)
        canvas.paste(image, (left, top))
    else:
        color = ImageColor.getrgb(plan.background)[:3]
        if len(set(color)) > 1 and image.mode in ("L", "LA", "I;16"):
            image = _to_8_bits(image, None) if image.mode == "I;16" else image
            image = image.convert("RGBA" if image.mode == "LA" else "RGB")
        mode = image.mode.removesuffix("A")
        canvas = Image.new(mode, plan.target, _fill(mode, color))
        mask = image.getchannel("A") if image.mode.endswith("A") else None
        canvas.paste(image.convert(mode), (left, top), mask)
    canvas.info = dict(image.info)
    return canvas


def _fill(mode: str, color: tuple[int, ...]) -> Any:
    match mode:
        case "L":
            return color[0]
        case "I;16":
            return color[0] * 257
    return Image.new("RGB", (1, 1), color).convert(mode).getpixel((0, 0))


def apply_filters(image: Image.Image, plan: Plan) -> Image.Image:
    for name in plan.filters:
        image = _FILTERS[name](image)
    return image


def _resize(image: Image.Image, size: tuple[int, int], box: _Box | None = None) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS, box)


def _draft_box(image: Image.Image, plan: Plan, orientation: int) -> _Box | None:
    """The part of a drafted image that is covered: of 1001 columns, 251 remain, the last one covered to a quarter."""
    divisor = draft_divisor(plan)
    sides = _to_stored_size(plan.size, orientation)
    # Not drafted, or a page of a TIFF with a size of its own.
    if image.size != tuple(math.ceil(side / divisor) for side in sides):
        return None
    return 0, 0, sides[0] / divisor, sides[1] / divisor


def _to_stored_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation >= 5 else size


def to_working_mode(image: Image.Image, *, keep_high_bit_depth: bool = False) -> Image.Image:
    """A mode that can be resampled: L, LA, RGB, RGBA, CMYK, or I;16 if the high bit depth is kept."""
    transparent = image.info.get("transparency")
    match image.mode:
        case "L" | "LA" | "RGB" | "RGBA" | "CMYK" if transparent is None:
            return image
        case "1" if transparent is None:
            return image.convert("L")
        case "La":
            return image.convert("LA")
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            if keep_high_bit_depth and transparent is None:
                return image if image.mode == "I;16" else image.convert("I").convert("I;16")
            return _to_8_bits(image, transparent)
        case "I" | "F":
            raise unsupported(
                "The image has 32-bit samples, and the file does not state which value is white. "
                "It can be compressed, but not changed."
            )
        case "RGB" if isinstance(transparent, tuple) and max(transparent) > 255:
            # Pillow reduces the pixels from 16 to 8 bits, but not the transparent colour.
            image = image.copy()
            image.info["transparency"] = tuple(level >> 8 for level in transparent)
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _to_8_bits(image: Image.Image, transparent: object) -> Image.Image:
    """Converts 16-bit grey to 8 bits. The transparent level becomes alpha."""
    levels = image.convert("I")
    # 255 * 257 = 65,535, so white stays white.
    grey = levels.point(lambda value: value * (1 / 257)).convert("L")
    if isinstance(transparent, int):
        # The difference to the transparent level is 0, or at least 1, which means opaque.
        above, below = (levels.point(lambda value, s=s: value * s - s * transparent).convert("L") for s in (1, -1))
        grey.putalpha(ImageChops.lighter(above, below).point(lambda value: 255 if value else 0))
    return grey


def flatten_on_white(image: Image.Image) -> Image.Image:
    """Replaces alpha by a white background."""
    if image.mode not in ("RGBA", "LA"):
        return image
    mode = image.mode.removesuffix("A")
    flat = Image.new(mode, image.size, "white")
    flat.paste(image.convert(mode), mask=image.getchannel("A"))
    return flat


def _keep_alpha(change: Callable[[Image.Image], Image.Image]) -> Callable[[Image.Image], Image.Image]:
    """Applies the change to grey or RGB and leaves alpha unchanged."""

    def apply(image: Image.Image) -> Image.Image:
        if image.mode == "CMYK":
            return change(image.convert("RGB"))
        if image.mode not in ("RGBA", "LA"):
            return change(image)
        colors = change(image.convert(image.mode.removesuffix("A")))
        colors.putalpha(image.getchannel("A"))
        return colors

    return apply


_FILTERS: dict[request_options.ImageFilter, Callable[[Image.Image], Image.Image]] = {
    request_options.ImageFilter.GRAYSCALE: _keep_alpha(ImageOps.grayscale),
    request_options.ImageFilter.SHARPEN: _keep_alpha(lambda image: image.filter(ImageFilter.SHARPEN)),
    request_options.ImageFilter.BLUR: _keep_alpha(lambda image: image.filter(ImageFilter.BLUR)),
    request_options.ImageFilter.AUTOCONTRAST: _keep_alpha(ImageOps.autocontrast),
}
