"""Reads run-length encoded BMPs. Pillow fails for most that leave out pixels, which browsers show as black."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from gql_imgproc.imaging.errors import corrupt_image

_END_OF_LINE, _END, _DELTA = 0, 1, 2
_FOUR_BITS = 2
_INCOMPLETE = "The BMP is incomplete: bytes are missing at its end."


class RunLengthBmp(BmpImageFile):
    """A file that leaves out pixels is RGB as soon as it is loaded."""

    def load(self) -> Any:
        if self.tile:
            assert self.fp is not None
            self.fp.seek(0)
            self._expand(self.fp.read())
            self.tile = []
        return Image.Image.load(self)

    def _expand(self, data: bytes) -> None:
        (start,), (height, _, _, compression) = (
            struct.unpack_from(f, data, at) for f, at in (("<I", 10), ("<iHHI", 22))
        )
        levels, gaps = _expand(data[start:], self.size, four_bits=compression == _FOUR_BITS)
        image = Image.frombytes("L" if self.mode == "1" else self.mode, self.size, bytes(levels))
        if self.mode == "1":
            image = image.point([0] + [255] * 255, "1")
        if self.palette is not None:
            image.putpalette(self.palette)
        if gaps:
            left_out = bytearray(len(levels))
            for first, end in gaps:
                left_out[first:end] = b"\xff" * (end - first)
            image, self._mode = image.convert("RGB"), "RGB"
            image.paste(0, mask=Image.frombytes("L", self.size, bytes(left_out)))
        self.palette = image.palette
        self.im = (image if height < 0 else image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)).im


def _expand(data: bytes, size: tuple[int, int], *, four_bits: bool) -> tuple[bytearray, list[tuple[int, int]]]:
    """The level of each pixel in the order of the file, and the ranges of pixels that it leaves out."""
    width, height = size
    levels, gaps = bytearray(width * height), list[tuple[int, int]]()
    at = x = row = 0
    while row < len(levels):
        count, value = _take(data, at, 2) if (x, row) != (width, len(levels) - width) or data[at:] else (0, _END)
        at += 2
        if count:
            pixels = (bytes((value >> 4, value & 15)) * 128 if four_bits else bytes((value,)) * 255)[:count]
        elif value > _DELTA:
            stored = _take(data, at, (value + 1) // 2 if four_bits else value)
            # Runs begin at even bytes.
            at += len(stored) + len(stored) % 2
            pixels = (bytes(n for pair in stored for n in (pair >> 4, pair & 15)) if four_bits else stored)[:value]
        else:
            right, down = {_END_OF_LINE: (-x, 1), _END: (-x, height)}.get(value) or _take(data, at, 2)
            at += 2 * (value == _DELTA)
            end = row + down * width + x + right
            if value == _DELTA and (x + right > width or end > len(levels)):
                raise corrupt_image("The BMP is damaged: it refers to pixels outside.")
            if row + x < min(end, len(levels)):
                gaps.append((row + x, min(end, len(levels))))
            x, row = x + right, row + down * width
            continue
        pixels = pixels[: width - x]
        levels[row + x : row + x + len(pixels)] = pixels
        x += len(pixels)
    return levels, gaps


def _take(data: bytes, at: int, count: int) -> bytes:
    taken = data[at : at + count]
    if len(taken) < count:
        raise corrupt_image(_INCOMPLETE)
    return taken
