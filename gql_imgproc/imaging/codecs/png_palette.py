"""Reduces an image to at most 256 colours: exactly, or within a similarity threshold.

The thresholds were chosen on crops of 1 megapixel: 12 photographs, 15 drawings, 8 images with alpha (cut-outs, shadows,
fades). With libimagequant, 9 photographs pass, at 38 to 44 dB; two fail at 35.1 and 35.5 dB, and one because a small
object moved by 40 levels. With Pillow alone, no photograph passes; drawings pass at 47 dB and more, images with alpha
at 50 dB and more. Mean size of the results without and with libimagequant, in per cent of the source: photographs 98
and 60, drawings 61 and 38, alpha 67 and 43.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from PIL import Image

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging.similarity import SimilarityThreshold, is_similar, psnr, strips

_Quantize = Callable[[bytes, int, int, float, int, int, int], tuple[bytes, list[int]]]


def _find_libimagequant() -> _Quantize | None:
    try:
        from imagequant import quantize_raw_rgba_bytes
    except ImportError:
        return None
    return cast(_Quantize, quantize_raw_rgba_bytes)


#: Used only if the extra `gql_imgproc[imagequant]` is installed, because it is under the GPL. It releases the GIL.
libimagequant = _find_libimagequant()

#: Grey levels that fit into 4 bits per pixel. With more levels a palette has no advantage over grey, and grey rows
#: compress better, because they are filtered before deflating and palette rows are not.
_MAX_PALETTE_GREYS = 16
#: Pixels on each side of the sample that distinguishes photographs (32 dB) from drawings. Median cut on all pixels of a
#: photograph takes 0.4 s per megapixel and would not pass the threshold; on a drawing it is much faster.
_SAMPLE_SIDE = 64
#: If the coarse palette of the sample reaches this PSNR, median cut is tried on all pixels.
_MIN_SAMPLE_DB = 34
#: Colours of an image with alpha that are reduced in Python, which takes 0.01 ms per colour. Drawings and their shadows
#: have 3,000 to 6,000. Photographs have 40,000 and more; only libimagequant reduces them.
_MAX_REDUCED_COLORS = 8_192
#: On libimagequant's own scale. At 80 it saves colours, those of small objects first (in one drawing a square moved by
#: 98 levels, at 96 by 12), and dithers flat drawings until they are larger than their source. At 100 most files are
#: the same, and some are larger.
_TARGET_QUALITY = 96
#: Below this quality libimagequant stops before it maps the pixels. No such palette passed the threshold.
_MIN_QUALITY = 80
_DITHERING = 1.0


def reduce(image: Image.Image, quality: int, *, has_profile: bool) -> Iterator[Image.Image]:
    """An RGB, RGBA or LA image with at most 256 colours, or in grey; none if that is not faithful.

    Quality 100 accepts exact results only. A profile describes the stored colours, so with one, grey and RGB are not
    converted into each other.
    """
    if image.mode == "LA" and not has_profile:
        image = image.convert("RGBA")
    if image.mode not in ("RGB", "RGBA"):
        return
    if counts := color_count.count_colors(image, 256):
        is_grey = all(r == g == b and a == 255 for r, g, b, a in counts)
        if is_grey and not has_profile and len(counts) > _MAX_PALETTE_GREYS:
            yield image.convert("L")
        else:
            yield color_count.exact_palette(image, counts)
        return
    if quality == 100:
        return
    # Pillow's result is a candidate even with the extra: if it is the smaller file, a second pass without the extra
    # would choose it.
    methods = _reduce_with_libimagequant, _reduce_by_median_cut if image.mode == "RGB" else _reduce_with_alpha
    yield from filter(None, (method(image, quality) for method in methods))


def is_opaque(image: Image.Image) -> bool:
    return all(strip.getchannel("A").getextrema()[0] == 255 for _, strip in strips(image))


def min_psnr_db(quality: int) -> float:
    """PSNR that a palette must reach: 36 dB at quality 50, where JPEG reaches 28 to 40. The steps of a palette are more
    visible than the noise of a JPEG."""
    return 36 + max(0, quality - 50) * 0.2


def _reduce_with_libimagequant(image: Image.Image, quality: int) -> Image.Image | None:
    if libimagequant is None:
        return None
    pixels = image.convert("RGBA").tobytes()
    try:
        indices, levels = libimagequant(
            pixels, image.width, image.height, _DITHERING, 256, _MIN_QUALITY, _TARGET_QUALITY
        )
    except RuntimeError:
        return None
    del pixels
    palette = [(levels[n], levels[n + 1], levels[n + 2], levels[n + 3]) for n in range(0, len(levels), 4)]
    reduced = color_count.set_palette(Image.frombytes("P", image.size, indices), palette)
    # Dithering spreads the error of a colour, so one square in 200 may differ more without being visible.
    threshold = SimilarityThreshold(min_psnr_db(quality), area_shift=8, rare_shift=24)
    return reduced if is_similar(threshold, image, reduced.convert(image.mode)) else None


def _reduce_by_median_cut(image: Image.Image, quality: int) -> Image.Image | None:
    size = min(image.width, _SAMPLE_SIDE), min(image.height, _SAMPLE_SIDE)
    palette = image.resize(size, Image.Resampling.NEAREST).quantize(256, Image.Quantize.MEDIANCUT)
    mapped = image.quantize(palette=palette, dither=Image.Dither.NONE)
    if psnr(image, mapped.convert("RGB")) < _MIN_SAMPLE_DB:
        return None
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT)
    return reduced if is_similar(_undithered_threshold(quality), image, reduced.convert("RGB")) else None


def _reduce_with_alpha(image: Image.Image, quality: int) -> Image.Image | None:
    """For alpha, Pillow has only an octree, which creates bands and changes alpha (35 dB). This reaches 45 dB."""
    counts = color_count.count_colors(image, _MAX_REDUCED_COLORS)
    if counts is None:
        return None
    reduced = color_count.map_colors(image, color_count.reduce_colors(counts, 256))
    return reduced if is_similar(_undithered_threshold(quality), image, reduced.convert("RGBA")) else None


def _undithered_threshold(quality: int) -> SimilarityThreshold:
    return SimilarityThreshold(min_psnr_db(quality), area_shift=8, rare_shift=8)
