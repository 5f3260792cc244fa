"""Scores how similar a result looks to its source: 0 to 100, which is identical, on the scale of SSIMULACRA2.

Strips that are spread evenly over the image are compared, so that the cost is bounded, and their worst windows count
most. `benchmarks/similarity_score.py` compares the scores with SSIMULACRA2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageChops, ImageMath
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from gql_imgproc.imaging import transform
from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.encode import EncodeSettings, save
from gql_imgproc.imaging.errors import decode_errors
from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.options import Options

#: Width and height of a strip that is compared. Its height is the side of the largest block of a JPEG. Each strip that
#: is encoded on its own takes time, and gets better with its height.
_STRIP, _ENCODED_STRIP = (512, 16), (256, 32)
#: An estimate compares one strip for so many pixels of the image, within these limits.
_PIXELS_PER_STRIP, _MIN_STRIPS, _MAX_STRIPS = 300_000, 2, 16
#: Strips that are compared if the result is decoded.
_MANY_STRIPS = 32
#: Each strip begins this part of the free width further to the right than the one above it, modulo the free width.
_SHIFT = 0.38
#: Up to this many pixels a result is decoded. Of a larger image only the strips are encoded again and decoded, which
#: takes less time.
_MAX_DECODED_PIXELS = 1 << 17
#: Side of the windows whose structure is compared, at half the size, and the constant that stabilizes windows without
#: contrast.
_WINDOW, _STABILIZER = 8, 150.0
#: Exponent of the mean over windows: the larger it is, the more the worst ones count.
_WORST = 3
#: Fitted to SSIMULACRA2 by the benchmark.
_LUMA, _CHROMA, _EXPONENT = 10.3, 1.08, 0.66

_Box = tuple[int, int, int, int]


def measure(drawn: Image.Image, data: bytes, target: Format, strips: int = _MANY_STRIPS) -> float:
    """Scores the decoded result. `drawn` was encoded as `data`; it is the first frame of an animation."""
    boxes = _choose_strips(drawn.size, _STRIP, strips)
    return _compare(_join(_cut(drawn, boxes)), _join(_cut(_decode(data, target), boxes)))


def estimate(drawn: Image.Image, data: bytes, target: Format, options: Options) -> float:
    """As `measure`, in a tenth of the time that encoding a large image takes."""
    if target.name not in ("JPEG", "WEBP", "AVIF"):
        return measure(drawn, data, target)
    pixels = drawn.width * drawn.height
    count = min(max(_MIN_STRIPS, pixels // _PIXELS_PER_STRIP), _MAX_STRIPS)
    if pixels <= _MAX_DECODED_PIXELS:
        return measure(drawn, data, target, count)
    if target.name == "JPEG" and drawn.mode in ("L", "RGB"):
        # The blocks of a JPEG are independent of each other: with the same tables, strips become the same pixels.
        joined = _join(_cut(drawn, _choose_strips(drawn.size, _STRIP, count)))
        header = JpegImageFile(BytesIO(data))
        encoded = save(joined, "JPEG", qtables=header.quantization, subsampling=get_sampling(header))
        return _compare(joined, _decode(encoded, target))
    strips = _cut(drawn, _choose_strips(drawn.size, _ENCODED_STRIP, count))
    settings = EncodeSettings(options.quality, Extras(), effort=options.effort)
    decoded = [_decode(CODECS[target.name].encode([strip], settings), target) for strip in strips]
    return _compare(_join(strips), _join(decoded))


def _decode(data: bytes, target: Format) -> Image.Image:
    with decode_errors():
        image = CODECS[target.name].open(BytesIO(data))
        image.load()
    return image


def _choose_strips(size: tuple[int, int], strip: tuple[int, int], count: int) -> list[_Box]:
    """Strips that are spread evenly; the whole of a small image."""
    width, height = min(strip[0], size[0]), strip[1]
    if size[0] * size[1] <= count * width * height:
        return [(0, 0, *size)]
    boxes = []
    for n in range(count):
        left = int((size[0] - width) * ((n + 0.5) * _SHIFT % 1)) // 16 * 16
        top = (size[1] - height) * (2 * n + 1) // (2 * count) // 16 * 16
        boxes.append((left, top, left + width, top + height))
    return boxes


def _cut(image: Image.Image, boxes: Sequence[_Box]) -> list[Image.Image]:
    return [transform.to_working_mode(image.crop(box)) for box in boxes]


def _join(strips: Sequence[Image.Image]) -> Image.Image:
    """The strips below each other, as RGB or RGBA."""
    mode = "RGBA" if any("A" in strip.mode for strip in strips) else "RGB"
    width, height = strips[0].size
    joined = Image.new(mode, (width, height * len(strips)))
    for n, strip in enumerate(strips):
        joined.paste(strip if strip.mode == mode else strip.convert(mode), (0, n * height))
    return joined


def _compare(one: Image.Image, other: Image.Image) -> float:
    if "RGBA" in (one.mode, other.mode):
        one, other = _over_backgrounds(one), _over_backgrounds(other)
    luma, chroma = _difference(one.convert("RGB"), other.convert("RGB"))
    return round(max(0.0, 100 - 100 * math.pow(_LUMA * luma + _CHROMA * chroma, _EXPONENT)), 1)


def _over_backgrounds(image: Image.Image) -> Image.Image:
    """The image over white, and below that over black: on one of them, each difference shows."""
    image = image.convert("RGBA")
    both = Image.new("RGB", (image.width, 2 * image.height), "white")
    both.paste("black", (0, image.height, image.width, 2 * image.height))
    for top in (0, image.height):
        both.paste(image, (0, top), image)
    return both


def _difference(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """How much of the structure differs, from 0 to 1: in luma, and in both chroma planes together."""
    a, b = _half_planes(one), _half_planes(other)
    difference = ImageChops.difference(a, b).convert("F")
    a, b = a.convert("F"), b.convert("F")
    errors = ImageMath.lambda_eval(lambda v: v["d"] * v["d"], d=difference).reduce(_WINDOW)
    squares = ImageMath.lambda_eval(lambda v: v["a"] * v["a"] + v["b"] * v["b"], a=a, b=b).reduce(_WINDOW)
    # SSIM without its term of luminance: the error, relative to the contrast that hides it.
    windows = ImageMath.lambda_eval(
        lambda v: v["errors"] / (v["squares"] - v["a"] * v["a"] - v["b"] * v["b"] + _STABILIZER),
        errors=errors,
        squares=squares,
        a=a.reduce(_WINDOW),
        b=b.reduce(_WINDOW),
    )
    values = memoryview(windows.tobytes()).cast("f").tolist()
    third = len(values) // 3
    luma, blue, red = (_mean_of_worst(values[n * third : (n + 1) * third]) for n in range(3))
    return luma, blue + red


def _half_planes(image: Image.Image) -> Image.Image:
    """Luma, blue and red at half the size, below each other. Each fills complete windows: its last row is repeated."""
    planes = image.convert("YCbCr").reduce(2).split()
    width, height = planes[0].size
    full_height = math.ceil(height / _WINDOW) * _WINDOW
    stack = Image.new("L", (width, 3 * full_height))
    for n, plane in enumerate(planes):
        stack.paste(plane, (0, n * full_height))
        if full_height > height:
            last_row = plane.crop((0, height - 1, width, height))
            stack.paste(last_row.resize((width, full_height - height)), (0, n * full_height + height))
    return stack


def _mean_of_worst(values: Sequence[float]) -> float:
    return math.pow(math.fsum(value**_WORST for value in values) / len(values), 1 / _WORST)
