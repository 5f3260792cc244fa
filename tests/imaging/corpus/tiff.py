"""TIFFs assembled tag by tag, with layouts and byte orders that Pillow reads but does not write."""

from __future__ import annotations

import struct
from typing import Any

from PIL import Image

from tests.imaging.corpus.images import encode, photo, quarters, to_mode

_SHORT, _LONG, _RATIONAL, _LONG8 = 3, 4, 5, 16
Tag = tuple[int, int, tuple[int, ...]]


def tiff(*pages: tuple[list[Tag], list[bytes]], order: str = "<", big: bool = False) -> bytes:
    """Pages of tags and pieces. Tag 273 marks the pieces as strips, tag 324 as tiles."""
    version, offset, number, room = (43, "Q", "Q", 8) if big else (42, "I", "H", 4)
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", version))
    out += struct.pack(order + "HH", 8, 0) if big else b""
    link = len(out)
    out += struct.pack(order + offset, 0)
    for tags, pieces in pages:
        at = []
        for piece in pieces:
            at.append(len(out))
            out += piece + b"\0" * (len(piece) % 2)
        entries_by_tag = dict((tag, (kind, values)) for tag, kind, values in tags)
        for tag, lengths in ((273, 279), (324, 325)):
            if tag in entries_by_tag and pieces:
                entries_by_tag[tag] = _LONG, tuple(at)
                entries_by_tag[lengths] = _LONG, tuple(map(len, pieces))
        entries = b""
        for tag, (kind, values) in sorted(entries_by_tag.items()):
            form = {_SHORT: "H", _LONG: "I", _RATIONAL: "I", _LONG8: "Q"}[kind]
            count = len(values) // 2 if kind == _RATIONAL else len(values)
            packed = struct.pack(f"{order}{len(values)}{form}", *values)
            if len(packed) > room:
                where = len(out)
                out += packed
                packed = struct.pack(order + offset, where)
            entries += struct.pack(order + "HH" + offset, tag, kind, count) + packed.ljust(room, b"\0")
        struct.pack_into(order + offset, out, link, len(out))
        out += struct.pack(order + number, len(entries_by_tag)) + entries
        link = len(out)
        out += struct.pack(order + offset, 0)
    return bytes(out)


def tags(image: Image.Image, photometric: int, **more: tuple[int, ...]) -> list[Tag]:
    bands = len(image.getbands())
    out: list[Tag] = [
        (256, _SHORT, (image.width,)),
        (257, _SHORT, (image.height,)),
        (258, _SHORT, (8,) * bands),
        (259, _SHORT, (1,)),
        (262, _SHORT, (photometric,)),
        (277, _SHORT, (bands,)),
        (278, _SHORT, (image.height,)),
    ]
    return out + [(int(name[1:]), _SHORT, values) for name, values in more.items()]


def in_strips(image: Image.Image, photometric: int, rows: int = 0, **options: Any) -> bytes:
    step = (rows or image.height) * image.width * len(image.getbands())
    pixels = image.tobytes()
    pieces = [pixels[n : n + step] for n in range(0, len(pixels), step)]
    more = {k: options.pop(k) for k in list(options) if k.startswith("t")}
    return tiff(
        ([*tags(image, photometric, **more), (278, _SHORT, (rows or image.height,)), (273, _LONG, ())], pieces),
        **options,
    )


def in_tiles(image: Image.Image, side: int = 64) -> bytes:
    pieces = [
        image.crop((x, y, x + side, y + side)).tobytes()
        for y in range(0, image.height, side)
        for x in range(0, image.width, side)
    ]
    return tiff(([*tags(image, 2, t322=(side,), t323=(side,)), (324, _LONG, ())], pieces))


def planar(image: Image.Image) -> bytes:
    pieces = [band.tobytes() for band in image.split()]
    return tiff(([*tags(image, 2, t284=(2,)), (273, _LONG, ())], pieces))


def with_tag(image: Image.Image, tag: int, *values: int) -> bytes:
    return in_strips(image, 2, **{f"t{tag}": values})


def oriented(orientation: int) -> bytes:
    return in_strips(quarters(), 2, t274=(orientation,))


def sources() -> dict[str, bytes]:
    rgb, grey, rgba = photo(), photo().convert("L"), to_mode(photo(), "RGBA")
    return {
        **{mode: encode(to_mode(rgb, mode), "TIFF") for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16")},
        "white is zero": in_strips(grey, 0),
        "many strips": in_strips(rgb, 2, rows=3),
        "tiles": in_tiles(rgb),
        "planes": planar(rgb),
        "big-endian": in_strips(rgb, 2, order=">"),
        "BigTIFF": in_strips(rgb, 2, big=True),
        "premultiplied alpha": in_strips(rgba, 2, t338=(1,)),
        "a fourth sample without a meaning": in_strips(rgba, 2, t338=(0,)),
        "predictor": encode(rgb, "TIFF", compression="tiff_lzw", tiffinfo={317: 2}),
        "YCbCr": in_strips(rgb.convert("YCbCr"), 6, t530=(1, 1)),
        "Lab": encode(Image.merge("LAB", rgb.split()), "TIFF"),
        "floating point": encode(grey.convert("F"), "TIFF"),
        "32 bits": encode(grey.convert("I"), "TIFF"),
        "pages of different sizes": encode(rgb, "TIFF", save_all=True, append_images=[photo(100, 200)]),
        "fax": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "JPEG": encode(rgb, "TIFF", compression="jpeg"),
        "resolution without a unit": with_unitless_resolution(rgb),
        "a page that is a mask": with_tag(rgb, 254, 4),
    }


def with_unitless_resolution(image: Image.Image) -> bytes:
    """Pixels twice as wide as high."""
    resolution: list[Tag] = [(282, _RATIONAL, (1, 1)), (283, _RATIONAL, (2, 1)), (296, _SHORT, (1,)), (273, _LONG, ())]
    return tiff(([*tags(image, 2), *resolution], [image.tobytes()]))
