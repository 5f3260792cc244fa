"""Damage that browsers overlook does not fail an image; damage that they refuse does. Chromium 156 is the reference."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.codecs.png_chunks import read, write
from gql_imgproc.imaging.options import OutputFormat
from tests.imaging.corpus.compression import COMPRESSED, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import SRGB, encode, photo
from tests.imaging.corpus.png import GREY, PALETTE, RGB, animation, encode_png, png

SIZE = 64, 48
COLOR = (27, 15, 120)
PIXELS = bytes(n for y in range(SIZE[1]) for x in range(SIZE[0]) for n in (x * 3, y * 5, 120))
IHDR = struct.pack(">IIBBBBB", *SIZE, 8, RGB, 0, 0, 0)
STREAM = zlib.compress(b"".join(b"\0" + PIXELS[y * 192 :][:192] for y in range(SIZE[1])), 1)
INTACT_STREAM, WRONG_ADLER = STREAM, STREAM[:-4] + b"\1\2\3\4"
ICC = b"x\0\0" + zlib.compress(SRGB)
OPTIONS: dict[str, dict[str, Any]] = {
    "same format": {},
    "metadata": {"keep_metadata": True},
    "another format": {"format": OutputFormat.WEBP},
    "pixels cropped": {"max_width": 64, "filters": ()},
}


def chunk(kind: bytes, body: bytes, *, flip: int = 0) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) ^ flip)


def assemble(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def with_chunk(kind: bytes, body: bytes, *, flip: int = 0) -> bytes:
    return assemble(chunk(b"IHDR", IHDR), chunk(kind, body, flip=flip), chunk(b"IDAT", STREAM))


WRONG_CHECKSUM = {
    b"pHYs": struct.pack(">IIB", 2_835, 2_835, 1),
    b"iCCP": ICC,
    b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>",
    b"tIME": b"\x07\xe8\1\1\1\1\1",
    b"gAMA": struct.pack(">I", 100_000),
    b"cICP": bytes((9, 16, 0, 1)),
    b"tRNS": b"\0\x1b\0\x0f\0\x78",
    b"acTL": struct.pack(">II", 3, 0),
    b"eXIf": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\6\0\0\0\0\0\0",
}
UNREADABLE = {
    "short cHRM": (b"cHRM", bytes(16)),
    "short sRGB": (b"sRGB", b""),
    "short gAMA": (b"gAMA", b"\0"),
    "short pHYs": (b"pHYs", b"\0"),
    "short tRNS": (b"tRNS", b"\0"),
    "short acTL": (b"acTL", b"\0"),
    "unknown method of iCCP": (b"iCCP", b"x\0\1" + zlib.compress(SRGB)),
    "empty iCCP": (b"iCCP", b""),
    "iCCP without a name": (b"iCCP", b"abc"),
}
HALF = len(STREAM) // 2
NO_END = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", IHDR) + chunk(b"IDAT", STREAM)
SHOWN = {
    "no end": NO_END,
    "half an end": NO_END + b"\0\0\0\0IE",
    "a text that the end of the file cuts": NO_END + b"\0\0\0\x63tEXtComment\0",
    "a sentence instead of an end": NO_END + b"<!-- page served in 0.1 s -->",
    "cut behind the pixels": NO_END[:-4],
    "cut in the checksum of the pixels": NO_END[:-6],
    **{f"checksum of {kind.decode()}": with_chunk(kind, body, flip=1) for kind, body in WRONG_CHECKSUM.items()},
    **{name: with_chunk(kind, body) for name, (kind, body) in UNREADABLE.items()},
    "checksum of IDAT": assemble(chunk(b"IHDR", IHDR), chunk(b"IDAT", STREAM, flip=1)),
    "checksum of the last IDAT": assemble(
        chunk(b"IHDR", IHDR), chunk(b"IDAT", STREAM[:HALF]), chunk(b"IDAT", STREAM[HALF:], flip=1)
    ),
    "checksum of the pixels": assemble(chunk(b"IHDR", IHDR), chunk(b"IDAT", WRONG_ADLER)),
    "no checksum of the pixels": assemble(chunk(b"IHDR", IHDR), chunk(b"IDAT", STREAM[:-4])),
    **{
        f"{kind.decode()} behind the pixels": assemble(
            chunk(b"IHDR", IHDR), chunk(b"IDAT", STREAM), chunk(kind, WRONG_CHECKSUM[kind])
        )
        for kind in (b"gAMA", b"cICP", b"tRNS", b"acTL")
    },
    "two gAMA": assemble(
        chunk(b"IHDR", IHDR),
        chunk(b"gAMA", struct.pack(">I", 45_455)),
        chunk(b"gAMA", struct.pack(">I", 100_000)),
        chunk(b"IDAT", STREAM),
    ),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("data", SHOWN.values(), ids=SHOWN)
def test_png_that_browsers_show_is_compressed(data: bytes, options: dict[str, Any]) -> None:
    result = compress_data(data, **{"quality": 100} | options)

    assert result.outcome is COMPRESSED
    shown = decode(result.data)
    assert shown.size == SIZE
    assert all(abs(a - b) <= 4 for a, b in zip(shown.convert("RGBA").getpixel((9, 3)), (*COLOR, 255), strict=True))
    if "format" not in options:
        assert shown.convert("RGB").tobytes() == PIXELS
        assert b"tRNS" not in result.data
        assert b"acTL" not in result.data
        assert compress_data(result.data, quality=100).data == result.data


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    "data",
    [
        png(SIZE, 8, PALETTE, bytes(64 * 48)),
        png(SIZE, 8, PALETTE, bytes(64 * 48), (b"PLTE", b"")),
        png(SIZE, 8, PALETTE, bytes(64 * 48)).replace(
            chunk(b"IEND", b""), chunk(b"PLTE", bytes(6)) + chunk(b"IEND", b"")
        ),
        assemble(chunk(b"IHDR", IHDR, flip=1), chunk(b"IDAT", STREAM)),
        assemble(chunk(b"IHDR", IHDR), chunk(b"PLTE", bytes(6), flip=1), chunk(b"IDAT", STREAM)),
        assemble(chunk(b"IHDR", IHDR), chunk(b"IDAT", WRONG_ADLER, flip=1)),
        with_chunk(b"fcTL", bytes(26), flip=1),
        NO_END[:-HALF],
        NO_END[: -12 - len(STREAM)],
    ],
    ids=[
        *("no palette", "empty palette", "palette behind the pixels"),
        "header",
        "palette",
        "both checksums of the pixels",
        "frame of an animation",
        "half of the pixels",
        "no pixels",
    ],
)
def test_png_that_browsers_refuse_is_corrupt(data: bytes, options: dict[str, Any]) -> None:
    with pytest.raises(ImageError) as raised:
        compress_data(data, **options)

    assert raised.value.code is ImageErrorCode.CORRUPT


@pytest.mark.parametrize(
    "more",
    [
        [(b"tRNS", b"\0"), (b"PLTE", bytes(range(12)))],
        [(b"PLTE", bytes(range(12))), (b"tRNS", bytes(257))],
        [(b"PLTE", bytes(range(12))), (b"tRNS", b"\xff"), (b"tRNS", b"\0")],
    ],
    ids=["before the palette", "too long", "twice"],
)
def test_transparency_that_browsers_ignore_is_ignored(more: list[tuple[bytes, bytes]]) -> None:
    data = png(SIZE, 8, PALETTE, bytes(64 * 48), *more)

    for format in (OutputFormat.ORIGINAL, OutputFormat.WEBP):
        shown = decode(compress_data(data, format=format).data).convert("RGBA")
        assert shown.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize(("depth", "level", "alpha"), [(2, 1, 0), (2, 2, 255), (2, 5, 255), (4, 5, 0), (4, 21, 255)])
def test_transparent_grey_of_few_bits_is_the_stored_level(depth: int, level: int, alpha: int) -> None:
    # Both store the grey 85, as 1 of 3 and as 5 of 15.
    data = png(SIZE, depth, GREY, b"\x55" * (64 * depth // 8 * 48), (b"tRNS", bytes((0, level))))

    shown = decode(compress_data(data, format=OutputFormat.WEBP).data).convert("RGBA")

    assert shown.getchannel("A").getextrema() == (alpha, alpha)


def test_gamma_counts_next_to_an_unknown_rendering_intent() -> None:
    gamma, intent = chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"sRGB", b"\4")
    plain = assemble(chunk(b"IHDR", IHDR), gamma, chunk(b"IDAT", STREAM))
    data = assemble(chunk(b"IHDR", IHDR), gamma, intent, chunk(b"IDAT", STREAM))

    webp = [compress_data(each, format=OutputFormat.WEBP).data for each in (plain, data)]

    assert webp[0] == webp[1]
    assert b"sRGB" not in compress_data(data).data


def test_stream_with_wrong_chunk_checksum_is_not_inflated_without_end() -> None:
    bomb = zlib.compress(bytes(100_000_000), 9)
    data = assemble(chunk(b"IHDR", IHDR), chunk(b"IDAT", bomb, flip=1))

    with pytest.raises(ImageError, match="checksums of its pixels are wrong"):
        compress_data(data)


@pytest.mark.parametrize("name", [b"JFIF\0\1\1", b"JFIF\0", b"JF", b"Adobe"])
def test_jpeg_with_a_short_segment_is_compressed(name: bytes) -> None:
    source = encode(photo(64, 48), "JPEG", quality=90)
    marker = b"\xff\xee" if name == b"Adobe" else b"\xff\xe0"
    data = source[:2] + marker + struct.pack(">H", len(name) + 2) + name + source[20:]

    result = compress_data(data)

    assert result.outcome is ImageOutcome.COMPRESSED
    assert result.data == compress_data(source).data


def test_damaged_profile_is_not_carried_over() -> None:
    profile = with_chunk(b"iCCP", ICC, flip=1)

    assert b"iCCP" not in compress_data(profile).data
    assert b"iCCP" in compress_data(encode_png(photo(*SIZE), icc_profile=SRGB)).data


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    ("depth", "index", "transparency", "shown"),
    [
        (8, 9, b"", (6, 7, 8, 255)),
        (4, 9, b"", (6, 7, 8, 255)),
        (2, 3, b"", (6, 7, 8, 255)),
        (8, 255, b"\0", (6, 7, 8, 255)),
        (8, 3, b"\xff\xff\x50", (6, 7, 8, 80)),
        (8, 3, b"\xff\xff\x50\0", (6, 7, 8, 80)),
        (8, 1, b"\xff\xff\x50", (3, 4, 5, 255)),
    ],
)
def test_color_that_a_palette_lacks_is_its_last_one(
    depth: int, index: int, transparency: bytes, shown: tuple[int, ...], options: dict[str, Any]
) -> None:
    # Given three colours of which the pixels use one, or one behind them
    samples = index * {8: 0x01, 4: 0x11, 2: 0x55}[depth]
    more = [(b"tRNS", transparency)] if transparency else []
    data = png(
        SIZE, depth, PALETTE, bytes([samples]) * (SIZE[0] * depth // 8 * SIZE[1]), (b"PLTE", bytes(range(9))), *more
    )

    pixel = decode(compress_data(data, quality=100, **options).data).convert("RGBA").getpixel((9, 3))

    assert isinstance(pixel, tuple)
    assert all(abs(a - b) <= 2 for a, b in zip(pixel, shown, strict=True))


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.WEBP])
@pytest.mark.parametrize(("declared", "count"), [(0, 1), (1, 1), (3, 3), (4, 4), (5, 4), (2**31, 4)])
def test_wrong_number_of_frames_is_what_browsers_show(declared: int, count: int, form: OutputFormat) -> None:
    # Given an animation of four frames that declares another number
    chunks = [(kind, struct.pack(">II", declared, 0) if kind == b"acTL" else body) for kind, body in read(animation())]

    result = compress_data(write(chunks), format=form)

    assert getattr(decode(result.data), "n_frames", 1) == count
    if form is OutputFormat.ORIGINAL:
        expected = [struct.pack(">II", count, 0)] if declared else []
        assert [body for kind, body in read(result.data) if kind == b"acTL"] == expected
        assert result.data.count(b"fcTL") == count * bool(declared)
        assert compress_data(result.data).data == result.data


def test_animation_without_an_end_is_corrupt() -> None:
    with pytest.raises(ImageError, match="bytes are missing at its end"):
        compress_data(animation()[:-12])
