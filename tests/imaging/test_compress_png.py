"""PNG: the image looks the same over white and over black, and keeps the chunks that define its appearance."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any
from unittest.mock import Mock

import oxipng
import pytest
from PIL import Image

from gql_imgproc.imaging.codecs import png_optimize, png_repair
from gql_imgproc.imaging.codecs.png_chunks import SAMPLES, read, write
from gql_imgproc.imaging.options import Effort
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, displayed_psnr_db, durations_ms, frames, is_displayed_equal
from tests.imaging.corpus.images import SRGB, drawing, photo
from tests.imaging.corpus.png import (
    ANIMATIONS,
    GREY,
    GREY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIZES,
    animation,
    chunk,
    colored,
    encode_png,
    packed,
    png,
    samples,
    shape,
    sources,
    split_frames,
    steps,
)
from tests.imaging.corpus.profiles import linear_profile

SOURCES = {f"{name}, {w} x {h}": data for w, h in SIZES for name, data in sources((w, h))}


@pytest.mark.parametrize("name", SOURCES)
def test_every_way_to_store_pixels_looks_the_same_after_compression(name: str) -> None:
    data = SOURCES[name]

    result = compress_data(data)

    assert result.outcome is COMPRESSED
    assert len(result.data) <= len(data) * 0.95
    assert is_displayed_equal(data, result.data)


@pytest.mark.parametrize("name", SOURCES)
def test_second_pass_changes_nothing(name: str) -> None:
    once = compress_data(SOURCES[name]).data

    twice = compress_data(once)

    assert (twice.outcome, twice.data) == (KEPT, once)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grey of 2 bits", (2, GREY)),
        ("palette with alpha of 4 bits", (4, PALETTE)),
        ("grey with alpha", (8, PALETTE)),
        ("grey with opaque alpha", (8, GREY)),
        ("RGB", (8, PALETTE)),
        ("RGB with a transparent colour", (8, PALETTE)),
        ("RGB of greys", (8, GREY)),
        ("RGB with alpha", (8, PALETTE)),
        ("RGB with opaque alpha", (8, RGB)),
        ("RGB photograph", (8, RGB)),
        ("RGB photograph with alpha", (8, RGB_ALPHA)),
        ("RGB photograph with a transparent colour", (8, RGB)),
    ],
)
def test_pixels_use_the_smallest_exact_color_type(name: str, expected: tuple[int, int]) -> None:
    assert shape(compress_data(SOURCES[f"{name}, 200 x 150"]).data) == (*expected, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("color_type", [GREY, RGB, GREY_ALPHA, RGB_ALPHA])
@pytest.mark.parametrize("low_bytes", ["other", "same"])
def test_16_bit_samples_stay(size: tuple[int, int], color_type: int, low_bytes: str) -> None:
    chance = random.Random(color_type)
    palette = [bytes(n for n in chance.randbytes(SAMPLES[color_type]) for n in (n, n)) for _ in range(40)]
    if low_bytes == "other":
        palette = [chance.randbytes(2 * SAMPLES[color_type]) for _ in range(40)]
    rows = b"".join(palette[n] for n in steps(size, 40))
    data = png(size, 16, color_type, rows, (b"gAMA", struct.pack(">I", 100_000)))

    result = compress_data(data)

    assert result.outcome is COMPRESSED
    assert shape(result.data) == (16, color_type, 0)
    assert samples(result.data) == rows
    assert chunk(result.data, b"gAMA") == struct.pack(">I", 100_000)
    assert compress_data(result.data).data == result.data


def test_16_bit_transparent_color_stays() -> None:
    rows = b"".join(struct.pack(">HHH", n, n + 1, 65_535 - n) for n in steps((200, 150), 60))
    data = png((200, 150), 16, RGB, rows, (b"tRNS", rows[:6]))

    result = compress_data(data)

    assert result.outcome is COMPRESSED
    assert (samples(result.data), chunk(result.data, b"tRNS")) == (rows, rows[:6])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "color_type"), [(8, RGB), (8, RGB_ALPHA), (8, GREY), (16, RGB), (16, GREY)])
def test_interlaced_image_stays_interlaced(size: tuple[int, int], depth: int, color_type: int) -> None:
    rows = random.Random(2).randbytes(size[0] * depth // 8 * SAMPLES[color_type]) * size[1]
    plain, data = (png(size, depth, color_type, rows, adam7=adam7) for adam7 in (False, True))
    assert is_displayed_equal(plain, data)

    result = compress_data(data)

    assert result.outcome is COMPRESSED
    assert shape(result.data)[2] == 1 or shape(result.data)[1] == PALETTE
    assert shape(result.data)[0] == depth
    assert is_displayed_equal(data, result.data)
    assert compress_data(result.data).data == result.data


@pytest.mark.parametrize("size", SIZES)
def test_interlaced_drawing_gets_a_palette(size: tuple[int, int]) -> None:
    data = png(size, 8, RGB, colored(size, 100, alpha=False), adam7=True)

    result = compress_data(data)

    assert shape(result.data)[1] == PALETTE
    assert is_displayed_equal(data, result.data)


APPEARANCE = {
    b"gAMA": struct.pack(">I", 45_455),
    b"cHRM": struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000),
    b"sRGB": b"\0",
    b"pHYs": struct.pack(">IIB", 11_811, 11_811, 1),
    b"cICP": bytes((1, 13, 0, 1)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", ["few colours", "drawing", "photograph", "opaque alpha", "alpha"])
def test_appearance_chunks_are_kept(size: tuple[int, int], rows: str) -> None:
    pixels = {
        "few colours": (RGB, colored(size, 50, alpha=False)),
        "drawing": (RGB, drawing(*size, "#fff").convert("RGB").tobytes()),
        "photograph": (RGB, photo(*size).tobytes()),
        "opaque alpha": (RGB_ALPHA, photo(*size).convert("RGBA").tobytes()),
        "alpha": (RGB_ALPHA, drawing(*size).tobytes()),
    }
    profile = b"sRGB\0\0" + zlib.compress(SRGB)
    text = (b"tEXt", b"Comment\0made by hand")
    data = png(size, 8, *pixels[rows], *APPEARANCE.items(), (b"iCCP", profile), text)

    plain, full = compress_data(data), compress_data(data, keep_metadata=True)

    assert plain.outcome is full.outcome is COMPRESSED
    assert {kind: chunk(plain.data, kind) for kind in APPEARANCE} == APPEARANCE
    assert decode(plain.data).info["icc_profile"] == SRGB
    assert chunk(plain.data, b"tEXt") is None
    assert chunk(full.data, b"tEXt") == b"Comment\0made by hand"
    order = [kind for kind, _ in read(plain.data)]
    assert all(order.index(kind) < order.index(b"IDAT") for kind in APPEARANCE)
    assert b"PLTE" not in order or all(order.index(kind) < order.index(b"PLTE") for kind in (b"gAMA", b"iCCP"))
    assert displayed_psnr_db(data, plain.data) >= 36


def test_profile_prevents_conversion_between_grey_and_rgb() -> None:
    rgb, grey = (b"x\0\0" + zlib.compress(linear_profile(space)) for space in (b"RGB ", b"GRAY"))
    greys = png((200, 150), 8, RGB, bytes(n for n in packed((200, 150), 8) for n in (n,) * 3), (b"iCCP", rgb))
    alphas = png((200, 150), 8, GREY_ALPHA, bytes(n for n in packed((200, 150), 8) for n in (n, n)), (b"iCCP", grey))

    # A palette has RGB colours.
    assert shape(compress_data(greys).data) == (8, PALETTE, 0)
    assert shape(compress_data(alphas).data) == (8, GREY_ALPHA, 0)


@pytest.mark.parametrize(
    "curve", [(b"gAMA", struct.pack(">I", 100_000)), (b"cICP", bytes((9, 16, 0, 1)))], ids=["linear light", "HDR"]
)
def test_colors_with_another_transfer_curve_get_no_approximate_palette(curve: tuple[bytes, bytes]) -> None:
    pixels = drawing(200, 150, "#fff").convert("RGB").tobytes()
    data = png((200, 150), 8, RGB, pixels, curve)

    result = compress_data(data)

    assert shape(compress_data(png((200, 150), 8, RGB, pixels)).data)[1] == PALETTE
    assert shape(result.data)[1] == RGB
    assert is_displayed_equal(data, result.data)
    assert chunk(result.data, curve[0]) == curve[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("color_type", "bits"), [(RGB, b"\5\6\5"), (RGB_ALPHA, b"\5\6\5\1"), (GREY, b"\4")])
def test_significant_bits_stay_only_with_the_color_type(size: tuple[int, int], color_type: int, bits: bytes) -> None:
    mode = {GREY: "L", RGB: "RGB", RGB_ALPHA: "RGBA"}[color_type]
    few = Image.frombytes("RGB", size, colored(size, 90, alpha=False)).convert(mode)
    for image in (few, photo(*size).convert(mode)):
        data = png(size, 8, color_type, image.tobytes(), (b"sBIT", bits))

        result = compress_data(data)

        assert result.outcome is COMPRESSED
        assert chunk(result.data, b"sBIT") == (bits if shape(result.data)[:2] == (8, color_type) else None)
        assert is_displayed_equal(data, compress_data(data, quality=100).data)


@pytest.mark.parametrize("size", SIZES)
def test_background_color_stays_if_the_image_is_transparent(size: tuple[int, int]) -> None:
    background = (b"bKGD", b"\0\x80\0\x40\0\x20")
    transparent, opaque = (
        png(size, 8, c, colored(size, 50, alpha=c == RGB_ALPHA), background) for c in (RGB_ALPHA, RGB)
    )

    assert chunk(compress_data(transparent).data, b"bKGD") == background[1]
    assert shape(compress_data(transparent).data)[1] == RGB_ALPHA
    assert shape(compress_data(opaque).data)[1] == PALETTE


def test_colors_of_transparent_pixels_need_no_palette_entry() -> None:
    image = Image.frombytes("RGBA", (200, 150), colored((200, 150), 200, alpha=True))
    hidden = photo(200, 150).convert("RGBA")
    hidden.putalpha(0)
    image.paste(hidden.crop((0, 0, 100, 150)), (0, 0))
    data = encode_png(image)

    result = compress_data(data)

    assert shape(result.data)[1] == PALETTE
    assert is_displayed_equal(data, result.data)
    # Colours with alpha come first, so the opaque ones need no entry.
    transparencies = chunk(result.data, b"tRNS") or b""
    assert 255 not in transparencies


def _timeline(data: bytes) -> list[tuple[bytes, float]]:
    return [(frame.tobytes(), ms) for frame, ms in zip(frames(data), durations_ms(data), strict=True)]


@pytest.mark.parametrize("traits", ANIMATIONS)
@pytest.mark.parametrize("is_split", [False, True])
def test_animation_keeps_frames_timing_and_chunk_order(traits: str, is_split: bool) -> None:
    data = animation(**ANIMATIONS[traits])
    if is_split:
        data = split_frames(data)

    result = compress_data(data)

    before, after = read(data), read(result.data)
    assert result.outcome is COMPRESSED
    assert _timeline(result.data) == _timeline(data)
    for kind in (b"IHDR", b"acTL", b"fcTL"):
        start = 4 if kind == b"fcTL" else 0
        assert [body[start:] for k, body in after if k == kind] == [body[start:] for k, body in before if k == kind]
    order = [body[:4] for kind, body in after if kind in (b"fcTL", b"fdAT")]
    assert order == [struct.pack(">I", n) for n in range(len(order))]
    assert chunk(result.data, b"tEXt") is None
    assert bool(decode(result.data).info.get("default_image")) is ("default_image" in ANIMATIONS[traits])
    assert compress_data(result.data).data == result.data


def test_scaled_image_keeps_appearance_chunks() -> None:
    data = png((200, 150), 8, RGB, photo(200, 150).tobytes(), *list(APPEARANCE.items())[:4])

    result = compress_data(data, scale=0.5)

    assert (result.width, result.height) == (100, 75)
    for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs"):
        assert chunk(result.data, kind) == APPEARANCE[kind]


def test_rows_longer_than_declared_are_not_fully_inflated() -> None:
    header, bomb = struct.pack(">IIBBBBB", 200, 150, 8, GREY, 0, 0, 0), zlib.compress(bytes(50_000_000), 9)
    chunks = [(b"IHDR", header), (b"IDAT", bomb), (b"IEND", b"")]

    assert png_repair.repair_stream(chunks) is None
    assert png_optimize.optimize(chunks) == write(chunks)


def test_memory_that_oxipng_would_need_is_required_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the process where Pillow raises an exception."""
    monkeypatch.setattr(png_optimize, "require_memory", Mock(side_effect=MemoryError))
    data = encode_png(photo(200, 150))

    result = compress_data(data, quality=100)

    assert (result.outcome, result.data) == (KEPT, data)


def test_larger_images_are_compressed_with_less_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_png(photo(200, 150))
    levels: list[int] = []
    real = oxipng.optimize_from_memory

    def spy(data: bytes, *, level: int, **settings: Any) -> bytes:
        levels.append(level)
        return real(data, level=level, **settings)

    monkeypatch.setattr(oxipng, "optimize_from_memory", spy)
    for max_pixels in (30_000, 29_999, 10_000):
        levels_by_pixels = ((max_pixels, 2, 1), (20_000 + max_pixels // 2, 1, 1), (1e9, 0, 1))
        monkeypatch.setattr(png_optimize, "_LEVELS", {Effort.BALANCED: levels_by_pixels})
        compress_data(data, quality=100)

    assert levels == [2, 1, 0]


def test_lossless_result_is_never_larger_than_that_of_oxipng() -> None:
    for data in (*SOURCES.values(), encode_png(photo(300, 200), compress_level=6)):
        result = compress_data(data, quality=100)

        assert len(result.data) <= len(oxipng.optimize_from_memory(data, level=2)) / 0.95
