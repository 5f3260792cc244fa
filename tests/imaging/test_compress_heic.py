"""HEIC: read in any other format, never written, and refused before decoding if it is too large or hostile."""

from __future__ import annotations

import base64
import random
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.codecs import heic
from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import Crop, Options, OutputFormat
from tests.imaging.corpus.compression import compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.heic import (
    HEIGHT,
    LEVELS,
    QUARTERS,
    WIDTH,
    Item,
    box,
    build,
    coded,
    exif,
    full_box,
    grid,
    size,
)
from tests.imaging.corpus.images import SRGB
from tests.imaging.test_compress_limits import peak_kib

CORRUPT, TOO_LARGE = ImageErrorCode.CORRUPT, ImageErrorCode.TOO_LARGE
UNSUPPORTED = ImageErrorCode.UNSUPPORTED_FORMAT
PNG = OutputFormat.PNG
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ALPHA = full_box(b"auxC", b"urn:mpeg:hevc:2015:auxid:1\0")
ROTATED_LEFT = box(b"irot", b"\1")


def expect_refusal(data: bytes, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        compress_data(data, **({"format": PNG} | options))
    return caught.value


def corners(data: bytes) -> list[tuple[int, ...]]:
    """The colours near the four corners, rounded to full and half levels."""
    image = decode(data)
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    places = [(x, y) for y in (4, image.height - 5) for x in (4, image.width - 5)]
    return [tuple(round(n / 127.5) * 255 // 2 for n in image.getpixel(place)) for place in places]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_photograph_of_a_phone_is_converted(name: str) -> None:
    data = build(coded())

    result = compress_data(data, format=OutputFormat(name))

    assert (result.media_type, result.width, result.height) == (f"image/{name.lower()}", WIDTH, HEIGHT)
    assert corners(result.data) == [RED, GREEN, BLUE, WHITE]
    assert result.warning is None


def test_options_apply() -> None:
    result = compress_data(build(coded()), format=PNG, crop=Crop(64, 0, 64, 64), scale=0.5)

    assert decode(result.data).size == (32, 32)
    assert corners(result.data) == [GREEN, GREEN, WHITE, WHITE]


@pytest.mark.parametrize("options", [{}, {"scale": 0.5}])
def test_heic_is_not_written(options: dict[str, Any]) -> None:
    failure = expect_refusal(build(coded()), format=OutputFormat.ORIGINAL, **options)

    assert (failure.code, failure.message) == (
        UNSUPPORTED,
        "A HEIC image can be read, but not written. Choose an output format: JPEG, PNG, WebP or AVIF.",
    )


@pytest.fixture
def _without_pi_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    heic._find_plugin.cache_clear()
    yield
    heic._find_plugin.cache_clear()


@pytest.mark.usefixtures("_without_pi_heif")
def test_message_names_the_extra_if_it_is_not_installed() -> None:
    failure = expect_refusal(build(coded()))

    assert failure.code is UNSUPPORTED
    assert "pip install 'gql_imgproc[heic]'" in failure.message


def test_orientation_is_that_of_the_boxes_and_applied_once() -> None:
    orientation_6 = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = build(coded(QUARTERS, size(), ROTATED_LEFT), exif(orientation_6))

    result = compress_data(data, format=OutputFormat.JPEG)

    assert (inspect(data, ImageLimits()).width, result.width) == (HEIGHT, HEIGHT)
    assert corners(result.data) == [GREEN, WHITE, RED, BLUE]
    assert decode(result.data).getexif().get(0x0112, 1) == 1


def test_color_profile_is_kept() -> None:
    data = build(coded(QUARTERS, size(), box(b"colr", b"prof", SRGB)))

    assert decode(compress_data(data, format=OutputFormat.JPEG).data).info["icc_profile"] == SRGB


def test_alpha_is_kept() -> None:
    data = build(coded(), coded(LEVELS, size(), ALPHA, auxl=[1]))

    result = compress_data(data, format=PNG)

    # The colour of a transparent pixel does not matter.
    assert corners(result.data) == [(*RED, 255), (*GREEN, 255), (0, 0, 0, 0), (*WHITE, 127)]
    assert corners(compress_data(data, format=OutputFormat.JPEG).data) == [RED, GREEN, WHITE, WHITE]


def test_grid_of_tiles_is_put_together() -> None:
    data = build(grid(1, 2, 120, 100, [2, 3]), coded(), coded())

    result = compress_data(data, format=PNG)

    image = decode(result.data).convert("RGB")
    assert (result.width, result.height, image.size) == (120, 100, (120, 100))
    # The second tile begins in row 64, with the colours of the first row.
    assert [image.getpixel((4, y))[2] > 250 for y in (4, 60, 68, 99)] == [False, True, False, True]


def test_gain_map_is_ignored_and_reported() -> None:
    gain_map = full_box(b"auxC", b"urn:com:apple:photo:2020:aux:hdrgainmap\0")
    data = build(coded(), coded(LEVELS, size(), gain_map, auxl=[1]), coded(thmb=[1]))

    result = compress_data(data, format=PNG)

    assert corners(result.data) == [RED, GREEN, BLUE, WHITE]
    assert (
        result.warning == "The HDR gain map of the image is lost, because the options change its pixels or its format."
    )


def with_coded_size(width: int, height: int, *, in_data: bool = False) -> Item:
    """The sequence parameters, in `hvcC` or in the data, declare this size instead of 128 x 64."""
    config, content = (base64.b64decode(text) for text in QUARTERS)
    at = config.index(b"\x42\x01")
    length = int.from_bytes(config[at - 2 : at], "big")
    bits = "".join(f"{byte:08b}" for byte in config[at : at + length].replace(b"\0\0\3", b"\0\0"))
    # After 16 bits of head, 8 of identifiers and 96 of profile: identifier 0 and 4:2:0, then width and height.
    old = exp_golomb(WIDTH) + exp_golomb(HEIGHT)
    assert bits[120:].startswith("1010" + old)
    bits = bits[:124] + exp_golomb(width) + exp_golomb(height) + bits[124 + len(old) :]
    bits += "0" * (-len(bits) % 8)
    unit = int(bits, 2).to_bytes(len(bits) // 8, "big")
    if in_data:
        content = struct.pack(">I", len(unit)) + unit + content
    else:
        config = config[: at - 2] + struct.pack(">H", len(unit)) + unit + config[at + length :]
    return Item(b"hvc1", content, (box(b"hvcC", config), size()))


def exp_golomb(value: int) -> str:
    return f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)


def with_slices(slices: int) -> Item:
    image = coded()
    image.content *= slices
    return image


def nested_grids(depth: int) -> bytes:
    """Each grid shows the next one four times."""
    return build(*(grid(2, 2, 64, 64, [n + 2] * 4) for n in range(depth)), coded())


HOSTILE = {
    "declares a huge size": (build(coded(QUARTERS, size(16_384, 16_384))), TOO_LARGE),
    "declares an absurd size": (build(coded(QUARTERS, size(2**32 - 1, 2**32 - 1))), TOO_LARGE),
    "is coded in a huge size": (build(with_coded_size(16_384, 16_384)), TOO_LARGE),
    "is coded in a huge size by its data": (build(with_coded_size(16_384, 16_384, in_data=True)), TOO_LARGE),
    "has alpha of a huge size": (build(coded(), coded(LEVELS, size(16_384, 16_384), ALPHA, auxl=[1])), TOO_LARGE),
    "is a grid with a huge canvas": (
        build(Item(b"grid", struct.pack(">4B2H", 0, 0, 0, 0, 65_535, 65_535), (size(),), [(b"dimg", [2])]), coded()),
        TOO_LARGE,
    ),
    "is a grid of one tile 10,000 times": (build(grid(100, 100, 64, 64, [2] * 10_000), coded()), CORRUPT),
    "is a grid of one large tile 60 times": (
        build(grid(10, 6, 64, 64, [2] * 60), with_coded_size(960, 960)),
        TOO_LARGE,
    ),
    "has 30,000 slices": (build(with_slices(30_000)), CORRUPT),
    "is an overlay": (build(Item(b"iovl", bytes(64), (size(),), [(b"dimg", [2])]), coded()), UNSUPPORTED),
    "has uncompressed alpha": (
        build(coded(), Item(b"unci", bytes(64), (size(), ALPHA), [(b"auxl", [1])])),
        UNSUPPORTED,
    ),
    "has no image": (box(b"ftyp", b"hevc", bytes(4), b"msf1hevc") + box(b"moov"), CORRUPT),
    "has no parameters": (build(Item(b"hvc1", coded().content, (size(),))), CORRUPT),
    "ends early": (build(coded())[:-20], CORRUPT),
    "ends in its boxes": (build(coded())[:300], CORRUPT),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_cheaply(name: str) -> None:
    data, code = HOSTILE[name]
    started, peak = time.process_time(), peak_kib()

    failure = expect_refusal(data)

    assert failure.code is code
    assert failure.message.endswith(".")
    assert time.process_time() - started < 0.5
    assert peak_kib() - peak < 64 << 10


def test_nested_grids_are_not_unfolded() -> None:
    started = time.process_time()

    expect_refusal(nested_grids(60))

    assert time.process_time() - started < 0.5


def test_slices_are_limited_by_the_pixels_that_they_may_code() -> None:
    data, limits = build(with_slices(10)), ImageLimits(max_scanned_pixels=10 * WIDTH * HEIGHT)

    with pytest.raises(ImageError) as caught:
        inspect(build(with_slices(11)), limits)

    assert caught.value.code is TOO_LARGE
    assert inspect(data, limits).width == WIDTH


def test_image_that_is_coded_in_another_size_is_corrupt() -> None:
    assert expect_refusal(build(coded(QUARTERS, size(64, 64)))).code is CORRUPT


SMALL = [
    build(coded()),
    build(coded(), coded(LEVELS, size(), ALPHA, auxl=[1])),
    build(grid(1, 2, 120, 100, [2, 3]), coded(), coded()),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SMALL), st.integers(0, 2**32), st.booleans())
def test_arbitrary_damage_raises_only_image_errors(data: bytes, seed: int, is_cut: bool) -> None:
    chance, damaged = random.Random(seed), bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        damaged[chance.randrange(len(damaged) if chance.random() < 0.5 else min(700, len(damaged)))] = chance.randrange(
            256
        )
    if is_cut:
        del damaged[chance.randrange(len(damaged)) :]

    # Any other exception fails the test.
    with suppress(ImageError):
        compress(bytes(damaged), Options(format=PNG), ImageLimits(max_pixels=1_000_000))


def test_pixels_are_those_of_the_decoder() -> None:
    """Nothing but the format changes: a lossless file has the colours that libheif decodes."""
    result = compress_data(build(coded()), format=PNG)

    expected = heic.open(BytesIO(build(coded()))).convert("RGB")
    assert Image.open(BytesIO(result.data)).convert("RGB").tobytes() == expected.tobytes()
