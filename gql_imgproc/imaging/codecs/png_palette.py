"""Reduces an image to a palette of 256 colours with dithering, within a similarity threshold.

libvips gets pixels and returns a PNG; it never decodes a file. Its quantizer is a fork of libimagequant under the BSD
licence.
"""

from __future__ import annotations

import logging
from functools import cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging.codecs.png_chunks import Chunk, read
from gql_imgproc.imaging.limits import require_memory
from gql_imgproc.imaging.options import Effort
from gql_imgproc.imaging.similarity import SimilarityThreshold, is_similar, strips

#: On libimagequant's own scale, at quality 50; it grows to 100. The part of an error that is spread to other pixels.
#: At 80 it merges the colours of small objects. At a dithering of 1.0, one photograph in six gets twice as large.
_TARGET_QUALITY, _DITHERING = 92, 0.4
#: Pixels up to which an effort of libvips is used. Effort 6 takes 0.2 to 1.2 s per megapixel, effort 3 a third of that.
#: Larger images stay lossless.
_EFFORTS = {
    Effort.FAST: ((16_000_000, 3),),
    Effort.BALANCED: ((4_000_000, 6), (16_000_000, 3)),
    Effort.SMALL: ((4_000_000, 8), (16_000_000, 6)),
}
#: An image with much noise takes the most time at effort 6, and often fails in the end. A sample of one pixel in 16
#: shows it: its PSNR is less than this much above the minimum.
_QUICK_EFFORT, _SAMPLE_STEP, _NOISE_MARGIN_DB = 3, 4, 1
#: Virtual memory that quantizing takes at its peak.
_BYTES_PER_PIXEL = 24
#: Of the pixels that are fully transparent or opaque, one in this many may get another alpha.
_RARE_ALPHA = 100
#: Side of the squares in which the mean alpha is compared, and the mean difference allowed in those at soft edges.
_EDGE_SIDE, _MAX_EDGE_SHIFT = 4, 2


def reduce(image: Image.Image, quality: int, effort: Effort = Effort.BALANCED) -> list[Chunk] | None:
    """An RGB or RGBA image as the chunks of a PNG with a palette; None if a palette is not faithful, or if one is exact
    and needs no quantizer."""
    pixels = image.width * image.height
    vips_effort = next((each for max_pixels, each in _EFFORTS[effort] if pixels <= max_pixels), None)
    if vips_effort is None or image.mode not in ("RGB", "RGBA") or color_count.count_colors(image, 256):
        return None
    target_quality = _TARGET_QUALITY + max(0, quality - 50) * 8 // 50
    if effort is Effort.BALANCED and vips_effort > _QUICK_EFFORT and _is_noisy(image, quality, target_quality):
        vips_effort = _QUICK_EFFORT
    png = _quantize(image, vips_effort, target_quality)
    reduced = _decode(png, image.mode)
    # Dithering spreads the error of a colour, so one square in 200 may differ more without being visible.
    threshold = SimilarityThreshold(min_psnr_db(quality), area_shift=8, rare_shift=24)
    if not is_similar(threshold, image, reduced) or (image.mode == "RGBA" and not _keeps_alpha(image, reduced)):
        return None
    return [chunk for chunk in read(png) if chunk[0] in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")]


def is_opaque(image: Image.Image) -> bool:
    return all(strip.getchannel("A").getextrema()[0] == 255 for _, strip in strips(image))


def min_psnr_db(quality: int) -> float:
    """PSNR that a palette must reach: 36 dB at quality 50, where JPEG reaches 28 to 40. The steps of a palette are more
    visible than the noise of a JPEG."""
    return 36 + max(0, quality - 50) * 0.2


def _is_noisy(image: Image.Image, quality: int, target_quality: int) -> bool:
    size = max(1, image.width // _SAMPLE_STEP), max(1, image.height // _SAMPLE_STEP)
    sample = image.resize(size, Image.Resampling.NEAREST)
    reduced = _decode(_quantize(sample, _QUICK_EFFORT, target_quality), image.mode)
    threshold = SimilarityThreshold(min_psnr_db(quality) + _NOISE_MARGIN_DB, area_shift=255, rare_shift=255)
    return not is_similar(threshold, sample, reduced)


def _decode(png: bytes, mode: str) -> Image.Image:
    with Image.open(BytesIO(png), formats=["PNG"]) as file:
        return file.convert(mode)


def _quantize(image: Image.Image, vips_effort: int, target_quality: int) -> bytes:
    require_memory(image.width * image.height * _BYTES_PER_PIXEL)
    pixels = _libvips().Image.new_from_memory(
        image.tobytes(), image.width, image.height, len(image.getbands()), "uchar"
    )
    png: bytes = pixels.copy(interpretation="srgb").pngsave_buffer(
        palette=True, Q=target_quality, dither=_DITHERING, effort=vips_effort, compression=0, keep="none"
    )
    return png


@cache
def _libvips() -> Any:
    """Loaded when it is needed, because it starts threads, which would not survive the fork of a worker."""
    import pyvips

    # It logs each call as information.
    logging.getLogger("pyvips").setLevel(logging.WARNING)
    # Each CPU thread processes one image, whose pixels are never needed again.
    pyvips.cache_set_max(0)
    pyvips.vips_lib.vips_concurrency_set(1)
    return pyvips


def _keeps_alpha(image: Image.Image, reduced: Image.Image) -> bool:
    hard = changed = soft_squares = shift = 0
    for (_, a), (_, b) in zip(strips(image), strips(reduced), strict=True):
        one, other = a.getchannel("A"), b.getchannel("A")
        mask = one.point(lambda alpha: 255 if alpha in (0, 255) else 0)
        hard += mask.histogram()[255]
        changed += sum(ImageChops.difference(one, other).histogram(mask)[1:])
        square = one.reduce(_EDGE_SIDE)
        differences = ImageChops.difference(square, other.reduce(_EDGE_SIDE))
        counts = differences.histogram(square.point(lambda alpha: 0 if alpha in (0, 255) else 255))
        soft_squares += sum(counts)
        shift += sum(level * count for level, count in enumerate(counts))
    return changed * _RARE_ALPHA <= hard and shift <= soft_squares * _MAX_EDGE_SHIFT
