"""Creates a new file when the options change the size, the appearance or the format of an image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging import color_profiles, transform, trim
from gql_imgproc.imaging.codecs import CODECS, jpeg_segments, png_chunks
from gql_imgproc.imaging.encode import EncodeSettings
from gql_imgproc.imaging.errors import corrupt_image, decode_errors, too_large, unsupported
from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.metadata import Extras, collect_extras
from gql_imgproc.imaging.opened_image import OpenedImage, load
from gql_imgproc.imaging.options import ImageFilter, Options
from gql_imgproc.imaging.primaries_profile import make_profile, make_profile_of_video
from gql_imgproc.imaging.transform import Plan

#: Bytes of the largest run-length encoded BMP that is decoded. It is expanded in Python, in 0.2 s per megabyte.
_MAX_RUN_LENGTHS_BYTES = 4_000_000
#: Entries of Pillow's `info` that encoders may use. The others, such as loop and comment, belong to the source.
_COLOR_INFO = ("gamma", "chromaticity", "srgb")
_ENCODER_INFO = ("transparency", "background", *_COLOR_INFO)


def plan_changes(source: OpenedImage, options: Options, limits: ImageLimits) -> Plan:
    """The plan of an image; decodes it if it is trimmed. Raises ImageError if the options cannot be applied to it."""
    structure = source.structure
    content = None
    if options.trim:
        # Refuses a crop outside the image.
        transform.make_plan(options, structure.displayed_size)
        with decode_errors():
            # Each page of a TIFF is trimmed on its own.
            is_animation = structure.frames > 1 and source.format.animated
            frames = (frame for frame, _ in _read_frames(source)) if is_animation else iter([_decode_still(source)])
            content = trim.find_content(frames, _stored_orientation(source), options.crop)
            if is_animation:
                source.image.seek(0)
    plan = transform.make_plan(
        options, structure.displayed_size, content=content, has_alpha=source.image.has_transparency_data
    )
    return _check_canvas(plan, structure.frames, limits)


def _check_canvas(plan: Plan, frames: int, limits: ImageLimits) -> Plan:
    pixels = math.prod(plan.target)
    if plan.is_padded and (pixels > limits.max_pixels or pixels * frames > limits.max_total_pixels):
        raise ImageError(
            ImageErrorCode.OPTIONS_IMPOSSIBLE,
            f"The padded image would have {plan.target[0]:,} x {plan.target[1]:,} pixels, which is too large. "
            "Choose another ratio or size, or scale it down.",
        )
    return plan


def _stored_orientation(source: OpenedImage) -> int:
    return 1 if source.format.oriented_by_pillow else source.structure.orientation


def _decode_still(source: OpenedImage) -> Image.Image:
    load(source.image)
    still = next(CODECS[source.format.name].read_frames(source) or iter([source.image]))
    still.info = source.image.info
    return still


def convert_image(
    source: OpenedImage, target: Format, plan: Plan, options: Options, limits: ImageLimits
) -> tuple[bytes, Image.Image]:
    """The new file, and the pixels that were encoded, of an animation those of its first frame."""
    image, structure = source.image, source.structure
    if structure.run_length_encoded and len(source.data) > _MAX_RUN_LENGTHS_BYTES:
        raise too_large(f"A run-length encoded BMP of more than {_MAX_RUN_LENGTHS_BYTES / 1e6:g} MB cannot be changed.")
    if not structure.samples_are_understood:
        raise unsupported(
            "The TIFF has signed samples of 8 bits, or 16-bit samples with white as 0. It can be kept, but not changed."
        )
    orientation = _stored_orientation(source)
    # The pages of a TIFF are not an animation: another format gets the first one.
    if structure.frames > 1 and (target is source.format or (target.animated and source.format.animated)):
        return _convert_frames(source, target, plan, options, limits)
    transform.draft_size(image, plan, orientation)
    with decode_errors():
        still = _decode_still(source)
    settings = _make_settings(source, target, options)
    if isinstance(image, JpegImageFile) and not plan.is_scaled:
        # The quantization tables of the source apply to pixels at its own scale only.
        settings = replace(settings, jpeg_source=image)
    with _encode_errors():
        changed, extras = _change_pixels(still, target, plan, orientation, settings.extras)
        return _encode_still(changed, target, replace(settings, extras=extras))


def _make_settings(source: OpenedImage, target: Format, options: Options) -> EncodeSettings:
    structure = source.structure
    extras = collect_extras(source.image, 1, metadata=options.metadata, has_new_pixels=True)
    if source.format is target and source.format.name == "JPEG":
        extras = replace(extras, segments=jpeg_segments.metadata(source.data, options.metadata, has_new_pixels=True))
    if not extras.icc and structure.video_colors and not target.video_colors:
        extras = replace(extras, icc=make_profile_of_video(structure.video_colors))
    elif target.name != "PNG" and not extras.icc and not structure.video_colors:
        extras = replace(extras, icc=_profile_of_primaries(source.image))
    if source.format is target and source.format.name == "PNG":
        extras = replace(extras, chunks=png_chunks.video_color_chunks(png_chunks.read(source.data)))
    elif structure.video_colors and target.name == "PNG":
        extras = replace(extras, chunks=((b"cICP", bytes((*structure.video_colors, 0, 1))),))
    lossless = structure.lossless and target is source.format and target.name == "WEBP"
    return EncodeSettings(
        options.quality,
        extras,
        effort=options.effort,
        lossless=lossless,
        play_count=structure.play_count,
        video_colors=structure.video_colors,
    )


def _profile_of_primaries(image: Image.Image) -> bytes:
    """A profile for a PNG with other primaries than those of sRGB, which browsers apply together with its gamma."""
    gamma, chromaticities = image.info.get("gamma"), image.info.get("chromaticity")
    is_grey = image.mode in ("1", "L", "LA", "I;16")
    if is_grey or "srgb" in image.info or not isinstance(gamma, float) or not isinstance(chromaticities, tuple):
        return b""
    return make_profile(chromaticities, gamma)


def _change_pixels(
    image: Image.Image, target: Format, plan: Plan, orientation: int, extras: Extras
) -> tuple[Image.Image, Extras]:
    """Applies the plan and converts to colours that the target can hold. A profile that no longer fits is dropped."""
    keep_high_bit_depth = target.high_bit_depth and not plan.filters
    changed = transform.apply_geometry(image, plan, orientation, keep_high_bit_depth=keep_high_bit_depth)
    drops_cmyk = changed.mode == "CMYK" and (plan.filters or not target.color_modes)
    # Grey needs sRGB first: an RGB profile cannot describe grey.
    drops_profile = color_profiles.describe_profile(extras.icc) == "RGB" and ImageFilter.GRAYSCALE in plan.filters
    if (drops_cmyk or drops_profile) and (converted := color_profiles.convert_with_profile(changed, extras.icc)):
        changed, extras = converted, replace(extras, icc=b"")
    loses_grey = color_profiles.describe_profile(extras.icc) == "L" and changed.mode not in target.grey_modes
    if loses_grey and (converted := color_profiles.convert_grey(changed, extras.icc)):
        changed, extras = converted, replace(extras, icc=b"")
    gamma = image.info.get("gamma")
    if target.name != "PNG" and isinstance(gamma, float) and not extras.icc and "srgb" not in image.info:
        changed = color_profiles.convert_with_gamma(changed, gamma)
    changed = transform.apply_filters(changed, plan)
    if changed is image:
        changed = image.copy()
    changed.info = {name: changed.info[name] for name in _ENCODER_INFO if name in changed.info}
    return changed, extras


def _convert_frames(
    source: OpenedImage, target: Format, plan: Plan, options: Options, limits: ImageLimits
) -> tuple[bytes, Image.Image]:
    structure, is_animation, orientation = source.structure, source.format.animated, _stored_orientation(source)
    settings = _make_settings(source, target, options)
    extras = settings.extras
    frames: list[Image.Image] = []
    durations_ms: list[int] = []
    with decode_errors():
        for frame, duration_ms in _read_frames(source):
            # The pages of a TIFF may differ in size.
            frame_plan = plan
            if not is_animation and (options.trim or frame.size != plan.size):
                frame_plan = _check_canvas(_plan_page(frame, options, orientation), structure.frames, limits)
            changed, extras = _change_pixels(frame, target, frame_plan, orientation, settings.extras)
            frames.append(changed)
            durations_ms.append(duration_ms)
    if all(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] == 255 for frame in frames):
        frames = [frame.convert("RGB") for frame in frames]
    if not frames:
        raise corrupt_image()
    with _encode_errors():
        settings = replace(settings, extras=extras, durations_ms=tuple(durations_ms))
        return _encode(frames, target, settings), frames[0]


def _plan_page(page: Image.Image, options: Options, orientation: int) -> Plan:
    content = None
    if options.trim:
        transform.make_plan(options, page.size)
        content = trim.find_content([page], orientation, options.crop)
    return transform.make_plan(options, page.size, content=content, has_alpha=page.has_transparency_data)


def _read_frames(source: OpenedImage) -> Iterator[tuple[Image.Image, int]]:
    """Each frame with its duration in milliseconds, or each page of a TIFF."""
    image, structure = source.image, source.structure
    if frames := CODECS[source.format.name].read_frames(source):
        for frame, duration_ms in zip(frames, structure.durations_ms, strict=True):
            frame.info = {name: image.info[name] for name in _COLOR_INFO if name in image.info}
            yield frame, duration_ms
        return
    for number in range(min(cast(int, getattr(image, "n_frames", 1)), structure.frames)):
        image.seek(number)
        image.load()
        duration_ms = structure.durations_ms[number] if structure.durations_ms else image.info.get("duration", 0)
        yield image.convert("RGBA") if source.format.animated else image.copy(), round(duration_ms)


def _encode_still(image: Image.Image, target: Format, settings: EncodeSettings) -> tuple[bytes, Image.Image]:
    if max(image.size) > target.max_side:
        raise too_large(
            f"The image of {image.width:,} x {image.height:,} pixels is too large for {target.label}, "
            f"which allows at most {target.max_side:,} pixels per side."
        )
    if not target.alpha:
        image = transform.flatten_on_white(image)
    if image.mode == "CMYK" and not target.color_modes:
        image = image.convert("RGB")
    return _encode([image], target, settings), image


def _encode(images: Sequence[Image.Image], target: Format, settings: EncodeSettings) -> bytes:
    """A profile that describes other colours than those of the images is dropped."""
    icc = color_profiles.usable_profile(settings.extras.icc, images[0].mode)
    settings = replace(settings, extras=replace(settings.extras, icc=icc))
    return CODECS[target.name].encode(images, settings)


@contextmanager
def _encode_errors() -> Iterator[None]:
    """An encoder that fails on decoded pixels is an internal error, not an error of the image."""
    try:
        yield
    except ImageError:
        raise
    except Exception as exc:
        raise ImageError(
            ImageErrorCode.INTERNAL, "Internal error: the image could not be encoded with these options."
        ) from exc
