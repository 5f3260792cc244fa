"""PNG: displayed as before, over white and over black, and with all that tells how it is to be displayed."""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import oxipng
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter

from gql_imgproc.core.compress import Compressed, ImageLimits, compress
from gql_imgproc.core.options import Options
from gql_imgproc.core.picture import fidelity, png_colours, png_deflate, png_palette
from gql_imgproc.core.picture.png_chunks import SAMPLES, joined, read
from gql_imgproc.states import ImageOutcome

COMPRESSED, KEPT = ImageOutcome.COMPRESSED, ImageOutcome.KEPT
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
#: Below and above the size that oxipng is given.
SIZES = [(40, 30), (200, 150)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png(
    size: tuple[int, int], depth: int, colour: int, rows: bytes, *more: tuple[bytes, bytes], adam7: bool = False
) -> bytes:
    """A PNG of packed rows, neither filtered nor compressed; `more` chunks stand before the pixels."""
    (width, height), bits = size, depth * SAMPLES[colour]
    whole = [rows[y * (width * bits + 7 >> 3) :][: width * bits + 7 >> 3] for y in range(height)]
    if adam7:
        at = bits // 8
        whole = [
            b"".join(whole[y][x * at : x * at + at] for x in range(left, width, right))
            for left, top, right, down in ADAM7
            for y in range(top, height, down)
        ]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, adam7)
    stream = zlib.compress(b"".join(b"\0" + row for row in whole), 0)
    return joined([(b"IHDR", header), *more, (b"IDAT", stream), (b"IEND", b"")])


def samples(data: bytes) -> bytes:
    """The rows of a PNG that is not interlaced as they are before they are filtered, at full depth."""
    chunks = read(data)
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    bits = depth * SAMPLES[colour]
    left, row_bytes = max(1, bits // 8), width * bits + 7 >> 3
    stream = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    above, out = bytes(row_bytes), bytearray()
    for y in range(height):
        kind, *row = stream[y * (row_bytes + 1) : (y + 1) * (row_bytes + 1)]
        for x in range(row_bytes):
            a, b, c = (row[x - left] if x >= left else 0), above[x], (above[x - left] if x >= left else 0)
            paeth = min((a, b, c), key=lambda level: abs(a + b - c - level))
            row[x] = (row[x] + (0, a, b, a + b >> 1, paeth)[kind]) % 256
        above = bytes(row)
        out += above
    return bytes(out)


def saved(image: Image.Image, **how: Any) -> bytes:
    file = BytesIO()
    image.save(file, "PNG", **{"compress_level": 0, **how})
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def displayed(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Over white and over black."""
    rgba = image.convert("RGBA")
    white, black = (Image.new("RGBA", rgba.size, ground) for ground in ("white", "black"))
    return Image.alpha_composite(white, rgba).convert("RGB"), Image.alpha_composite(black, rgba).convert("RGB")


def looks_the_same(one: bytes, other: bytes) -> bool:
    pairs = zip(displayed(opened(one)), displayed(opened(other)), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def psnr(one: bytes, other: bytes) -> float:
    """The worse of over white and over black."""
    pairs = zip(displayed(opened(one)), displayed(opened(other)), strict=True)
    return min(fidelity.psnr(a, b) for a, b in pairs)


def done(data: bytes, **options: Any) -> Compressed:
    return compress(data, Options(**options), ImageLimits())


def shape(data: bytes) -> tuple[int, int, int]:
    """Depth, colour type, and whether it is interlaced."""
    header = read(data)[0][1]
    return header[8], header[9], header[12]


def chunk(data: bytes, kind: bytes) -> bytes | None:
    return dict(read(data)).get(kind)


def photo(width: int, height: int) -> Image.Image:
    """Soft shapes under grain: far more than 256 colours."""
    chance, bands = random.Random(1), []
    for n in range(3):
        soft = Image.radial_gradient("L").rotate(50 * n).resize((width, height))
        grain = Image.frombytes("L", (width, height), chance.randbytes(width * height)).filter(ImageFilter.BLUR)
        bands.append(ImageChops.add(soft, grain, 1.6))
    return Image.merge("RGB", bands)


def drawing(width: int, height: int, ground: str = "#fff0") -> Image.Image:
    """Four flat colours with soft edges on nothing: more than 256 colours, none of which matters much."""
    big = Image.new("RGBA", (width * 4, height * 4), ground)
    pen = ImageDraw.Draw(big)
    for n, colour in enumerate(["#d33", "#38c", "#fa0", "#222"]):
        pen.ellipse((n * width * 0.7, n * height * 0.6, n * width * 0.7 + width, n * height * 0.6 + width), fill=colour)
    return big.resize((width, height), Image.Resampling.LANCZOS)


def steps(size: tuple[int, int], levels: int) -> list[int]:
    """A number below `levels` for each pixel, in runs, as drawings have them."""
    return [(x // 3 + y // 2) % levels for y in range(size[1]) for x in range(size[0])]


def packed(size: tuple[int, int], depth: int) -> bytes:
    """Rows of one sample of at most 8 bits a pixel."""
    numbers, out = steps(size, min(1 << depth, 200)), bytearray()
    for y in range(size[1]):
        row = numbers[y * size[0] : (y + 1) * size[0]]
        row += [0] * (-len(row) % (8 // depth))
        for x in range(0, len(row), 8 // depth):
            out.append(sum(n << 8 - depth * (i + 1) for i, n in enumerate(row[x : x + 8 // depth])))
    return bytes(out)


def coloured(size: tuple[int, int], colours: int, alpha: bool) -> bytes:
    """Rows of RGB or RGBA with a few colours that have nothing to do with each other."""
    chance = random.Random(colours)
    palette = [chance.randbytes(4 if alpha else 3) for _ in range(colours)]
    return b"".join(palette[n] for n in steps(size, colours))


def sources(size: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Every way in which a PNG can store its pixels at 8 bits or less, with pixels that all can show exactly."""
    for depth in (1, 2, 4, 8):
        yield f"grey of {depth} bits", png(size, depth, GREY, packed(size, depth))
        table = random.Random(depth).randbytes(3 << depth)
        yield f"palette of {depth} bits", png(size, depth, PALETTE, packed(size, depth), (b"PLTE", table))
        clear = (b"tRNS", bytes(range(1 << depth)))
        yield (
            f"palette with alpha of {depth} bits",
            png(size, depth, PALETTE, packed(size, depth), (b"PLTE", table), clear),
        )
        yield (
            f"grey with a clear level of {depth} bits",
            png(size, depth, GREY, packed(size, depth), (b"tRNS", b"\0\1")),
        )
    twos = bytes(n * 37 % 256 for n in steps(size, 150) for n in (n, n + 1))
    yield "grey with alpha", png(size, 8, GREY_ALPHA, twos)
    yield "grey with idle alpha", png(size, 8, GREY_ALPHA, bytes(n for level in packed(size, 8) for n in (level, 255)))
    yield "RGB", png(size, 8, RGB, coloured(size, 100, False))
    key = coloured(size, 100, False)[:3]
    yield "RGB with a clear colour", png(size, 8, RGB, coloured(size, 100, False), (b"tRNS", b"\0%c\0%c\0%c" % (*key,)))
    yield "RGB of greys", png(size, 8, RGB, bytes(n for level in packed(size, 8) for n in (level,) * 3))
    yield "RGB with alpha", png(size, 8, RGB_ALPHA, coloured(size, 200, True))
    yield "RGB with idle alpha", saved(photo(*size).convert("RGBA"))
    yield "RGB photograph", saved(photo(*size))
    noisy = photo(*size).convert("RGBA")
    noisy.putalpha(Image.linear_gradient("L").resize(size))
    yield "RGB photograph with alpha", saved(noisy)
    yield "RGB photograph with a clear colour", saved(photo(*size), transparency=photo(*size).getpixel((0, 0)))


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
    assert psnr(data, plain.data) >= 36


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


@pytest.mark.parametrize(("quality", "least_db"), [(10, 36), (50, 36), (60, 38), (90, 44)])
def test_a_drawing_with_alpha_is_faithful_over_any_ground(quality: int, least_db: float) -> None:
    data = saved(drawing(300, 200))
    assert opened(data).getcolors(256) is None

    result = done(data, quality=quality)

    assert shape(result.data)[1] == PALETTE
    assert psnr(data, result.data) >= least_db
    alphas = [opened(file).convert("RGBA").getchannel("A") for file in (data, result.data)]
    assert fidelity.psnr(*alphas) >= least_db
    assert done(result.data, quality=quality).data == result.data


def test_quality_100_is_lossless() -> None:
    for data in (saved(drawing(300, 200)), saved(drawing(300, 200, "#fff").convert("RGB"))):
        assert looks_the_same(data, done(data, quality=100).data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_gate_sees_what_the_mean_does_not(mode: str) -> None:
    one = photo(512, 512).convert(mode)
    strict, lenient = fidelity.Gate(36, 8, 8), fidelity.Gate(36, 8, 24)
    small, moved = one.copy(), one.copy()
    small.paste(ImageChops.offset(Image.new("RGB", (8, 8), "#700"), 0).convert(mode), (200, 200))
    moved.paste(one.crop((0, 0, 8, 8)).point(lambda n: min(255, n + 16)), (0, 0))

    assert fidelity.passes(strict, one, one)
    assert min(fidelity.psnr(one, small), fidelity.psnr(one, moved)) > 36
    assert not fidelity.passes(strict, one, small)
    assert not fidelity.passes(lenient, one, small)
    assert not fidelity.passes(strict, one, moved)
    assert fidelity.passes(lenient, one, moved)


def test_the_gate_measures_what_can_be_seen() -> None:
    grey = Image.new("RGBA", (512, 512), "#8080")
    grey.paste(Image.new("RGBA", (16, 16), "#888"), (0, 0))
    off = grey.copy()
    off.paste(Image.new("RGBA", (16, 16), "#8f8f8f"), (0, 0))
    alpha = grey.copy()
    alpha.putpixel((0, 0), (136, 136, 136, 0))

    # 7 levels are 31 dB; over all pixels, nearly all of which are clear, they would be 61.
    assert fidelity.passes(fidelity.Gate(30, 8, 8), grey, off)
    assert not fidelity.passes(fidelity.Gate(32, 8, 8), grey, off)
    assert fidelity.passes(fidelity.Gate(24, 8, 8), grey, alpha)
    assert not fidelity.passes(fidelity.Gate(26, 8, 8), grey, alpha)


rgba = st.tuples(*[st.integers(0, 255)] * 4)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(rgba, st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_colours_are_joined_to_so_many_and_each_has_one(counts: dict[png_colours.Colour, int], most: int) -> None:
    shown = png_colours.joined(counts, most)

    assert set(shown) == set(counts)
    assert len(set(shown.values())) <= most
    if len(counts) <= most:
        assert all(a == to[3] and (a == 0 or _near((r, g, b, a), to)) for (r, g, b, a), to in shown.items())


def _near(one: png_colours.Colour, other: png_colours.Colour) -> bool:
    """Whether both show the same: what is nearly clear hides colours."""
    return all(abs(a - b) * one[3] <= 2 * 255 for a, b in zip(one, other, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(rgba, min_size=1, max_size=256), st.integers(1, 30), st.integers(1, 30), st.randoms())
def test_few_colours_are_numbered_exactly(
    colours: list[png_colours.Colour], width: int, height: int, chance: random.Random
) -> None:
    rows = b"".join(bytes(chance.choice(colours)) for _ in range(width * height))
    image = Image.frombytes("RGBA", (width, height), rows)

    [made] = png_palette.reduced(image, 50, profile=False)

    assert [a.tobytes() for a in displayed(made)] == [a.tobytes() for a in displayed(image)]


def animation(**how: Any) -> bytes:
    """Four frames of different pieces of a picture, the later ones with holes."""
    frames = [photo(200, 150).convert("RGBA")]
    for n in range(3):
        frame = drawing(200, 150)
        frames.append(ImageChops.offset(frame, 20 * n, 10 * n))
    return saved(frames[0], save_all=True, append_images=frames[1:], **how)


def frames_of(data: bytes) -> list[tuple[bytes, float]]:
    image = Image.open(BytesIO(data))
    out = []
    for n in range(image.n_frames):
        image.seek(n)
        out.append((image.convert("RGBA").tobytes(), image.info.get("duration", 0)))
    return out


def in_pieces(data: bytes) -> bytes:
    """The same animation with the pixels of each frame in three chunks, and words in between."""
    out: list[tuple[bytes, bytes]] = []
    sequence = 0
    for kind, body in read(data):
        if kind == b"fcTL":
            out.append((kind, struct.pack(">I", sequence) + body[4:]))
            sequence += 1
        elif kind in (b"IDAT", b"fdAT"):
            stream = body if kind == b"IDAT" else body[4:]
            third = len(stream) // 3 + 1
            for at in range(0, len(stream), third):
                piece = stream[at : at + third]
                if kind == b"fdAT":
                    piece, sequence = struct.pack(">I", sequence) + piece, sequence + 1
                out.append((kind, piece))
        else:
            out.append((kind, body))
    out.insert(-1, (b"tEXt", b"Comment\0made by hand"))
    return joined(out)


ANIMATIONS: dict[str, dict[str, Any]] = {
    "plain": {"duration": 100},
    "durations and plays": {"duration": [40, 100, 200, 1_000], "loop": 3},
    "disposal": {"duration": 100, "disposal": [0, 1, 2, 1]},
    "blending": {"duration": 100, "blend": [0, 1, 1, 0]},
    "both": {"duration": 100, "disposal": [0, 2, 1, 0], "blend": [0, 1, 0, 1]},
    "default image": {"duration": 100, "default_image": True, "loop": 1},
}


@pytest.mark.parametrize("traits", ANIMATIONS)
@pytest.mark.parametrize("pieces", [False, True])
def test_an_animation_stays_as_it_is(traits: str, pieces: bool) -> None:
    data = animation(**ANIMATIONS[traits])
    if pieces:
        data = in_pieces(data)

    result = done(data)

    before, after = read(data), read(result.data)
    assert result.outcome is COMPRESSED
    assert frames_of(result.data) == frames_of(data)
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

    assert max(given_bytes, default=0) <= png_deflate._OXIPNG_MAX_ROWS_BYTES <= 16_384
    assert bool(given_bytes) is (size[0] < 100)


def test_rows_that_are_longer_than_the_header_says_are_not_read_to_their_end() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)

    assert png_deflate._inflated(bomb, 1_000_000) is None
    assert png_deflate._deflated(bomb, 1_000_000) == bomb


class Quantiser:
    """Stands for libimagequant: 256 colours of which all are `off` by so much, or a refusal."""

    def __init__(self, off: int | None) -> None:
        self.off, self.calls = off, 0

    def __call__(self, data: bytes, width: int, height: int, *_: float) -> tuple[bytes, list[int]]:
        self.calls += 1
        if self.off is None:
            raise RuntimeError("Quality too low")
        image = Image.frombytes("RGBA", (width, height), data).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
        levels = [min(255, level + self.off) for level in image.getpalette() or []]
        return image.tobytes(), [n for at in range(0, len(levels), 3) for n in (*levels[at : at + 3], 255)]


@pytest.mark.parametrize(("off", "colour"), [(0, PALETTE), (40, RGB), (None, RGB)])
def test_libimagequant_stands_behind_the_gate(monkeypatch: pytest.MonkeyPatch, off: int | None, colour: int) -> None:
    quantiser = Quantiser(off)
    monkeypatch.setattr(png_palette, "libimagequant", quantiser)
    # A soft gradient: many colours, for which a palette of 256 is good enough, but not for Pillow's coarse sample.
    monkeypatch.setattr(png_palette, "_PROMISING_DB", math.inf)
    soft = Image.merge("RGB", [Image.radial_gradient("L").rotate(20 * n).resize((200, 150)) for n in range(3)])
    data = saved(soft.point(lambda n: n // 4 + 90))

    result = done(data)

    assert (quantiser.calls, result.outcome, shape(result.data)[1]) == (1, COMPRESSED, colour)
    assert psnr(data, result.data) >= (36 if off == 0 else 99)


@pytest.fixture
def _libimagequant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, where the extra is installed."""
    real = pytest.importorskip("imagequant", reason="needs the extra `imagequant`, which is under the GPL")
    monkeypatch.setattr(png_palette, "libimagequant", real.quantize_raw_rgba_bytes)


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_is_faithful_and_nothing_changes_twice_with_it_or_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = {name: done(data) for name, data in SOURCES.items()}

    for name, result in results.items():
        exact = "photograph" not in name
        assert result.outcome is COMPRESSED
        assert looks_the_same(SOURCES[name], result.data) if exact else psnr(SOURCES[name], result.data) >= 35.9
        assert done(result.data).data == result.data
    monkeypatch.setattr(png_palette, "libimagequant", None)
    for result in results.values():
        assert done(result.data).data == result.data


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_makes_palettes_of_photographs() -> None:
    data = saved(photo(200, 150).filter(ImageFilter.GaussianBlur(3)))

    result = done(data)

    assert shape(result.data) == (8, PALETTE, 0)
    assert psnr(data, result.data) >= 36
    assert psnr(data, done(data, quality=60).data) >= 38
    assert looks_the_same(data, done(data, quality=100).data)
