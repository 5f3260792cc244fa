"""Picture bytes in, smaller picture bytes out: never larger, never worse twice, within limits.

By default format, dimensions, frames, transparency, colour profile and orientation stay. What cannot be made
smaller faithfully, by at least `ImageLimits.min_saving_percent`, is answered with its own bytes. Whatever is
wrong with the bytes raises an `ImageFailure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from PIL import Image, ImageFile, TiffImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.core import encode, jpeg, png, transform, webp
from gql_imgproc.core.containers import Anatomy
from gql_imgproc.core.containers import webp as webp_anatomy
from gql_imgproc.core.failures import corrupt, decoding
from gql_imgproc.core.formats import FORMATS, Format
from gql_imgproc.core.inspect import Header, ImageLimits, displayed_size, examine, inspect, load, open_picture
from gql_imgproc.core.options import Options, OutputFormat
from gql_imgproc.core.saving import extras_of, save
from gql_imgproc.core.transform import Plan
from gql_imgproc.errors import ImageErrorCode, ImageFailure
from gql_imgproc.states import ImageOutcome

__all__ = ["Compressed", "Header", "ImageLimits", "compress", "inspect"]


@dataclass(frozen=True, slots=True)
class Compressed:
    """A picture to be stored; `width` and `height` as displayed."""

    data: bytes
    media_type: str
    extension: str
    width: int
    height: int
    outcome: ImageOutcome


@dataclass(frozen=True, slots=True)
class _Source:
    data: bytes
    form: Format
    anatomy: Anatomy
    image: ImageFile.ImageFile


def compress(data: bytes, options: Options, limits: ImageLimits) -> Compressed:
    form, anatomy = examine(data, limits)
    size = displayed_size(form, anatomy)
    target = form if options.format is OutputFormat.ORIGINAL else FORMATS[options.format.value]
    plan = transform.plan(options, size)
    source = _Source(data, form, anatomy, open_picture(data, form, anatomy))
    if plan.changes_pixels or target is not form:
        return Compressed(
            _remade(source, target, plan, options),
            target.media_type,
            target.extension,
            *plan.target,
            ImageOutcome.COMPRESSED,
        )
    enough = len(data) * (1 - limits.min_saving_percent / 100)
    best, outcome = data, ImageOutcome.KEPT
    try:
        for smaller in _smaller(source, options):
            if len(smaller) <= enough and len(smaller) < len(data):
                best, outcome = smaller, ImageOutcome.COMPRESSED
                break
    except ImageFailure:
        raise
    except Exception:
        # The pixels were read; an encoder that gives up on them leaves the source, which is a good picture.
        pass
    return Compressed(best, form.media_type, form.extension, *size, outcome)


def _smaller(source: _Source, options: Options) -> Iterable[bytes]:
    """Files of the same picture that may be smaller, the preferred one first; none when it is to be kept."""
    match source.form.name:
        case "JPEG":
            return _smaller_jpeg(source, options)
        case "PNG":
            load(source.image)
            return png.compress(
                source.data, source.image, options.quality, source.anatomy.orientation, options.keep_metadata
            )
        case "WEBP":
            return _smaller_webp(source, options)
        case "AVIF":
            return _smaller_avif(source, options)
        case "TIFF":
            return _smaller_tiff(source, options)
        case "BMP":
            return _smaller_bmp(source)
    # A GIF is lossless and has little to gain; its first frame is read lest a broken one is handed on.
    load(source.image)
    return ()


def _smaller_jpeg(source: _Source, options: Options) -> Iterable[bytes]:
    image = cast(JpegImageFile, source.image)
    if jpeg.at_most(image, options.quality) and b"\xff\xd9" in source.data[-65_536:]:
        return
    load(image)
    if jpeg.at_most(image, options.quality):
        return
    extras = extras_of(image, source.anatomy.orientation, options.keep_metadata)
    yield jpeg.encode(image, options.quality, extras, source=image)


def _smaller_webp(source: _Source, options: Options) -> Iterable[bytes]:
    image, anatomy = source.image, source.anatomy
    load(image)
    if anatomy.lossless or webp.at_most(anatomy.streams, options.quality):
        return
    extras = extras_of(image, anatomy.orientation, options.keep_metadata)
    if not anatomy.durations_ms:
        yield webp.encode(image, options.quality, extras)
        return
    with decoding():
        durations = list(anatomy.durations_ms)
        made = webp.encode_animation([image], durations, anatomy.plays, options.quality, extras)
    # The encoder joins frames that look alike; then the source is the more faithful one.
    again = webp_anatomy(made, anatomy.frames)
    if again.durations_ms == anatomy.durations_ms and again.plays == anatomy.plays:
        yield made


def _smaller_avif(source: _Source, options: Options) -> Iterable[bytes]:
    """Not more than 8 bits, not HDR, not an animation: Pillow would lose depth, transfer or repeats."""
    load(source.image)
    if source.anatomy.frames > 1 or _avif_needs_more(source.data):
        return
    extras = extras_of(source.image, source.anatomy.orientation, options.keep_metadata)
    yield encode.avif(source.image, options.quality, extras)


def _avif_needs_more(data: bytes) -> bool:
    config = data.find(b"av1C")
    if config < 0 or data[config + 6 : config + 7] == b"" or data[config + 6] & 0x60:
        return True
    colour = data.find(b"colrnclx")
    # Primaries and transfer of BT.709, sRGB or not told are what Pillow writes.
    known = colour < 0 or (data[colour + 9] in (1, 2) and data[colour + 11] in (1, 2, 13))
    return not known or b"tmap" in data[:4096] or b"clap" in data[:4096]


def _smaller_tiff(source: _Source, options: Options) -> Iterable[bytes]:
    """One upright page of at most 8 bits a sample without compression, deflated; anything else is kept."""
    image = cast(TiffImagePlugin.TiffImageFile, source.image)
    compression, bits = image.info.get("compression"), image.tag_v2.get(258, (1,))
    load(image)
    plain = image.mode in ("1", "L", "RGB", "RGBA", "CMYK") and all(n in (1, 8) for n in bits)
    if options.keep_metadata or source.anatomy.frames > 1 or source.anatomy.orientation != 1 or not plain:
        return
    if compression not in ("raw", "packbits", "tiff_lzw"):
        return
    extras = extras_of(image, 1, False)
    made = save(image, "TIFF", compression="tiff_adobe_deflate", icc_profile=extras.icc or None, **_dpi(extras.dpi))
    if _same_pixels(made, image):
        yield made


def _smaller_bmp(source: _Source) -> Iterable[bytes]:
    """At most 256 colours, of which a byte a pixel tells exactly; run lengths are kept unread."""
    if not source.anatomy.cheap:
        return
    load(source.image)
    if source.image.mode != "RGB" or source.image.getcolors(256) is None:
        return
    reduced = source.image.quantize(256, Image.Quantize.MEDIANCUT)
    made = save(reduced, "BMP", **_dpi(source.image.info.get("dpi")))
    if _same_pixels(made, source.image):
        yield made


def _dpi(dpi: tuple[float, float] | None) -> dict[str, tuple[float, float]]:
    return {"dpi": dpi} if dpi else {}


def _same_pixels(made: bytes, image: Image.Image) -> bool:
    with Image.open(BytesIO(made)) as again:
        return again.size == image.size and again.convert(image.mode).tobytes() == image.tobytes()


def _remade(source: _Source, target: Format, plan: Plan, options: Options) -> bytes:
    """A new file of pixels that the options change."""
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


def _animation(source: _Source, plan: Plan, orientation: int) -> encode.Animation:
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
