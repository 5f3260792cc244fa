"""Run-length encoded BMPs look as in Chromium 156, which shows pixels that a file leaves out as black."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import OutputFormat
from tests.imaging.corpus import bmp
from tests.imaging.corpus.compression import KEPT, compress_data
from tests.imaging.corpus.displayed import decode

SIZE = WIDTH, HEIGHT = 8, 4
PALETTE = b"".join(bytes((n, 255 - n, n // 2, 0)) for n in range(256))
GREYS = b"".join(bytes((n, n, n, 0)) for n in range(256))
EIGHT_BITS, FOUR_BITS = 1, 2
#: Rows of a complete image, from the last one up.
ROWS = b"".join(bytes((8, level, 0, 0)) for level in (1, 2, 3, 4))
#: Compression, bytes, and the level of the pixels (0, 3), (7, 3), (4, 2) and (0, 0); None is black.
SHOWN: dict[str, tuple[int, bytes, tuple[int | None, ...]]] = {
    "complete": (EIGHT_BITS, ROWS + b"\0\1", (1, 1, 2, 4)),
    "no end mark": (EIGHT_BITS, ROWS, (1, 1, 2, 4)),
    "no end of the last row": (EIGHT_BITS, ROWS[:-2], (1, 1, 2, 4)),
    "an early end": (EIGHT_BITS, b"\x08\1\0\0\x08\2\0\0\0\1", (1, 1, 2, None)),
    "an early end in a row": (EIGHT_BITS, b"\x08\1\0\0\5\2\0\1", (1, 1, 2, None)),
    "short rows": (EIGHT_BITS, b"\3\1\0\0\3\2\0\0\3\3\0\0\3\4\0\0\0\1", (1, None, None, 4)),
    "a jump to the right and up": (EIGHT_BITS, b"\x08\1\0\0\2\2\0\2\3\1\3\5\0\0\x08\4\0\1", (1, 1, None, 4)),
    "a jump at the start": (EIGHT_BITS, b"\0\2\0\1\x08\3\0\1", (None, None, 3, None)),
    "runs beyond their row": (EIGHT_BITS, b"\x0c\1\0\0\x08\2\0\0\0\1", (1, 1, 2, None)),
    "pixels one by one": (EIGHT_BITS, b"\0\x08\1\1\1\1\1\1\1\1\0\0\0\7\5\5\5\5\6\6\6\0\0\1", (1, 1, 6, None)),
    "4 bits": (FOUR_BITS, b"\x08\x12\0\0\x08\x33\0\0\x08\x33\0\0\x08\x44\0\1", (1, 2, 3, 4)),
    "4 bits, one by one": (FOUR_BITS, b"\0\x08\x12\x34\x56\x78\0\0\0\7\x33\x33\x34\x40\0\1", (1, 8, 3, None)),
    "4 bits, an early end": (FOUR_BITS, b"\x08\x11\0\1", (1, 1, None, None)),
}


def encode(compression: int, rows: bytes, *, palette: bytes = PALETTE, height: int = HEIGHT) -> bytes:
    # A longer palette follows a header of version 5.
    bits, extra = (8, bytes(84) + palette) if compression == EIGHT_BITS else (4, palette[:64])
    return bmp.bmp(bits, rows, compression=compression, extra=extra, width=WIDTH, height=height)


@pytest.mark.parametrize("palette", [PALETTE, GREYS], ids=["colours", "greys"])
@pytest.mark.parametrize("name", SHOWN)
def test_pixels_look_as_in_browsers(name: str, palette: bytes) -> None:
    compression, rows, levels = SHOWN[name]
    data = encode(compression, rows, palette=palette)

    kept, changed = compress_data(data), decode(compress_data(data, format=OutputFormat.PNG).data).convert("RGB")

    expected = [tuple(palette[4 * n : 4 * n + 3][::-1]) if n is not None else (0, 0, 0) for n in levels]
    assert (kept.outcome, kept.data) == (KEPT, data)
    assert [changed.getpixel(at) for at in ((0, 3), (7, 3), (4, 2), (0, 0))] == expected


def test_rows_from_the_top_are_not_turned() -> None:
    data = encode(EIGHT_BITS, ROWS + b"\0\1", height=-HEIGHT)

    changed = decode(compress_data(data, format=OutputFormat.PNG).data).convert("RGB")

    assert (changed.getpixel((0, 0)), changed.getpixel((0, 3))) == ((0, 254, 1), (2, 251, 4))


@pytest.mark.parametrize(
    "rows",
    [b"", ROWS[:-3], ROWS[:3], b"\0\x08\1\1\1", b"\x08\1\0\0\0\2\x14\0\0\1", b"\0\2\0\x14\0\1", b"\0\2\0"],
    ids=[
        "nothing",
        "half a row",
        "half a run",
        "half of the pixels",
        "a jump to outside",
        "a jump above",
        "half a jump",
    ],
)
def test_damaged_run_lengths_are_corrupt(rows: bytes) -> None:
    with pytest.raises(ImageError) as raised:
        compress_data(encode(EIGHT_BITS, rows), format=OutputFormat.PNG)

    assert raised.value.code is ImageErrorCode.CORRUPT
