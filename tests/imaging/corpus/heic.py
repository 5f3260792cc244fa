"""HEIC files, put together from boxes around two images that x265 encoded."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence

WIDTH, HEIGHT = 128, 64
#: Red and green above blue and white, and the levels 255 and 255 above 0 and 128: `hvcC`, and the image.
QUARTERS = (
    "AQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoBAgQWW6kkpr"
    "m4CGgwIAAAMAMgAAAwACEGIAAQAHRAHBcrAiQA==",
    "AAAAqygBrw7g0WYBgOTr/gFa///AWjkP7F9IG1vJP/nVV2n+3Tp//9aGJkEb7OxHB7GuJirNpXRfRPehvZ7prYlmDRyT375ysq2jRexSmMrNUpzS"
    "SiuUd/mDiaT6YIYrFZ2kf+wdPcKdg+f9N/TTaUX92Ctx2JMMZbIXfD/QJlycSwVmOU5PNFgoVZ8YOj/s/Q//yRPF/9Ngs3LuqT+6V8pP0lxKH7p8"
    "dVCf6P6XgA==",
)
LEVELS = (
    "AQQIAAAAn/gAAAAAHvAA/Pz4+AAADwNgAAEAF0ABDAH//wQIAAADAJ/4AAADAAAeugJAYQABACdCAQEECAAAAwCf+AAAAwAAHsBAgQWW6kkprmwI"
    "AAADAMgAAAMACEBiAAEAB0QBwXKwIkA=",
    "AAABWigBrh3A0XwT+Qzf8r9dWtYf/fHbUBHFzSv5wwIKKX2Hh/X28kV6DdjKsbgM7JyLXpr7isH7cV6mjgpZDoLrde7cWpEXP1jUtwJosPyB6rPU"
    "nVg+bnqCZ197Udi7i9c+lcFTjtvYkzS/w/GQrvXkbRAbCOejBSr8effUXz3xbpuvt5yKT9XBWLoaJhl/yY9gpq38zCaN2vHQAWp67321v79z7OWa"
    "HPhb9J5vgklyeRaj3ZiU5v3FX9+IYGQHHuNLykOaeD/EmRd8PZODkcraCqPDs9p4MSxbM8uhnYHtataUp1d/bEFkEZl+iYnqCQRRzw6qtVoJWETD"
    "23p4i8jDmi+q1eGgg27RA7SRc9ErC0we23avioVi5AUV8i4rcKECBvtXQ7vK2gKwhsT7TfHI3iLnpZDDyPicefA1BgpSlODRaMYt1yW0M669A/WE"
    "d75TnhoffUoAr//pkf4=",
)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


class Item:
    """An image, or metadata, with its properties and the items that it refers to."""

    def __init__(
        self,
        kind: bytes,
        content: bytes,
        properties: Sequence[bytes] = (),
        references: Sequence[tuple[bytes, Sequence[int]]] = (),
    ) -> None:
        self.kind, self.content, self.properties, self.references = kind, content, properties, references


def size(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return full_box(b"ispe", struct.pack(">II", width, height))


def coded(image: tuple[str, str] = QUARTERS, *properties: bytes, **references: Sequence[int]) -> Item:
    """A HEVC image of 128 x 64 pixels."""
    config, content = (base64.b64decode(text) for text in image)
    names = [(name.encode(), numbers) for name, numbers in references.items()]
    return Item(b"hvc1", content, (box(b"hvcC", config), *(properties or (size(),))), names)


def grid(columns: int, rows: int, width: int, height: int, tiles: Sequence[int]) -> Item:
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return Item(b"grid", layout, (size(width, height),), [(b"dimg", tiles)])


def exif(tiff: bytes, item: int = 1) -> Item:
    return Item(b"Exif", bytes(4) + tiff, (), [(b"cdsc", [item])])


def build(*items: Item, brand: bytes = b"heic") -> bytes:
    """The first item is the primary one. They are numbered from 1."""
    numbered = list(enumerate(items, start=1))
    head = box(b"ftyp", brand, bytes(4), b"mif1" + brand)
    start = len(head) + len(_meta(numbered, 0)) + 8
    return head + _meta(numbered, start) + box(b"mdat", *(item.content for item in items))


def _meta(numbered: Sequence[tuple[int, Item]], start: int) -> bytes:
    kinds, locations, associations, properties, references = b"", b"", b"", [], b""
    for number, item in numbered:
        kinds += box(b"infe", b"\2\0\0\0", struct.pack(">HH4sB", number, 0, item.kind, 0))
        locations += struct.pack(">HHHII", number, 0, 1, start, len(item.content))
        start += len(item.content)
        indices = [len(properties) + n for n in range(1, len(item.properties) + 1)]
        properties += item.properties
        associations += struct.pack(f">HB{len(indices)}H", number, len(indices), *indices)
        references += b"".join(
            box(name, struct.pack(f">HH{len(to)}H", number, len(to), *to)) for name, to in item.references
        )
    return full_box(
        b"meta",
        full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", struct.pack(">H", 1)),
        full_box(b"iloc", b"\x44\0", struct.pack(">H", len(numbered)), locations),
        full_box(b"iinf", struct.pack(">H", len(numbered)), kinds),
        full_box(b"iref", references),
        box(
            b"iprp",
            box(b"ipco", *properties),
            box(b"ipma", b"\0\0\0\1", struct.pack(">I", len(numbered)), associations),
        ),
    )
