"""A new file of pixels that the options change: another size, look or format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging import color_profiles, encode, jpeg_segments, png_chunks, transform
from gql_imgproc.imaging.errors import corrupt_image, decode_errors, too_large
from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.metadata import Extras, extras_of
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import ImageFilter, Options
from gql_imgproc.imaging.probe import load
from gql_imgproc.imaging.transform import Plan

#: Bytes of a run-length coded BMP: Pillow expands it in Python, 0.2 s a megabyte.
_MAX_RUN_LENGTHS_BYTES = 4_000_000
#: What Pillow knows of a picture and its encoders may use: the rest is the source's, above all a loop or comment.
_KNOWN = ("transparency", "background", "gamma", "chromaticity", "srgb")


def convert_image(source: OpenedImage, target: Format, plan: Plan, options: Options) -> bytes:
    image, anatomy = source.image, source.anatomy
    if not anatomy.cheap and len(source.data) > _MAX_RUN_LENGTHS_BYTES:
        raise too_large(f"A run-length coded BMP of more than {_MAX_RUN_LENGTHS_BYTES / 1e6:g} MB cannot be changed.")
    # Pillow shows a TIFF already turned.
    orientation = 1 if source.form.name == "TIFF" else anatomy.orientation
    lossless = anatomy.lossless and target is source.form and source.form.name == "WEBP"
    # Pages are no animation: of those another format gets the first one.
    if anatomy.frames > 1 and (target is source.form or (target.animated and source.form.animated)):
        animation, extras = _animation(source, target, plan, options, orientation)
        with _encoding():
            return encode.encode_animation(animation, target, options.quality, extras, lossless=lossless)
    transform.draft_size(image, plan, orientation)
    load(image)
    # A scaled picture is a new one: the source's quantisation says nothing about it.
    jpeg_source = image if isinstance(image, JpegImageFile) and not plan.scaled else None
    extras = _extras(source, target, options)
    with _encoding():
        made, extras = _seen(image, target, plan, orientation, extras)
        return encode.encode(made, target, options.quality, extras, lossless=lossless, source=jpeg_source)


def _extras(source: OpenedImage, target: Format, options: Options) -> Extras:
    extras = extras_of(source.image, 1, options.keep_metadata, remade=True)
    if options.keep_metadata and source.form is target and source.form.name == "JPEG":
        return replace(extras, segments=jpeg_segments.metadata(source.data, remade=True))
    if source.form is target and source.form.name == "PNG":
        return replace(extras, chunks=png_chunks.coded(png_chunks.read(source.data)))
    return extras


def _seen(
    image: Image.Image, target: Format, plan: Plan, orientation: int, extras: Extras
) -> tuple[Image.Image, Extras]:
    """The picture as planned, in colours that mean the same in the target, with a profile that is about them."""
    made = transform.apply_geometry(image, plan, orientation, deep=target.deep and not plan.filters)
    inks_go = made.mode == "CMYK" and (plan.filters or not target.inks)
    # Grey of other primaries and curves than a screen's would be grey of none.
    colours_go = color_profiles.describe_profile(extras.icc) == "RGB" and ImageFilter.GRAYSCALE in plan.filters
    if (inks_go or colours_go) and (shown := color_profiles.convert_with_profile(made, extras.icc)):
        made, extras = shown, replace(extras, icc=b"")
    gamma = image.info.get("gamma")
    if target.name != "PNG" and isinstance(gamma, float) and not extras.icc and "srgb" not in image.info:
        made = color_profiles.convert_with_gamma(made, gamma)
    made = transform.apply_filters(made, plan)
    if made is image:
        made = image.copy()
    made.info = {name: made.info[name] for name in _KNOWN if name in made.info}
    return made, extras


def _animation(
    source: OpenedImage, target: Format, plan: Plan, options: Options, orientation: int
) -> tuple[encode.Animation, Extras]:
    image, told = source.image, source.anatomy.durations_ms
    beside = extras = _extras(source, target, options)
    # An APNG may begin with a picture that is for readers without animation, and is not part of it.
    first = 1 if image.info.get("default_image") else 0
    frames: list[Image.Image] = []
    durations: list[int] = []
    with decode_errors():
        several = cast(int, getattr(image, "n_frames", 1))
        for number in range(first, min(several, source.anatomy.frames + first)):
            image.seek(number)
            image.load()
            durations.append(told[number] if told else round(image.info.get("duration", 0)))
            frame = image.convert("RGBA") if source.form.animated else image.copy()
            # Pages have sizes of their own.
            own = plan if frame.size == plan.size or source.form.animated else transform.plan(options, frame.size)
            made, extras = _seen(frame, target, own, orientation, beside)
            frames.append(made)
    if all(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] == 255 for frame in frames):
        frames = [frame.convert("RGB") for frame in frames]
    if not frames:
        raise corrupt_image()
    return encode.Animation(frames, durations, source.anatomy.plays), extras


@contextmanager
def _encoding() -> Iterator[None]:
    """An encoder that gives up on sound pixels is our fault, not the picture's."""
    try:
        yield
    except ImageError:
        raise
    except Exception as exc:
        raise ImageError(ImageErrorCode.INTERNAL, "The picture could not be stored as these options ask for.") from exc
