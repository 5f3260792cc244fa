"""At most 256 colours instead of all: exactly, or where nobody sees the difference.

The gate's thresholds were chosen on crops of 1 megapixel: 12 photographs, 15 drawings, 8 pictures with alpha
(cut-outs, shadows, fades). By libimagequant 9 of the photographs pass, at 38 to 44 dB; refused are two of 35.1 and
35.5 dB and one in which something small moved by 40 levels. By Pillow alone no photograph passes; drawings do at 47 dB
and more, with alpha at 50 dB and more. Bytes in the mean, without and with libimagequant: photographs 98 and 60 %,
drawings 61 and 38 %, alpha 67 and 43 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from PIL import Image

from gql_imgproc.imaging import png_color_count
from gql_imgproc.imaging.similarity import SimilarityThreshold, is_similar, psnr, strips

_Quantise = Callable[[bytes, int, int, float, int, int, int], tuple[bytes, list[int]]]


def _installed() -> _Quantise | None:
    try:
        from imagequant import quantize_raw_rgba_bytes
    except ImportError:
        return None
    return cast(_Quantise, quantize_raw_rgba_bytes)


#: Under the GPL, hence only when somebody has installed it (`gql_imgproc[imagequant]`). It lets go of the GIL.
libimagequant = _installed()

#: Greys that fit into 4 bits a pixel. For more than these a palette has no advantage, and what is filtered before it
#: is deflated, as rows of grey are and those of a palette are not, becomes smaller.
_FEW_GREYS = 16
#: Pixels on each side of the sample that tells photographs (32 dB) from drawings: median cut on all pixels takes
#: 0.4 s/MP for a photograph, which would not pass the gate, and far less for a drawing.
_SAMPLE_SIDE = 64
#: PSNR of the sample's palette, which is mapped coarsely, from which on all pixels are tried.
_PROMISING_DB = 34
#: Colours of a picture with alpha that are joined in Python, which takes 0.01 ms each, whatever the size. Drawings
#: and their shadows have 3,000 to 6,000; photographs, with 40,000 and more, are left to libimagequant.
_MOST_JOINED = 8_192
#: libimagequant's own scale. At 80 it spares colours, those of small things first (in one drawing a square moved by 98
#: levels, at 96 by 12), and dithers flat drawings until they are larger than their source. At 100 most files are the
#: same, some larger.
_TARGET_QUALITY = 96
#: Below this it gives up by itself before it gives pixels their numbers: no such palette passed the gate.
_LEAST_QUALITY = 80
_DITHERING = 1.0


def reduced(image: Image.Image, quality: int, profile: bool) -> Iterator[Image.Image]:
    """The picture in 256 colours at most, or in grey, for RGB, RGBA and LA; nothing where that is not faithful.

    A quality of 100 takes exact ones only. A `profile` is about the colours as they are stored now.
    """
    if image.mode == "LA" and not profile:
        image = image.convert("RGBA")
    if image.mode not in ("RGB", "RGBA"):
        return
    if few := png_color_count.count_colors(image, 256):
        grey = all(r == g == b and a == 255 for r, g, b, a in few)
        if grey and not profile and len(few) > _FEW_GREYS:
            yield image.convert("L")
        else:
            yield png_color_count.numbered(image, {colour: colour for colour in few})
        return
    if quality == 100:
        return
    # What Pillow makes comes into it even so: where it is the smaller file, a second pass without the extra would
    # choose it.
    ways = _by_libimagequant, _by_median_cut if image.mode == "RGB" else _by_joining
    yield from filter(None, (way(image, quality) for way in ways))


def opaque(image: Image.Image) -> bool:
    """Whether the alpha channel says nothing."""
    return all(strip.getchannel("A").getextrema()[0] == 255 for _, strip in strips(image))


def fidelity_db(quality: int) -> float:
    """PSNR that a palette must reach: 36 dB at quality 50, where JPEG reaches 28-40; a palette's error is
    steps, which are seen sooner than JPEG's noise."""
    return 36 + max(0, quality - 50) * 0.2


def _by_libimagequant(image: Image.Image, quality: int) -> Image.Image | None:
    if libimagequant is None:
        return None
    pixels = image.convert("RGBA").tobytes()
    try:
        numbers, levels = libimagequant(
            pixels, image.width, image.height, _DITHERING, 256, _LEAST_QUALITY, _TARGET_QUALITY
        )
    except RuntimeError:
        return None
    del pixels
    palette = [(levels[n], levels[n + 1], levels[n + 2], levels[n + 3]) for n in range(0, len(levels), 4)]
    made = png_color_count.with_palette(Image.frombytes("P", image.size, numbers), palette)
    # Dithering spreads what a colour is wrong by, so that one square of 200 may be further off, by what is hard to see.
    gate = SimilarityThreshold(fidelity_db(quality), area_shift=8, rare_shift=24)
    return made if is_similar(gate, image, made.convert(image.mode)) else None


def _by_median_cut(image: Image.Image, quality: int) -> Image.Image | None:
    size = min(image.width, _SAMPLE_SIDE), min(image.height, _SAMPLE_SIDE)
    palette = image.resize(size, Image.Resampling.NEAREST).quantize(256, Image.Quantize.MEDIANCUT)
    mapped = image.quantize(palette=palette, dither=Image.Dither.NONE)
    if psnr(image, mapped.convert("RGB")) < _PROMISING_DB:
        return None
    made = image.quantize(256, Image.Quantize.MEDIANCUT)
    return made if is_similar(_undithered(quality), image, made.convert("RGB")) else None


def _by_joining(image: Image.Image, quality: int) -> Image.Image | None:
    """For alpha Pillow has an octree only, which makes bands and moves alpha (35 dB); this reaches 45 dB."""
    counts = png_color_count.count_colors(image, _MOST_JOINED)
    if counts is None:
        return None
    made = png_color_count.numbered(image, png_color_count.reduce_colors(counts, 256))
    return made if is_similar(_undithered(quality), image, made.convert("RGBA")) else None


def _undithered(quality: int) -> SimilarityThreshold:
    return SimilarityThreshold(fidelity_db(quality), area_shift=8, rare_shift=8)
