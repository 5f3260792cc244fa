"""A new file of pixels that the options change: another size, look or format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture import encode, transform
from gql_imgproc.core.picture.failures import corrupt, decoding
from gql_imgproc.core.picture.formats import Format
from gql_imgproc.core.picture.inspect import load
from gql_imgproc.core.picture.saving import extras_of
from gql_imgproc.core.picture.source import Source
from gql_imgproc.core.picture.transform import Plan
from gql_imgproc.errors import ImageErrorCode, ImageFailure


def remade(source: Source, target: Format, plan: Plan, options: Options) -> bytes:
    image, anatomy = source.image, source.anatomy
    # Pillow shows a TIFF already turned.
    orientation = 1 if source.form.name == "TIFF" else anatomy.orientation
    several = anatomy.frames > 1 and (target.animated or target is source.form)
    lossless = anatomy.lossless and target is source.form and source.form.name == "WEBP"
    if several:
        animation = _animation(source, plan, orientation)
        extras = extras_of(image, 1, options.keep_metadata)
        with _encoding():
            return encode.encode_animation(animation, target, options.quality, extras, lossless=lossless)
    transform.draft(image, plan, orientation)
    load(image)
    # A scaled picture is a new one: the source's quantisation says nothing about it.
    jpeg_source = image if isinstance(image, JpegImageFile) and not plan.scaled else None
    extras = extras_of(image, 1, options.keep_metadata)
    with _encoding():
        made = transform.apply(image, plan, orientation)
        return encode.encode(made, target, options.quality, extras, lossless=lossless, source=jpeg_source)


def _animation(source: Source, plan: Plan, orientation: int) -> encode.Animation:
    image, told = source.image, source.anatomy.durations_ms
    # An APNG may begin with a picture that is for readers without animation, and is not part of it.
    first = 1 if image.info.get("default_image") else 0
    frames: list[Image.Image] = []
    durations: list[int] = []
    with decoding():
        several = cast(int, getattr(image, "n_frames", 1))
        for number in range(first, min(several, source.anatomy.frames + first)):
            image.seek(number)
            image.load()
            durations.append(told[number] if told else round(image.info.get("duration", 0)))
            frame = image.convert("RGBA") if source.form.animated else image.copy()
            frames.append(transform.apply(frame, plan, orientation))
    if all(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] == 255 for frame in frames):
        frames = [frame.convert("RGB") for frame in frames]
    if not frames:
        raise corrupt()
    return encode.Animation(frames, durations, source.anatomy.plays)


@contextmanager
def _encoding() -> Iterator[None]:
    """An encoder that gives up on sound pixels is our fault, not the picture's."""
    try:
        yield
    except ImageFailure:
        raise
    except Exception as exc:
        raise ImageFailure(
            ImageErrorCode.INTERNAL, "The picture could not be stored as these options ask for."
        ) from exc
