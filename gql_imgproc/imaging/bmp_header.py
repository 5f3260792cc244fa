"""The header of a BMP: its size, whether all of its bytes are there, and what Pillow would lose of it."""

from __future__ import annotations

import struct

from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.structure import ImageStructure

#: Run lengths of 8 and of 4 bits.
_RUN_LENGTHS = (1, 2)
#: From version 4 on a header tells a colour space; these two are a screen's.
_SCREEN_SPACES = (b"BGRs", b" niW")


def read_structure(data: bytes) -> ImageStructure:
    try:
        start, header = struct.unpack_from("<II", data, 10)
        if header == 12:
            return ImageStructure(*struct.unpack_from("<HH", data, 18))
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
        rows_bytes = struct.unpack_from("<I", data, 34)[0] if compression in _RUN_LENGTHS else 0
        space = struct.unpack_from("<4s", data, 70)[0] if header >= 108 else _SCREEN_SPACES[0]
    except struct.error:
        raise corrupt_image("The BMP is damaged: it ends before its header does.") from None
    if rows_bytes and start + rows_bytes > len(data):
        # Their rows are not read unless they must be, so that this is all that tells.
        raise corrupt_image("The BMP is incomplete: bytes are missing at its end.")
    # Pillow expands run lengths in Python, some 100 times slower than anything else here.
    return ImageStructure(abs(width), abs(height), cheap=compression not in _RUN_LENGTHS, plain=space in _SCREEN_SPACES)
