"""BMPs of 16 and 32 bits look as in Chromium 156, alpha too."""

from __future__ import annotations

import struct

import pytest

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import bmp
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode

ARGB, RGBA, ABGR = (
    (0xFF0000, 0xFF00, 0xFF, 0xFF << 24),
    (0xFF, 0xFF00, 0xFF0000, 0xFF << 24),
    (0xFF << 24, 0xFF0000, 0xFF00, 0xFF),
)
XRGB, A1555, X555 = (*ARGB[:3], 0), (0x7C00, 0x3E0, 0x1F, 0x8000), (0x7C00, 0x3E0, 0x1F, 0)
A4444, X565, B565 = (0xF00, 0xF0, 0xF, 0xF000), (0xF800, 0x7E0, 0x1F, 0), (0x1F, 0x7E0, 0xF800, 0)
PIXEL, OTHER = bytes((67, 95, 77, 68)), bytes((200, 3, 90, 255))
#: Bits, size of the header, compression, masks, and what a browser shows of PIXEL.
VARIANTS = {
    "32 bits, version 3, alpha": (32, 56, 3, ARGB, (67, 95, 77, 68)),
    "32 bits, version 4, alpha": (32, 108, 3, RGBA, (67, 95, 77, 68)),
    "32 bits, version 5, alpha": (32, 124, 3, ABGR, (67, 95, 77, 68)),
    "32 bits, version 4, uncompressed": (32, 108, 0, ARGB, (67, 95, 77, 68)),
    "32 bits, version 5, uncompressed": (32, 124, 0, ARGB, (67, 95, 77, 68)),
    "32 bits, version 5, no alpha": (32, 124, 0, XRGB, (67, 95, 77, 255)),
    "32 bits, version 1, uncompressed": (32, 40, 0, ARGB, (67, 95, 77, 255)),
    "32 bits, version 1, masks": (32, 40, 3, RGBA, (67, 95, 77, 255)),
    "32 bits, version 1, alpha masks": (32, 40, 6, ARGB, (67, 95, 77, 68)),
    "1-5-5-5, version 4": (16, 108, 3, A1555, (66, 99, 74, 0)),
    "1-5-5-5, version 5, uncompressed": (16, 124, 0, A1555, (66, 99, 74, 255)),
    "5-5-5, version 1, uncompressed": (16, 40, 0, X555, (66, 99, 74, 255)),
    "5-6-5, version 1": (16, 40, 3, X565, (66, 93, 74, 255)),
    "5-6-5 in reverse, version 1": (16, 40, 3, B565, (66, 93, 74, 255)),
    "4-4-4-4, version 4": (16, 108, 3, A4444, (68, 102, 85, 68)),
    "4-4-4-4, version 1": (16, 40, 3, A4444, (68, 102, 85, 255)),
}


@pytest.mark.parametrize(("bits", "header_bytes", "compression", "masks", "shown"), VARIANTS.values(), ids=VARIANTS)
def test_alpha_and_colors_are_carried_into_another_format(
    bits: int, header_bytes: int, compression: int, masks: tuple[int, int, int, int], shown: tuple[int, ...]
) -> None:
    data = bmp.masked(bits, header_bytes, compression, masks, PIXEL, OTHER, PIXEL)

    result = compress_data(data, format=OutputFormat.PNG)

    pixel = decode(result.data).convert("RGBA").getpixel((0, 0))
    assert (pixel[3:], pixel[:3] if shown[3] else ()) == (shown[3:], shown[:3] if shown[3] else ())


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant[4][3] < 255])
def test_alpha_stays_in_a_cropped_bmp(name: str) -> None:
    *variant, shown = VARIANTS[name]
    data = bmp.masked(*variant, OTHER, PIXEL, PIXEL)

    cropped = compress_data(data, crop=Crop(1, 0, 1, 1)).data

    as_png = decode(compress_data(cropped, format=OutputFormat.PNG).data).convert("RGBA")
    assert as_png.size == (1, 1)
    assert as_png.getpixel((0, 0))[3] == shown[3]
    assert compress_data(cropped).data == cropped


@pytest.mark.parametrize("name", VARIANTS)
def test_bmp_with_bits_that_may_be_alpha_is_kept(name: str) -> None:
    *variant, shown = VARIANTS[name]
    data = bmp.masked(*variant, *([PIXEL, OTHER] * 2_000))

    result = compress_data(data)

    has_fourth_sample = variant[3][3] != 0 and (variant[2] == 0 or shown[3] < 255)
    if has_fourth_sample:
        assert (result.outcome, result.data) == (KEPT, data)
    if variant[3] in (XRGB, X555, X565):
        assert result.outcome is COMPRESSED
        assert decode(result.data).convert("RGB").getpixel((0, 0)) == shown[:3]


@pytest.mark.parametrize(
    "data",
    [
        bmp.masked(32, 40, 3, (0x3FF00000, 0xFFC00, 0x3FF, 0), PIXEL),
        bmp.masked(32, 108, 3, (0x3FF00000, 0xFFC00, 0x3FF, 3 << 30), PIXEL),
        bmp.masked(32, 40, 3, (0x0FF000, 0xFF00000, 0xFF, 0), PIXEL),
        bmp.bmp(24, b"\xff\xd8\xff", compression=4),
        bmp.bmp(2, bytes(64)),
        bmp.bmp(64, bytes(64)),
    ],
    ids=["10 bits", "10 bits and alpha", "crossing bytes", "JPEG inside", "2 bits", "64 bits"],
)
def test_rare_bmp_is_unsupported_and_not_damaged(data: bytes) -> None:
    with pytest.raises(ImageError, match="not supported") as raised:
        compress_data(data)

    assert raised.value.code is ImageErrorCode.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("name", ["grey", "run lengths"])
def test_palette_with_more_colors_than_pixels_can_have_is_read(name: str) -> None:
    # Given 300 colours, of which 44 are behind the palette of 256,
    data = bmp.sources()[name].replace(b"\x7c\0\0\0", b"\x28\0\0\0", 1)
    (start,) = struct.unpack_from("<I", data, 10)
    assert start == 14 + 40 + 1024
    large = data[:10] + struct.pack("<I", start + 176) + data[14:46] + struct.pack("<I", 300) + data[50:start]
    large += b"\xff" * 176 + data[start:]

    results = [decode(compress_data(each, format=OutputFormat.PNG, quality=100).data) for each in (data, large)]

    assert results[0].convert("RGB").tobytes() == results[1].convert("RGB").tobytes()
    assert compress_data(large).data == large


@pytest.mark.parametrize("name", VARIANTS)
def test_incomplete_bmp_is_corrupt(name: str) -> None:
    data = bmp.masked(*VARIANTS[name][:4], PIXEL, OTHER)

    with pytest.raises(ImageError) as raised:
        compress_data(data[:-1])

    assert raised.value.code is ImageErrorCode.CORRUPT
