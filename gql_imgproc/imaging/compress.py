"""Compresses an image: bytes in, bytes out. The result is never larger, and compressing it again changes nothing.

By default format, dimensions, frames, transparency, colour profile and orientation stay. If an image cannot be made
smaller faithfully, by at least `min_saving_percent` of `ImageLimits` and of its format, its own bytes are returned,
without metadata that is not asked for.
Invalid bytes raise an `ImageError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError
from gql_imgproc.imaging import floor_mark, similarity_score, transform
from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.convert import convert_image
from gql_imgproc.imaging.formats import FORMATS, Format
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.imaging.probe import Header, inspect, open_image
from gql_imgproc.imaging.quality_search import Attempt, find_lowest_quality

__all__ = ["Compressed", "Header", "ImageLimits", "compress", "inspect"]


@dataclass(frozen=True, slots=True)
class Compressed:
    """An image to store; `width` and `height` as displayed."""

    data: bytes
    media_type: str
    extension: str
    width: int
    height: int
    outcome: ImageOutcome
    #: To the source as displayed, with its options applied: 0 to 100, which is identical. None if it is not known.
    similarity: float | None
    #: What the user should know about the result.
    warning: str | None = None


#: A result with this many times the bytes of its source is reported.
_MANY_TIMES = 4


def compress(data: bytes, options: Options, limits: ImageLimits) -> Compressed:
    """Raises ImageError if the image is refused or damaged, or if the options cannot be applied to it."""
    source = open_image(data, limits)
    target = source.format if options.format is OutputFormat.ORIGINAL else FORMATS[options.format.value]
    plan = transform.make_plan(options, source.structure.displayed_size)
    if options.min_similarity is not None and target.quality_matters:
        result, outcome, similarity = _compress_to_floor(source, target, plan, options, limits)
    elif plan.changes_pixels or target is not source.format:
        result, drawn = convert_image(source, target, plan, options)
        outcome, similarity = ImageOutcome.COMPRESSED, _score(source, drawn, result, target, options)
    elif smaller := _recompress(source, options, limits):
        result, outcome = smaller, ImageOutcome.COMPRESSED
        similarity = 100.0 if not target.quality_matters else _score(source, source.image, result, target, options)
    else:
        (result, outcome), similarity = _shed(source, options), 100.0
    warning = _find_warning(source, target, result, outcome)
    return Compressed(result, target.media_type, target.extension, *plan.target, outcome, similarity, warning)


def _compress_to_floor(
    source: OpenedImage, target: Format, plan: transform.Plan, options: Options, limits: ImageLimits
) -> tuple[bytes, ImageOutcome, float | None]:
    """The file of the lowest quality from that of the options on whose decoded pixels are similar enough."""
    floor = options.min_similarity or 0
    is_new = plan.changes_pixels or target is not source.format
    made_for = None if is_new else floor_mark.read(source.data, target.name)
    if made_for is not None and made_for <= floor:
        return *_shed(source, options), 100.0

    def encode(quality: int) -> Attempt:
        wanted = replace(options, quality=quality)
        # A second pass recognizes the quality of the options itself, but no other.
        mark = partial(floor_mark.write, format_name=target.name, floor=floor) if quality != options.quality else None
        if is_new:
            new, drawn = convert_image(source, target, plan, wanted)
            return Attempt(mark(new) if mark else new, _measure(drawn, new, target))
        data = _recompress(source, wanted, limits, mark)
        return Attempt(data, 100.0 if data is None else _measure(source.image, data, target))

    found = find_lowest_quality(encode, options.quality, floor)
    if found.data is None or not (is_new or (found.similarity or 0.0) >= floor):
        return *_shed(source, options), 100.0
    return found.data, ImageOutcome.COMPRESSED, found.similarity


def _measure(drawn: Image.Image, data: bytes, target: Format) -> float | None:
    try:
        return similarity_score.measure(drawn, data, target)
    except (ImageError, MemoryError):
        return None


def _score(source: OpenedImage, drawn: Image.Image, result: bytes, target: Format, options: Options) -> float | None:
    try:
        if source.structure.lossless:
            return similarity_score.measure(drawn, result, target)
        return similarity_score.estimate(drawn, result, target, options)
    except (ImageError, MemoryError):
        # An image does not fail because its score is not known.
        return None


def _find_warning(source: OpenedImage, target: Format, result: bytes, outcome: ImageOutcome) -> str | None:
    if source.structure.has_gain_map:
        if outcome is ImageOutcome.KEPT:
            return "The image has an HDR gain map, which compressing would lose, so its bytes are kept."
        return "The HDR gain map of the image is lost, because the options change its pixels or its format."
    if source.structure.video_colors and not target.video_colors:
        return (
            f"The image is HDR or has a wide gamut without an ICC profile, which {target.label} does not store, so its "
            "colours look different. Choose AVIF or PNG to keep them."
        )
    if len(result) >= _MANY_TIMES * len(source.data):
        times = len(result) / len(source.data)
        return f"The result is {times:,.0f} times as large as the source. Choose another format."
    return None


def _recompress(
    source: OpenedImage, options: Options, limits: ImageLimits, mark: Callable[[bytes], bytes] | None = None
) -> bytes | None:
    """The first file that saves enough to justify another lossy pass."""
    size = len(source.data)
    min_saving_percent = max(limits.min_saving_percent, source.format.min_saving_percent)
    max_bytes = min(size - 1, size * (1 - min_saving_percent / 100))
    candidates = CODECS[source.format.name].recompress(source, options)
    try:
        return next((data for data in (map(mark, candidates) if mark else candidates) if len(data) <= max_bytes), None)
    except ImageError:
        raise
    except Exception:
        # The pixels were decoded, so the source is a valid image. It is kept when an encoder fails.
        return None


def _shed(source: OpenedImage, options: Options) -> tuple[bytes, ImageOutcome]:
    """The source without metadata and without bytes behind its end, or unchanged if that is not smaller.

    An AVIF keeps its size when it loses a broken profile.
    """
    try:
        data = CODECS[source.format.name].shed(source, options)
    except (ImageError, IndexError, ValueError, struct.error):
        data = source.data
    is_repaired = source.format.name == "AVIF" and data != source.data
    if is_repaired or len(data) < len(source.data):
        return data, ImageOutcome.COMPRESSED
    return source.data, ImageOutcome.KEPT
