"""PNG: displayed as before, over white and over black, and with all that tells how it is to be displayed."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import oxipng
import pytest
from PIL import Image

from gql_imgproc.imaging.codecs import png_recompress
from gql_imgproc.imaging.codecs.png_chunks import SAMPLES, read
from tests.imaging.corpus.compressing import COMPRESSED, KEPT, done
from tests.imaging.corpus.displayed import durations_ms, fidelity, frames, looks_the_same, opened
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
    coloured,
    in_pieces,
    packed,
    png,
    samples,
    saved,
    shape,
    sources,
    steps,
)

SOURCES = {f"{name}, {w} x {h}": data for w, h in SIZES for name, data in sources((w, h))}


@pytest.mark.parametrize("name", SOURCES)
def test_every_way_to_store_pixels_is_displayed_as_before(name: str) -> None:
    data = SOURCES[name]

    result = done(data)

    assert result.outcome is COMPRESSED
    assert len(result.data) <= len(data) * 0.95
    assert looks_the_same(data, result.data)


@pytest.mark.parametrize("name", SOURCES)
def test_a_second_pass_changes_nothing(name: str) -> None:
    once = done(SOURCES[name]).data

    twice = done(once)

    assert (twice.outcome, twice.data) == (KEPT, once)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("grey of 2 bits", (2, GREY)),
        ("palette with alpha of 4 bits", (4, PALETTE)),
        ("grey with alpha", (8, PALETTE)),
        ("grey with idle alpha", (8, GREY)),
        ("RGB", (8, PALETTE)),
        ("RGB with a clear colour", (8, PALETTE)),
        ("RGB of greys", (8, GREY)),
        ("RGB with alpha", (8, PALETTE)),
        ("RGB with idle alpha", (8, RGB)),
        ("RGB photograph", (8, RGB)),
        ("RGB photograph with alpha", (8, RGB_ALPHA)),
        ("RGB photograph with a clear colour", (8, RGB)),
    ],
)
def test_pixels_are_stored_in_the_shortest_exact_way(name: str, stored: tuple[int, int]) -> None:
    assert shape(done(SOURCES[f"{name}, 200 x 150"]).data) == (*stored, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("colour", [GREY, RGB, GREY_ALPHA, RGB_ALPHA])
@pytest.mark.parametrize("low_bytes", ["other", "same"])
def test_sixteen_bits_stay_sixteen_bits(size: tuple[int, int], colour: int, low_bytes: str) -> None:
    chance = random.Random(colour)
    palette = [bytes(n for n in chance.randbytes(SAMPLES[colour]) for n in (n, n)) for _ in range(40)]
    if low_bytes == "other":
        palette = [chance.randbytes(2 * SAMPLES[colour]) for _ in range(40)]
    rows = b"".join(palette[n] for n in steps(size, 40))
    data = png(size, 16, colour, rows, (b"gAMA", struct.pack(">I", 100_000)))

    result = done(data)

    assert result.outcome is COMPRESSED
    assert shape(result.data) == (16, colour, 0)
    assert samples(result.data) == rows
    assert chunk(result.data, b"gAMA") == struct.pack(">I", 100_000)
    assert done(result.data).data == result.data


def test_a_clear_colour_of_sixteen_bits_stays() -> None:
    rows = b"".join(struct.pack(">HHH", n, n + 1, 65_535 - n) for n in steps((200, 150), 60))
    data = png((200, 150), 16, RGB, rows, (b"tRNS", rows[:6]))

    result = done(data)

    assert result.outcome is COMPRESSED
    assert (samples(result.data), chunk(result.data, b"tRNS")) == (rows, rows[:6])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("depth", "colour"), [(8, RGB), (8, RGB_ALPHA), (8, GREY), (16, RGB), (16, GREY)])
def test_an_interlaced_picture_stays_interlaced(size: tuple[int, int], depth: int, colour: int) -> None:
    rows = random.Random(2).randbytes(size[0] * depth // 8 * SAMPLES[colour]) * size[1]
    plain, data = (png(size, depth, colour, rows, adam7=adam7) for adam7 in (False, True))
    assert looks_the_same(plain, data)

    result = done(data)

    assert result.outcome is COMPRESSED
    assert shape(result.data)[2] == 1 or shape(result.data)[1] == PALETTE
    assert shape(result.data)[0] == depth
    assert looks_the_same(data, result.data)
    assert done(result.data).data == result.data


@pytest.mark.parametrize("size", SIZES)
def test_an_interlaced_drawing_gets_its_palette(size: tuple[int, int]) -> None:
    data = png(size, 8, RGB, coloured(size, 100, False), adam7=True)

    result = done(data)

    assert shape(result.data)[1] == PALETTE
    assert looks_the_same(data, result.data)


TELLING = {
    b"gAMA": struct.pack(">I", 45_455),
    b"cHRM": struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000),
    b"sRGB": b"\0",
    b"pHYs": struct.pack(">IIB", 11_811, 11_811, 1),
    b"cICP": bytes((1, 13, 0, 1)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", ["few colours", "drawing", "photograph", "idle alpha", "alpha"])
def test_what_tells_how_to_display_goes_along(size: tuple[int, int], rows: str) -> None:
    pixels = {
        "few colours": (RGB, coloured(size, 50, False)),
        "drawing": (RGB, drawing(*size, "#fff").convert("RGB").tobytes()),
        "photograph": (RGB, photo(*size).tobytes()),
        "idle alpha": (RGB_ALPHA, photo(*size).convert("RGBA").tobytes()),
        "alpha": (RGB_ALPHA, drawing(*size).tobytes()),
    }
    profile = b"sRGB\0\0" + zlib.compress(SRGB)
    words = (b"tEXt", b"Comment\0made by hand")
    data = png(size, 8, *pixels[rows], *TELLING.items(), (b"iCCP", profile), words)

    plain, full = done(data), done(data, keep_metadata=True)

    assert plain.outcome is full.outcome is COMPRESSED
    assert {kind: chunk(plain.data, kind) for kind in TELLING} == TELLING
    assert opened(plain.data).info["icc_profile"] == SRGB
    assert chunk(plain.data, b"tEXt") is None
    assert chunk(full.data, b"tEXt") == b"Comment\0made by hand"
    order = [kind for kind, _ in read(plain.data)]
    assert all(order.index(kind) < order.index(b"IDAT") for kind in TELLING)
    assert b"PLTE" not in order or all(order.index(kind) < order.index(b"PLTE") for kind in (b"gAMA", b"iCCP"))
    assert fidelity(data, plain.data) >= 36


def test_a_profile_of_grey_or_of_colours_keeps_its_kind_of_pixels() -> None:
    greys = png((200, 150), 8, RGB, bytes(n for n in packed((200, 150), 8) for n in (n,) * 3), (b"iCCP", b"x\0\0"))
    alphas = png(
        (200, 150), 8, GREY_ALPHA, bytes(n for n in packed((200, 150), 8) for n in (n, n)), (b"iCCP", b"x\0\0")
    )

    # A palette is of RGB.
    assert shape(done(greys).data) == (8, PALETTE, 0)
    assert shape(done(alphas).data) == (8, GREY_ALPHA, 0)


@pytest.mark.parametrize(
    "curve", [(b"gAMA", struct.pack(">I", 100_000)), (b"cICP", bytes((9, 16, 0, 1)))], ids=["linear light", "HDR"]
)
def test_colours_on_another_curve_are_not_approximated(curve: tuple[bytes, bytes]) -> None:
    pixels = drawing(200, 150, "#fff").convert("RGB").tobytes()
    data = png((200, 150), 8, RGB, pixels, curve)

    result = done(data)

    assert shape(done(png((200, 150), 8, RGB, pixels)).data)[1] == PALETTE
    assert shape(result.data)[1] == RGB
    assert looks_the_same(data, result.data)
    assert chunk(result.data, curve[0]) == curve[1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("colour", "pixels", "bits", "expected"),
    [
        (RGB, "few", b"\5\6\5", b"\5\6\5"),
        (RGB_ALPHA, "few", b"\5\6\5\1", b"\5\6\5"),
        (RGB, "photo", b"\5\6\5", b"\5\6\5"),
        (RGB_ALPHA, "photo", b"\5\6\5\1", b"\5\6\5"),
        (GREY, "grey", b"\4", b"\4"),
        (GREY_ALPHA, "grey", b"\4\2", b"\4"),
        (RGB, "grey", b"\3\4\5", b"\5"),
    ],
)
def test_significant_bits_are_told_as_the_new_pixels_need(
    size: tuple[int, int], colour: int, pixels: str, bits: bytes, expected: bytes
) -> None:
    mode = {GREY: "L", GREY_ALPHA: "LA", RGB: "RGB", RGB_ALPHA: "RGBA"}[colour]
    greys = Image.frombytes("L", size, packed(size, 8))
    few = Image.frombytes("RGB", size, coloured(size, 90, False))
    image = {"few": few, "photo": photo(*size), "grey": greys}[pixels].convert(mode)
    data = png(size, 8, colour, image.tobytes(), (b"sBIT", bits))

    result = done(data)

    assert result.outcome is COMPRESSED
    assert chunk(result.data, b"sBIT") == expected
    assert looks_the_same(data, result.data)


@pytest.mark.parametrize("size", SIZES)
def test_a_background_colour_stays_where_it_shows_through(size: tuple[int, int]) -> None:
    ground = (b"bKGD", b"\0\x80\0\x40\0\x20")
    clear, solid = (png(size, 8, c, coloured(size, 50, c == RGB_ALPHA), ground) for c in (RGB_ALPHA, RGB))

    assert chunk(done(clear).data, b"bKGD") == ground[1]
    assert shape(done(clear).data)[1] == RGB_ALPHA
    assert shape(done(solid).data)[1] == PALETTE


def test_colours_that_nobody_sees_need_no_place_in_the_palette() -> None:
    image = Image.frombytes("RGBA", (200, 150), coloured((200, 150), 200, True))
    hidden = photo(200, 150).convert("RGBA")
    hidden.putalpha(0)
    image.paste(hidden.crop((0, 0, 100, 150)), (0, 0))
    data = saved(image)

    result = done(data)

    assert shape(result.data)[1] == PALETTE
    assert looks_the_same(data, result.data)
    # Those with alpha come first, so that the others need no entry.
    transparencies = chunk(result.data, b"tRNS") or b""
    assert 255 not in transparencies


def _timeline(data: bytes) -> list[tuple[bytes, float]]:
    return [(frame.tobytes(), ms) for frame, ms in zip(frames(data), durations_ms(data), strict=True)]


@pytest.mark.parametrize("traits", ANIMATIONS)
@pytest.mark.parametrize("pieces", [False, True])
def test_an_animation_stays_as_it_is(traits: str, pieces: bool) -> None:
    data = animation(**ANIMATIONS[traits])
    if pieces:
        data = in_pieces(data)

    result = done(data)

    before, after = read(data), read(result.data)
    assert result.outcome is COMPRESSED
    assert _timeline(result.data) == _timeline(data)
    for kind in (b"IHDR", b"acTL", b"fcTL"):
        start = 4 if kind == b"fcTL" else 0
        assert [body[start:] for k, body in after if k == kind] == [body[start:] for k, body in before if k == kind]
    order = [body[:4] for kind, body in after if kind in (b"fcTL", b"fdAT")]
    assert order == [struct.pack(">I", n) for n in range(len(order))]
    assert chunk(result.data, b"tEXt") is None
    assert bool(opened(result.data).info.get("default_image")) is ("default_image" in ANIMATIONS[traits])
    assert done(result.data).data == result.data


def test_a_scaled_picture_keeps_what_tells_how_to_display() -> None:
    data = png((200, 150), 8, RGB, photo(200, 150).tobytes(), *list(TELLING.items())[:4])

    result = done(data, scale=0.5)

    assert (result.width, result.height) == (100, 75)
    for kind in (b"gAMA", b"cHRM", b"sRGB", b"pHYs"):
        assert chunk(result.data, kind) == TELLING[kind]


@pytest.mark.parametrize("size", [(200, 150), (90, 90), (73, 73), (40, 30)])
def test_oxipng_is_given_so_little_that_nobody_waits(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    given_bytes: list[int] = []
    real = oxipng.optimize_from_memory

    def spy(data: bytes, **how: Any) -> bytes:
        given_bytes.append(len(samples(data)))
        return real(data, **how)

    monkeypatch.setattr(oxipng, "optimize_from_memory", spy)
    for mode in ("L", "RGB", "RGBA"):
        done(saved(photo(*size).convert(mode)))

    assert max(given_bytes, default=0) <= png_recompress._OXIPNG_MAX_ROWS_BYTES <= 16_384
    assert bool(given_bytes) is (size[0] < 100)


def test_rows_that_are_longer_than_the_header_says_are_not_read_to_their_end() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)

    assert png_recompress._inflate(bomb, 1_000_000) is None
    assert png_recompress._recompress_stream(bomb, 1_000_000) == bomb
