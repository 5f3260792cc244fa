"""BMPs of every version, assembled byte by byte."""

from __future__ import annotations

import struct

from PIL import Image

from tests.imaging.corpus.images import drawing, encode, photo

WIDTH, HEIGHT = 120, 80


def bmp(
    bits: int, rows: bytes, *, compression: int = 0, extra: bytes = b"", height: int = HEIGHT, width: int = WIDTH
) -> bytes:
    """`extra` follows the first 40 bytes of the header: masks, the rest of a longer header, or a palette."""
    header_bytes = 124 if len(extra) >= 84 else 40
    header = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, bits, compression, len(rows), 0, 0, 0, 0)
    start = 14 + len(header) + len(extra)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + extra + rows


def rows_of(image: Image.Image, raw: str) -> bytes:
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", raw)


def version_5(colours: bytes, profile: bytes = b"", masks: tuple[int, int, int, int] = (0, 0, 0, 0)) -> bytes:
    """The header of 124 bytes after its first 40: masks, colour space, and the offset of the profile."""
    at = 124 + WIDTH * HEIGHT * 3
    return struct.pack("<IIII4s36xIIIIIII", *masks, colours, 0, 0, 0, 4, at, len(profile), 0)


def run_lengths(image: Image.Image) -> bytes:
    out = bytearray()
    for y in reversed(range(image.height)):
        row = image.crop((0, y, image.width, y + 1)).tobytes()
        at = 0
        while at < len(row):
            run = 1
            while at + run < len(row) and row[at + run] == row[at] and run < 255:
                run += 1
            out += bytes((run, row[at]))
            at += run
        out += b"\0\0"
    return bytes(out + b"\0\1")


def sources() -> dict[str, bytes]:
    rgb = photo(WIDTH, HEIGHT)
    few = drawing(WIDTH, HEIGHT, "#fff").convert("RGB").quantize(40)
    rgba = rgb.copy()
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    palette = b"".join(bytes(few.getpalette()[n : n + 3][::-1]) + b"\0" for n in range(0, 120, 3)).ljust(1024, b"\0")
    flat = few.convert("RGB")
    five = bytes(
        n for r, g, b in rgb.get_flattened_data() for n in struct.pack("<H", r >> 3 << 10 | g >> 3 << 5 | b >> 3)
    )
    masks = struct.pack("<III", 0x7C00, 0x3E0, 0x1F)
    old = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, 24)
    return {
        "1 bit": encode(rgb.convert("1"), "BMP"),
        "8 bits": encode(few, "BMP"),
        "grey": encode(rgb.convert("L"), "BMP"),
        "24 bits": encode(rgb, "BMP"),
        "few colours": encode(flat, "BMP"),
        "32 bits with alpha": encode(rgba, "BMP"),
        "16 bits": bmp(16, five),
        "16 bits with masks": bmp(16, five, compression=3, extra=masks),
        "top down": bmp(24, flat.tobytes("raw", "BGR"), height=-HEIGHT),
        "OS/2": b"BM" + struct.pack("<IHHI", 26 + WIDTH * HEIGHT * 3, 0, 0, 26) + old + rows_of(flat, "BGR"),
        "run lengths": bmp(8, run_lengths(few), compression=1, extra=palette),
        "sRGB, version 5": bmp(24, rows_of(flat, "BGR"), extra=version_5(b"BGRs")),
        "a profile, version 5": bmp(24, rows_of(flat, "BGR"), extra=version_5(b"DEBM", b"profile")) + b"profile",
    }


def masked(bits: int, header_bytes: int, compression: int, masks: tuple[int, int, int, int], *pixels: bytes) -> bytes:
    """One row of RGBA pixels, stored by masks, which are in the header or behind it."""

    def word(pixel: bytes) -> int:
        shifts = [(mask & -mask).bit_length() - 1 if mask else 0 for mask in masks]
        levels = [mask >> shift for mask, shift in zip(masks, shifts, strict=True)]
        return sum((n * top + 127) // 255 << shift for n, top, shift in zip(pixel, levels, shifts, strict=True))

    row = b"".join(word(pixel).to_bytes(bits // 8, "little") for pixel in pixels)
    row += bytes(-len(row) % 4)
    header = struct.pack("<IiiHHIIiiII", header_bytes, len(pixels), 1, 1, bits, compression, len(row), 0, 0, 0, 0)
    header += struct.pack("<IIII", *masks)[: max(header_bytes - 40, {3: 12, 6: 16}.get(compression, 0))]
    header += b"BGRs".ljust(header_bytes - 56, b"\0") if header_bytes > 56 else b""
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(row), 0, 0, start) + header + row
