"""Reads BMPs of 16 and 32 bits by the bit masks of their samples, alpha too. Pillow knows a few masks, none of 16 bits
with alpha, and takes alpha for padding in an uncompressed file of version 4 or later."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any

from PIL import Image, ImageFile

from gql_imgproc.imaging.errors import unsupported

_UNCOMPRESSED, _MASKS, _ALPHA_MASKS = 0, 3, 6
#: Offset of the masks: in the header from version 2 on, after one of version 1.
_MASKS_AT = 54
#: Least sizes of the header that have a mask for alpha: with masks, and with the usual order of samples. Browsers
#: ignore the fourth byte of an older file.
_ALPHA_HEADER_BYTES, _UNCOMPRESSED_ALPHA_HEADER_BYTES = 56, 108
_USUAL_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 32: (0xFF0000, 0xFF00, 0xFF)}


def read_masks(data: bytes) -> tuple[int, ...] | None:
    """Masks of red, green, blue and, if there is one, alpha; None if the samples are not defined by masks.

    Raises ImageError for masks that are not supported.
    """
    header_bytes, bits, compression = struct.unpack_from("<I10xHI", data, 14)
    if bits not in _USUAL_MASKS or header_bytes < 40 or compression not in (_UNCOMPRESSED, _MASKS, _ALPHA_MASKS):
        return None
    is_uncompressed = compression == _UNCOMPRESSED
    has_alpha = header_bytes >= (_UNCOMPRESSED_ALPHA_HEADER_BYTES if is_uncompressed else _ALPHA_HEADER_BYTES)
    masks = _USUAL_MASKS[bits] if is_uncompressed else struct.unpack_from("<III", data, _MASKS_AT)
    if (has_alpha and (bits == 32 or not is_uncompressed)) or compression == _ALPHA_MASKS:
        masks += struct.unpack_from("<I", data, _MASKS_AT + 12)
    masks = masks if len(masks) == 4 and masks[3] else masks[:3]
    if not all(_is_supported(mask, bits) for mask in masks):
        raise unsupported("The BMP stores its samples in an unusual order of bits, which is not supported.")
    return masks


def _is_supported(mask: int, bits: int) -> bool:
    """Whether the bits are adjacent, and of 32 bits in one byte."""
    lowest = mask & -mask
    return not mask & mask + lowest and (mask < 1 << 16 if bits == 16 else _byte(mask) == _byte(lowest))


def _byte(mask: int) -> int:
    """The byte of the highest bit."""
    return max(0, mask.bit_length() - 1) // 8


class MaskedBmp(ImageFile.ImageFile):
    format = "BMP"
    #: Whether the bits that no mask covers vary. Some programs show them as alpha. Known after the pixels are loaded.
    spare_bits_vary = False

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        self._masks = read_masks(self._data) or ()
        self._start, self._width, height, self._bits = struct.unpack_from("<I4xii2xH", self._data, 10)
        self._direction = 1 if height < 0 else -1
        self._size, self._mode = (self._width, abs(height)), "RGB" + "A" * (len(self._masks) - 3)
        per_metre = struct.unpack_from("<ii", self._data, 38)
        self.info["dpi"] = tuple(n * 0.0254 for n in per_metre)
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), self._start, self._mode)]

    def load(self) -> Any:
        if self.tile:
            self.im = Image.merge(self.mode, self._read_bands()).im
            self.tile = []
        return Image.Image.load(self)

    def _read_bands(self) -> list[Image.Image]:
        mode, row_bytes = ("I;16", self._width * 2 + 3 & ~3) if self._bits == 16 else ("RGBA", self._width * 4)
        rows = self._data[self._start : self._start + row_bytes * self.height]
        stored = Image.frombytes(mode, self.size, rows, "raw", mode, row_bytes, self._direction)
        if self._bits == 16:
            words = stored.convert("I")
            spare = words.point(_levels(0xFFFF & ~sum(self._masks), 16), "L")
            self.spare_bits_vary = len(set(spare.getextrema())) > 1
            return [words.point(_levels(mask, 16), "L") for mask in self._masks]
        planes, used = stored.split(), [_byte(mask) for mask in self._masks]
        self.spare_bits_vary = any(len(set(planes[n].getextrema())) > 1 for n in range(4) if n not in used)
        bands = [(planes[n], mask >> 8 * n) for n, mask in zip(used, self._masks, strict=True)]
        return [plane if mask == 255 else plane.point(_levels(mask, 8)) for plane, mask in bands]


@lru_cache(maxsize=16)
def _levels(mask: int, bits: int) -> list[int]:
    """The level, 0 to 255, for each value of the stored word or byte."""
    lowest = max(1, mask & -mask)
    highest = max(1, mask // lowest)
    return [(255 * ((value & mask) // lowest) * 2 + highest) // (2 * highest) for value in range(1 << bits)]
