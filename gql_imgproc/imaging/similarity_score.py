"""Scores how similar a result looks to its source: 0 to 100, which is identical, on the scale of SSIMULACRA2.

Strips that are spread evenly over the image are compared, so that the cost is bounded, and their worst windows count
most. `benchmarks/similarity_score.py` compares the scores with SSIMULACRA2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from itertools import chain

from PIL import Image, ImageChops, ImageMath
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from gql_imgproc.imaging import transform
from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.encode import EncodeSettings
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
_SQUARES = [float(level * level) for level in range(256)]
#: Exponent of the mean over windows: the larger it is, the more the worst ones count.
_WORST = 3
#: Fitted to SSIMULACRA2 by the benchmark.
_LUMA, _CHROMA, _EXPONENT = 10.3, 1.08, 0.66

_Box = tuple[int, int, int, int]


def measure(drawn: Image.Image, data: bytes, target: Format, strips: int = _MANY_STRIPS) -> float:
    """Scores the decoded result. `drawn` was encoded as `data`; it is the first frame of an animation."""
    return _compare(drawn, _decode(data, target), _choose_strips(drawn.size, _STRIP, strips))


def estimate(drawn: Image.Image, data: bytes, target: Format, options: Options) -> float:
    """As `measure`, in a tenth of the time that encoding an image of a megapixel or more takes."""
    if target.name not in ("JPEG", "WEBP", "AVIF"):
        return measure(drawn, data, target)
    pixels = drawn.width * drawn.height
    count = min(max(_MIN_STRIPS, pixels // _PIXELS_PER_STRIP), _MAX_STRIPS)
    if pixels <= _MAX_DECODED_PIXELS:
        return measure(drawn, data, target, count)
    if target.name == "JPEG" and drawn.mode in ("L", "RGB"):
        # The blocks of a JPEG are independent of each other: with the same tables, strips become the same pixels.
        joined = _join([_cut(drawn, box) for box in _choose_strips(drawn.size, _STRIP, count)])
        header = JpegImageFile(BytesIO(data))
        encoded = BytesIO()
        joined.save(encoded, "JPEG", qtables=header.quantization, subsampling=get_sampling(header))
        return _compare(joined, JpegImageFile(BytesIO(encoded.getvalue())), [(0, 0, *joined.size)])
    strips = [_cut(drawn, box) for box in _choose_strips(drawn.size, _ENCODED_STRIP, count)]
    settings = EncodeSettings(options.quality, Extras(), effort=options.effort)
    decoded = _join([_decode(CODECS[target.name].encode([strip], settings), target) for strip in strips])
    return _compare(_join(strips), decoded, [(0, 0, *decoded.size)])


def _decode(data: bytes, target: Format) -> Image.Image:
    with decode_errors():
        # A JPEG of our own has no segments to drop.
        image = JpegImageFile(BytesIO(data)) if target.name == "JPEG" else CODECS[target.name].open(BytesIO(data))
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


def _cut(image: Image.Image, box: _Box) -> Image.Image:
    return transform.to_working_mode(image.crop(box))


def _join(strips: Sequence[Image.Image]) -> Image.Image:
    """The strips below each other, as RGB or RGBA."""
    mode = "RGBA" if any("A" in strip.mode for strip in strips) else "RGB"
    width, height = strips[0].size
    joined = Image.new(mode, (width, height * len(strips)))
    for n, strip in enumerate(strips):
        joined.paste(strip if strip.mode == mode else strip.convert(mode), (0, n * height))
    return joined


def _compare(one: Image.Image, other: Image.Image, boxes: Sequence[_Box]) -> float:
    """Scores these parts, which have the same size, of both images."""
    halves = [_halve(image, box) for image in (one, other) for box in boxes]
    if any("A" in half.mode for half in halves):
        halves = [ground for half in halves for ground in _over_backgrounds(half)]
    errors = _measure_errors(_join(halves).convert("YCbCr"))
    luma, chroma = errors[0], errors[1] + errors[2]
    return round(max(0.0, 100 - 100 * math.pow(_LUMA * luma + _CHROMA * chroma, _EXPONENT)), 1)


def _halve(image: Image.Image, box: _Box) -> Image.Image:
    """The part of the image at half the size, which is enlarged to complete windows."""
    # With alpha, Pillow would convert the whole image for each part.
    is_plain = image.mode in ("RGB", "L") and "transparency" not in image.info
    half = image.reduce(2, box) if is_plain else _cut(image, box).reduce(2)
    size = math.ceil(half.width / _WINDOW) * _WINDOW, math.ceil(half.height / _WINDOW) * _WINDOW
    return half if half.size == size else half.resize(size, Image.Resampling.NEAREST)


def _over_backgrounds(image: Image.Image) -> list[Image.Image]:
    """The image over white and over black: on one of them, each difference shows."""
    image = image.convert("RGBA")
    return [Image.alpha_composite(Image.new("RGBA", image.size, color), image) for color in ("white", "black")]


def _measure_errors(both: Image.Image) -> list[float]:
    """How much of the structure of the upper half differs in the lower one: in luma and each chroma plane, 0 to 1."""
    width, height = both.size
    planes = Image.new("L", (3 * width, height))
    for n, plane in enumerate(both.split()):
        planes.paste(plane, (n * width, 0))
    difference = ImageChops.difference(*_split_in_middle(planes))
    means, squares = planes.convert("F").reduce(_WINDOW), planes.point(_SQUARES, "F").reduce(_WINDOW)
    variances = ImageMath.lambda_eval(lambda v: v["squares"] - v["means"] * v["means"], squares=squares, means=means)
    one, other = _split_in_middle(variances)
    # SSIM without its term of luminance: the error, relative to the contrast that hides it.
    windows = ImageMath.lambda_eval(
        lambda v: v["errors"] / (v["one"] + v["other"] + _STABILIZER),
        errors=difference.point(_SQUARES, "F").reduce(_WINDOW),
        one=one,
        other=other,
    )
    values = memoryview(windows.tobytes()).cast("f").tolist()
    columns = width // _WINDOW
    rows = [values[at : at + columns] for at in range(0, len(values), columns)]
    return [_mean_of_worst(list(chain.from_iterable(rows[n::3]))) for n in range(3)]


def _split_in_middle(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    width, height = image.size
    return image.crop((0, 0, width, height // 2)), image.crop((0, height // 2, width, height))


def _mean_of_worst(values: Sequence[float]) -> float:
    return math.pow(math.fsum([value**_WORST for value in values]) / len(values), 1 / _WORST)
