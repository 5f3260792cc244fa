"""Properties of every image (promise P9) and of arbitrary bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.exif import orientation_exif
from gql_imgproc.imaging.options import DEFAULT, ImageFilter, Options, OutputFormat, Pad
from tests.imaging.corpus.images import SRGB

MODES = {
    "JPEG": ["L", "RGB", "CMYK"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "WEBP": ["RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB"],
    "TIFF": ["1", "L", "RGB", "RGBA", "CMYK", "I;16"],
    "BMP": ["1", "L", "P", "RGB"],
    "AVIF": ["RGB", "RGBA"],
}
BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "LA": 2, "I;16": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}
NOT_AN_IMAGE, UNSUPPORTED = ImageErrorCode.NOT_AN_IMAGE, ImageErrorCode.UNSUPPORTED_FORMAT
TOO_LARGE, CORRUPT = ImageErrorCode.TOO_LARGE, ImageErrorCode.CORRUPT
LIMITS = ImageLimits(max_pixels=1_000_000, max_total_pixels=2_000_000, max_frames=50)
MAGIC = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"II*\0\x08\0\0\0",
    b"MM\0*",
    b"BM",
    b"\0\0\0\x14ftypavif\0\0\0\0avif",
]


@st.composite
def images(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(sorted(MODES)))
    mode = draw(st.sampled_from(MODES[name]))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    seed = draw(st.randoms(use_true_random=False))
    # From a flat image to noise: each sample is a random one of this number of levels.
    levels = draw(st.integers(1, 256))
    stored = "L" if mode in ("1", "P") else mode
    texture = bytes(seed.randrange(levels) for _ in range(width * height * BYTES_PER_PIXEL[stored]))
    image = Image.frombytes(stored, (width, height), texture)
    if stored != mode:
        image = image.convert(mode)
    file = BytesIO()
    save_options: dict[str, Any] = {"quality": draw(st.integers(1, 100))} if name in ("JPEG", "WEBP", "AVIF") else {}
    if name == "AVIF":
        save_options["speed"] = 10
    if name in ("JPEG", "PNG", "WEBP", "AVIF"):
        save_options["exif"] = orientation_exif(draw(st.integers(1, 8)))
    if name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF") and draw(st.booleans()):
        save_options["icc_profile"] = SRGB
    if mode == "P" and draw(st.booleans()):
        save_options["transparency"] = draw(st.integers(0, 255))
    image.save(file, name, **save_options)
    return name, file.getvalue()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), st.sampled_from([1, 30, 50, 80, 100]))
def test_result_is_never_larger_and_a_second_pass_keeps_it(image: tuple[str, bytes], quality: int) -> None:
    name, data = image
    options = Options(quality=quality)

    once = compress(data, options, LIMITS)
    twice = compress(once.data, options, LIMITS)

    assert len(once.data) <= len(data)
    assert (once.outcome is ImageOutcome.KEPT) == (once.data == data)
    assert (twice.outcome, twice.data) == (ImageOutcome.KEPT, once.data)
    assert inspect(once.data, LIMITS) == inspect(data, LIMITS)
    assert inspect(data, LIMITS).format == name


CHANGES = st.builds(
    Options,
    scale=st.sampled_from([0.05, 0.3, 0.5, 1]),
    max_width=st.sampled_from([None, 1, 7]),
    trim=st.booleans(),
    pad=st.sampled_from([None, None, Pad(ratio="2:1"), Pad(width=40, color="#F00000")]),
    filters=st.lists(st.sampled_from(ImageFilter), max_size=2).map(tuple),
    format=st.sampled_from(OutputFormat),
    keep_metadata=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), CHANGES)
def test_default_options_keep_every_output(image: tuple[str, bytes], options: Options) -> None:
    once = compress(image[1], options, LIMITS)

    twice = compress(once.data, DEFAULT, LIMITS)

    if not options.keep_metadata:
        assert (twice.outcome, twice.data) == (ImageOutcome.KEPT, once.data)
    assert inspect(twice.data, LIMITS) == inspect(once.data, LIMITS)
    assert (twice.width, twice.height) == (once.width, once.height)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"", *MAGIC]), st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_image_errors(magic: bytes, rest: bytes) -> None:
    compress_or_refuse(magic + rest)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(images(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6), st.booleans())
def test_damaged_images_raise_only_image_errors(
    image: tuple[str, bytes], damages: list[tuple[float, int]], is_changed: bool
) -> None:
    data = bytearray(image[1])
    for where, value in damages:
        data[int(where * (len(data) - 1))] = value

    compress_or_refuse(bytes(data), Options(scale=0.5, format=OutputFormat.PNG) if is_changed else DEFAULT)


def compress_or_refuse(data: bytes, options: Options = DEFAULT) -> None:
    try:
        compress(data, options, LIMITS)
    except ImageError as failure:
        reported = failure.code, failure.retryable
    else:
        return
    assert reported in {(code, False) for code in (NOT_AN_IMAGE, UNSUPPORTED, TOO_LARGE, CORRUPT)}
