"""Reads the `meta` box, which lists the items of a HEIF file (ISO/IEC 23008-12), within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from gql_imgproc.imaging.codecs.isobmff import Box, Extents, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Images, tiles and metadata. Decoders search the list once for each item.
_MAX_ITEMS = 4_096


@dataclass(slots=True)
class Item:
    kind: bytes = b""
    extents: Extents = ()
    #: Whether the extents are offsets into `idat`.
    is_in_idat: bool = False
    properties: list[Box] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height that `ispe` declares (6.5.3); zeros without it."""
        body = next((body for kind, body in self.properties if kind == b"ispe"), None)
        return struct.unpack_from(">II", body, 4) if body is not None else (0, 0)


@dataclass(slots=True)
class Meta:
    """`tiles` are the parts of a derived image (6.6.2.3), `auxiliary` its alpha or depth (6.5.8)."""

    primary: int = 0
    items: dict[int, Item] = field(default_factory=dict)
    tiles: dict[int, list[int]] = field(default_factory=dict)
    auxiliary: dict[int, list[int]] = field(default_factory=dict)
    idat: memoryview = field(default_factory=lambda: memoryview(b""))

    def decoded_items(self) -> list[int]:
        """The items that are decoded to show the primary image: itself, its tiles, and their alpha."""
        reached, seen = [self.primary], {self.primary}
        for number in reached:
            for other in (*self.tiles.get(number, ()), *self.auxiliary.get(number, ())):
                if other not in seen:
                    seen.add(other)
                    reached.append(other)
        return reached


def read_meta(file: IsoBmffReader, body: memoryview) -> Meta:
    """The `meta` box (ISO/IEC 14496-12, 8.11)."""
    meta = Meta()
    properties: list[Box] = []
    associations: list[memoryview] = []
    for kind, inner in file.walk(body[4:]):
        match kind:
            case b"pitm":
                (meta.primary,) = struct.unpack_from(">I" if inner[0] else ">H", inner, 4)
            case b"iinf":
                _read_kinds(file, meta, inner)
            case b"iloc":
                _read_locations(file, meta, inner)
            case b"iref":
                _read_references(file, meta, inner)
            case b"idat":
                meta.idat = inner
            case b"iprp":
                for name, content in file.walk(inner):
                    if name == b"ipco":
                        properties += file.walk(content)
                    elif name == b"ipma":
                        associations.append(content)
    for content in associations:
        _associate_properties(file, meta, content, properties)
    return meta


def _get_item(file: IsoBmffReader, meta: Meta, number: int) -> Item:
    file.budget.spend()
    if number not in meta.items and len(meta.items) >= _MAX_ITEMS:
        raise corrupt_image("The AVIF is damaged: it contains too many items.")
    return meta.items.setdefault(number, Item())


def _read_kinds(file: IsoBmffReader, meta: Meta, body: memoryview) -> None:
    """iinf and its infe (ISO/IEC 14496-12, 8.11.6)."""
    for kind, entry in file.walk(body[8 if body[0] else 6 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            number, _, name = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, 4)
            _get_item(file, meta, number).kind = name


def _read_locations(file: IsoBmffReader, meta: Meta, body: memoryview) -> None:
    """iloc (ISO/IEC 14496-12, 8.11.3)."""
    version = body[0]
    offset_bytes, length_bytes = body[4] >> 4, body[4] & 15
    base_bytes, index_bytes = body[5] >> 4, body[5] & 15 if version else 0
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise corrupt_image("The AVIF is damaged or incomplete: one of its boxes ends early.")
        return int.from_bytes(body[at - size : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = _get_item(file, meta, number(wide))
        method = number(2) & 15 if version else 0
        if method > 1 or number(2):
            raise corrupt_image("The AVIF is damaged: an image of it is stored in another file.")
        base = number(base_bytes)
        extents = []
        for _ in range(number(2)):
            file.budget.spend()
            number(index_bytes)
            offset = base + number(offset_bytes)
            extents.append((offset, number(length_bytes)))
        item.extents, item.is_in_idat = tuple(extents), method == 1


def _read_references(file: IsoBmffReader, meta: Meta, body: memoryview) -> None:
    """iref (ISO/IEC 14496-12, 8.11.12)."""
    number = "I" if body[0] else "H"
    for kind, inner in file.walk(body[4:]):
        source, count = struct.unpack_from(f">{number}H", inner)
        file.budget.spend(count)
        targets = struct.unpack_from(f">{count}{number}", inner, struct.calcsize(f">{number}H"))
        if kind == b"dimg":
            meta.tiles.setdefault(source, []).extend(targets)
        elif kind == b"auxl":
            for target in targets:
                meta.auxiliary.setdefault(target, []).append(source)


def _associate_properties(file: IsoBmffReader, meta: Meta, body: memoryview, properties: list[Box]) -> None:
    """ipma (9.3)."""
    form, size, largest = ("H", 2, 0x7FFF) if body[3] & 1 else ("B", 1, 0x7F)
    (count,) = struct.unpack_from(">I", body, 4)
    at = 8
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if body[0] else ">H", body, at)
        at += 4 if body[0] else 2
        item, many = _get_item(file, meta, number), body[at]
        file.budget.spend(many)
        indices = struct.unpack_from(f">{many}{form}", body, at + 1)
        at += 1 + many * size
        # The highest bit marks properties that a reader must support.
        item.properties += [
            properties[n - 1] for n in (index & largest for index in indices) if 0 < n <= len(properties)
        ]
