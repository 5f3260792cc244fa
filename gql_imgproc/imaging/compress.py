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
from functools import cache, partial

from PIL import Image

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError
from gql_imgproc.imaging import floor_mark, similarity_score, transform
from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.convert import convert_image, plan_changes
from gql_imgproc.imaging.formats import FORMATS, Format
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.imaging.primaries_profile import make_profile_of_video
from gql_imgproc.imaging.probe import Header, inspect, open_image
from gql_imgproc.imaging.quality_search import Attempt, find_highest_quality, find_lowest_quality

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
    #: Whether the options changed more than the format.
    has_new_pixels: bool = False


#: A result with this many times the bytes of its source is reported.
_MANY_TIMES = 4


def compress(data: bytes, options: Options, limits: ImageLimits) -> Compressed:
    """Raises ImageError if the image is refused or damaged, or if the options cannot be applied to it."""
    return compress_opened(open_image(data, limits), options, limits)


def compress_opened(source: OpenedImage, options: Options, limits: ImageLimits) -> Compressed:
    """As `compress`. It decodes the pixels of `source`, which may be used again as `outputs` does."""
    target = source.format if options.format is OutputFormat.ORIGINAL else FORMATS[options.format.value]
    plan = plan_changes(source, options, limits)
    encoding = _Encoding(source, target, plan, options, limits)
    found = _choose_quality(encoding)
    warning = _find_warning(encoding, found.data)
    facts = target.media_type, target.extension, *plan.target, found.outcome, found.similarity, warning
    return Compressed(found.data, *facts, has_new_pixels=plan.changes_pixels)


@dataclass(frozen=True, slots=True)
class _Encoding:
    """Encodes one image at any quality."""

    source: OpenedImage
    target: Format
    plan: transform.Plan
    options: Options
    limits: ImageLimits

    @property
    def is_new(self) -> bool:
        """Whether the source cannot be kept."""
        return self.plan.changes_pixels or self.target is not self.source.format

    def encode(self, quality: int) -> Attempt:
        source, target, floor = self.source, self.target, self.options.min_similarity
        options = self.options if quality == self.options.quality else replace(self.options, quality=quality)
        mark = None
        # A second pass recognizes the quality of the options itself, but no other.
        if floor is not None and target.quality_matters and quality != self.options.quality:
            mark = partial(floor_mark.write, format_name=target.name, floor=floor)
        if self.is_new:
            new, drawn = convert_image(source, target, self.plan, options, self.limits)
            data: bytes | None = mark(new) if mark else new
        else:
            data, drawn = _recompress(source, options, self.limits, mark), source.image
        if data is None:
            return self.keep(quality)
        if not (self.is_new or target.quality_matters):
            return Attempt(data, 100.0, quality=quality)
        score = _measure if floor is not None and target.quality_matters else _score
        return Attempt(data, score(source, drawn, data, target, options), quality=quality)

    def keep(self, quality: int = 0) -> Attempt:
        data, outcome = _shed(self.source, self.options)
        return Attempt(data, 100.0, outcome, quality)


def _choose_quality(encoding: _Encoding) -> Attempt:
    """The quality of the options, or the one that `min_similarity` and `max_bytes` require. The former has priority."""
    options, target, source = encoding.options, encoding.target, encoding.source
    floor, encode = options.min_similarity, cache(encoding.encode)
    if not target.quality_matters:
        return encode(options.quality)
    if floor is not None:
        made_for = None if encoding.is_new else floor_mark.read(source.data, target.name)
        if made_for is not None and made_for <= floor:
            return encoding.keep()
        found = find_lowest_quality(encode, options.quality, floor)
        if not (encoding.is_new or (found.similarity or 0.0) >= floor):
            return encoding.keep()
    else:
        found = encode(options.quality)
    is_lowest = found.quality != options.quality
    if options.max_bytes is None or len(found.data) <= options.max_bytes or is_lowest:
        return found
    lowest = min(options.quality, target.lowest_quality)
    return find_highest_quality(encode, lowest, options.quality, options.max_bytes, floor or 0.0)


def _measure(source: OpenedImage, drawn: Image.Image, data: bytes, target: Format, options: Options) -> float | None:
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


def _find_warning(encoding: _Encoding, result: bytes) -> str | None:
    source, target, options = encoding.source, encoding.target, encoding.options
    if options.max_bytes is not None and len(result) > options.max_bytes:
        return (
            f"The result has {len(result):,} bytes, more than the {options.max_bytes:,} of `maxBytes`, and no lower "
            "quality would be small enough. Reduce the size of the image in pixels, or choose WEBP or AVIF."
        )
    if source.structure.has_gain_map:
        if not encoding.is_new:
            return "The image has an HDR gain map, which compressing would lose, so it is not compressed."
        return "The HDR gain map of the image is lost, because the options change its pixels or its format."
    video_colors = source.structure.video_colors
    if video_colors and not target.video_colors and not make_profile_of_video(video_colors):
        return (
            f"The image is HDR or has unusual colours without an ICC profile, which {target.label} does not store, so "
            "its colours look different. Choose AVIF or PNG to keep them."
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

    An AVIF, a TIFF and a JPEG with a gain map keep their size when they lose their location, as does an AVIF that loses
    a broken profile.
    """
    try:
        data = CODECS[source.format.name].shed(source, options)
    except (ImageError, IndexError, ValueError, struct.error):
        data = source.data
    keeps_size = source.format.name in ("AVIF", "TIFF") or source.structure.has_gain_map
    is_repaired = keeps_size and data != source.data
    if is_repaired or len(data) < len(source.data):
        return data, ImageOutcome.COMPRESSED
    return source.data, ImageOutcome.KEPT
