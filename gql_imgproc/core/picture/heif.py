"""The boxes of an AVIF: which picture a decoder shows, what decoding it costs, and whether sizes are honest.

Boxes are those of ISO/IEC 14496-12 (ISOBMFF: meta, iloc, moov and what is in them), ISO/IEC 23008-12 (HEIF:
ispe, irot, grid, auxiliary pictures) and the AV1 Image File Format. Nothing is decoded or allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from math import prod

from gql_imgproc.core.picture import av1
from gql_imgproc.core.picture.av1 import Budget, Stream
from gql_imgproc.core.picture.failures import corrupt, too_large

#: Boxes, items, references, AV1 units and so on of one file: a grid of 50 megapixels in small tiles has about
#: 10,000, and so many are walked in less than 0.1 s.
_MAX_PARTS = 20_000
#: Pictures, tiles and metadata. Decoders look them up one by one, for each of them.
_MAX_ITEMS = 4_096
#: Colour and alpha, each perhaps twice.
_MAX_TRACKS = 8
#: Frames that one picture may be coded in; AV1 has at most 4 layers, and hidden frames cost as much as shown ones.
_MAX_CODED_FRAMES = 8

#: What Pillow can write again, or what says nothing about how the picture looks.
_PLAIN = {b"ispe", b"pixi", b"av1C", b"colr", b"irot", b"imir", b"auxC", b"pasp", b"a1lx", b"a1op", b"lsel"}
_PLAIN |= {b"ccst", b"btrt", b"auxi", b"udes", b"altt", b"crtt", b"mdft"}
_LAYERS = {b"a1lx", b"a1op", b"lsel"}
#: BT.709 or not told, sRGB or nearly so or not told (H.273): what Pillow writes.
_PRIMARIES, _TRANSFERS = (1, 2), (1, 2, 13)


@dataclass(frozen=True, slots=True)
class Structure:
    """What the boxes and the headers of the AV1 streams tell.

    `area` is the most pixels that are in memory for one frame, `frames` those of the longest track. `picture` is
    the stream of the only colour picture where there is one: no grid, no track. `honest` tells whether each
    picture has the size that its box claims, `plain` whether Pillow can write all that the file says about depth,
    colour and shape.
    """

    area: int
    frames: int
    honest: bool
    plain: bool
    picture: Stream | None


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    extents: tuple[tuple[int, int], ...] = ()
    #: Whether the extents are offsets into `idat`.
    inside: bool = False
    properties: list[tuple[bytes, memoryview]] = field(default_factory=list)

    def first(self, kind: bytes) -> memoryview | None:
        return next((body for name, body in self.properties if name == kind), None)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as `ispe` tells (HEIF, 6.5.3)."""
        body = self.first(b"ispe")
        return struct.unpack_from(">II", body, 4) if body is not None else (0, 0)


@dataclass(frozen=True, slots=True)
class _Reference:
    kind: bytes
    source: int
    targets: tuple[int, ...]


@dataclass(slots=True)
class _Meta:
    primary: int = 0
    items: dict[int, _Item] = field(default_factory=dict)
    references: list[_Reference] = field(default_factory=list)
    idat: memoryview = field(default_factory=lambda: memoryview(b""))


def structure(data: bytes, max_frames: int) -> Structure:
    """Refuses a file that is broken, that claims a size it does not have, or that hides work for the decoder."""
    try:
        return _File(memoryview(data), max_frames).read()
    except (struct.error, IndexError):
        raise corrupt("The AVIF is damaged or incomplete: one of its boxes ends early.") from None


def _reached(start: int, *ways: dict[int, list[int]]) -> list[int]:
    """What is decoded to show the first one: itself, its tiles, their alpha."""
    reached, seen = [start], {start}
    for number in reached:
        for other in (other for way in ways for other in way.get(number, ())):
            if other not in seen:
                seen.add(other)
                reached.append(other)
    return reached


def _honest(item: _Item, stream: Stream) -> bool:
    """Whether ispe is the coded size (AVIF, 2.1); rotation and crop do not change it, a selected layer may."""
    if stream.frame is None or any(kind in _LAYERS for kind, _ in item.properties):
        return True
    return item.size in ((0, 0), (stream.frame.width, stream.frame.height))


class _File:
    def __init__(self, view: memoryview, max_frames: int) -> None:
        self._view, self._max_frames, self._budget = view, max_frames, Budget(_MAX_PARTS)
        self._joined_bytes = 0
        self._streams: dict[tuple[tuple[int, int], ...], Stream] = {}

    def read(self) -> Structure:
        meta: _Meta | None = None
        tracks: list[Structure] = []
        for kind, body in self._boxes(self._view, lenient=True):
            if kind == b"meta":
                if meta is not None:
                    raise corrupt("The AVIF is damaged: it is described twice.")
                meta = self._meta(body)
            elif kind == b"moov":
                for inner, track in self._boxes(body):
                    if inner == b"trak" and (told := self._track(track)):
                        tracks.append(told)
                        if len(tracks) > _MAX_TRACKS:
                            raise corrupt("The AVIF is damaged: it has too many tracks.")
        if not tracks:
            return self._still(meta or _Meta())
        # Which of them is shown depends on the decoder, so the file is judged by all of them.
        if meta is not None and meta.primary:
            tracks.append(self._still(meta))
        return Structure(
            area=max(one.area for one in tracks),
            frames=max(one.frames for one in tracks),
            honest=all(one.honest for one in tracks),
            plain=all(one.plain for one in tracks),
            picture=None,
        )

    def _boxes(self, view: memoryview, lenient: bool = False) -> Iterator[tuple[bytes, memoryview]]:
        """Type and content of each box (ISOBMFF, 4.2). `lenient` is for what may follow the last one of a file."""
        at, end = 0, len(view)
        while at + 8 <= end:
            self._budget.spend()
            size, kind = struct.unpack_from(">I4s", view, at)
            head = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", view, at + 8)
                head = 16
            elif size == 0:
                size = end - at
            if size < head or at + size > end:
                if lenient:
                    return
                raise corrupt("The AVIF is damaged or incomplete: one of its boxes ends early.")
            yield kind, view[at + head : at + size]
            at += size

    # The still picture

    def _meta(self, body: memoryview) -> _Meta:
        meta = _Meta()
        properties: list[tuple[bytes, memoryview]] = []
        associations: list[memoryview] = []
        for kind, inner in self._boxes(body[4:]):
            match kind:
                case b"pitm":
                    (meta.primary,) = struct.unpack_from(">I" if inner[0] else ">H", inner, 4)
                case b"iinf":
                    self._item_kinds(meta, inner)
                case b"iloc":
                    self._locations(meta, inner)
                case b"iref":
                    self._references(meta, inner)
                case b"idat":
                    meta.idat = inner
                case b"iprp":
                    for name, content in self._boxes(inner):
                        if name == b"ipco":
                            properties += self._boxes(content)
                        elif name == b"ipma":
                            associations.append(content)
        for content in associations:
            self._associate(meta, content, properties)
        return meta

    def _item(self, meta: _Meta, number: int) -> _Item:
        self._budget.spend()
        if number not in meta.items and len(meta.items) >= _MAX_ITEMS:
            raise corrupt("The AVIF is damaged: it holds too many pictures.")
        return meta.items.setdefault(number, _Item())

    def _item_kinds(self, meta: _Meta, body: memoryview) -> None:
        """iinf and its infe (ISOBMFF, 8.11.6)."""
        for kind, entry in self._boxes(body[8 if body[0] else 6 :]):
            if kind == b"infe" and entry[0] in (2, 3):
                number, _, name = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, 4)
                self._item(meta, number).kind = name

    def _locations(self, meta: _Meta, body: memoryview) -> None:
        """iloc (ISOBMFF, 8.11.3)."""
        version = body[0]
        offset_bytes, length_bytes = body[4] >> 4, body[4] & 15
        base_bytes, index_bytes = body[5] >> 4, body[5] & 15 if version else 0
        at = 6

        def number(size: int) -> int:
            nonlocal at
            at += size
            if at > len(body):
                raise corrupt("The AVIF is damaged or incomplete: one of its boxes ends early.")
            return int.from_bytes(body[at - size : at], "big")

        wide = 4 if version == 2 else 2
        for _ in range(number(wide)):
            item = self._item(meta, number(wide))
            method = number(2) & 15 if version else 0
            if method > 1 or number(2):
                raise corrupt("The AVIF is damaged: a picture of it is stored elsewhere.")
            base = number(base_bytes)
            extents = []
            for _ in range(number(2)):
                self._budget.spend()
                number(index_bytes)
                offset = base + number(offset_bytes)
                extents.append((offset, number(length_bytes)))
            item.extents, item.inside = tuple(extents), method == 1

    def _references(self, meta: _Meta, body: memoryview) -> None:
        """iref (ISOBMFF, 8.11.12)."""
        number = "I" if body[0] else "H"
        for kind, inner in self._boxes(body[4:]):
            source, count = struct.unpack_from(f">{number}H", inner)
            self._budget.spend(count)
            targets = struct.unpack_from(f">{count}{number}", inner, struct.calcsize(f">{number}H"))
            meta.references.append(_Reference(kind, source, targets))

    def _associate(self, meta: _Meta, body: memoryview, properties: list[tuple[bytes, memoryview]]) -> None:
        """ipma (HEIF, 9.3)."""
        wide = body[3] & 1
        (count,) = struct.unpack_from(">I", body, 4)
        at = 8
        for _ in range(count):
            (number,) = struct.unpack_from(">I" if body[0] else ">H", body, at)
            at += 4 if body[0] else 2
            item, many = self._item(meta, number), body[at]
            self._budget.spend(many)
            told = struct.unpack_from(f">{many}{'H' if wide else 'B'}", body, at + 1)
            at += 1 + many * (2 if wide else 1)
            for index in told:
                index &= 0x7FFF if wide else 0x7F
                if 0 < index <= len(properties):
                    item.properties.append(properties[index - 1])

    def _still(self, meta: _Meta) -> Structure:
        primary = meta.items.get(meta.primary)
        if primary is None:
            raise corrupt("The AVIF is damaged: it holds no picture.")
        tiles, helpers = self._parts(meta)
        areas: dict[int, int] = {}
        depth, honest, picture = 0, True, None
        for number in _reached(meta.primary, tiles, helpers):
            item = meta.items.get(number, _Item())
            areas[number] = prod(item.size)
            if item.kind == b"av01":
                stream = self._stream(meta, item)
                areas[number] = max(areas[number], stream.area)
                depth = max(depth, stream.bit_depth)
                honest = honest and _honest(item, stream)
                picture = stream if number == meta.primary else picture
        # A small picture may be cut from a grid of many tiles, all of which are decoded.
        grids = (sum(areas.get(number, 0) for number in parts) for parts in tiles.values())
        plain = depth <= 8 and not any(item.kind == b"tmap" for item in meta.items.values())
        plain = plain and self._plain(primary.properties, picture)
        return Structure(max(*areas.values(), *grids, 0), 1, honest, plain, picture)

    @staticmethod
    def _parts(meta: _Meta) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
        """The tiles of each picture (HEIF, 6.6.2.3), and the alpha or depth that belongs to it (6.5.8)."""
        tiles: dict[int, list[int]] = {}
        helpers: dict[int, list[int]] = {}
        for reference in meta.references:
            if reference.kind == b"dimg":
                tiles.setdefault(reference.source, []).extend(reference.targets)
            elif reference.kind == b"auxl":
                for target in reference.targets:
                    helpers.setdefault(target, []).append(reference.source)
        return tiles, helpers

    def _stream(self, meta: _Meta, item: _Item) -> Stream:
        if item.inside:
            stream = av1.stream([self._joined(meta.idat, item.extents)], self._budget)
        else:
            # Tiles that look alike may share their bytes.
            told = self._streams.get(item.extents)
            stream = told or av1.stream([self._joined(self._view, item.extents)], self._budget)
            self._streams[item.extents] = stream
        if stream.frames > _MAX_CODED_FRAMES:
            raise corrupt("The AVIF is damaged: a picture in it is made of too many frames.")
        return stream

    def _joined(self, view: memoryview, extents: tuple[tuple[int, int], ...]) -> memoryview:
        if any(offset + length > len(view) for offset, length in extents):
            raise corrupt("The AVIF is incomplete: bytes are missing at its end.")
        if len(extents) == 1:
            offset, length = extents[0]
            return view[offset : offset + length]
        # Extents may all be the same bytes, and a decoder joins them as often as they are told.
        self._joined_bytes += sum(length for _, length in extents)
        if self._joined_bytes > len(self._view):
            raise corrupt("The AVIF is damaged: its pictures claim more bytes than it has.")
        return memoryview(b"".join(view[offset : offset + length] for offset, length in extents))

    # Animations

    def _track(self, body: memoryview) -> Structure | None:
        """trak (ISOBMFF, 8.3); None for a track that is not of AV1."""
        width = height = 0
        table: dict[bytes, memoryview] = {}
        for kind, inner in self._boxes(body):
            if kind == b"tkhd":
                width, height = (n >> 16 for n in struct.unpack_from(">II", inner, 88 if inner[0] else 76))
            elif kind == b"mdia":
                for name, content in self._boxes(inner):
                    if name == b"minf":
                        for part, boxes in self._boxes(content):
                            if part == b"stbl":
                                table.update(self._boxes(boxes))
        entries = [entry for kind, entry in self._boxes(table.get(b"stsd", memoryview(b""))[8:]) if kind == b"av01"]
        if not entries:
            return None
        area, plain = width * height, True
        samples = self._samples(table)
        stream = av1.stream(samples, self._budget)
        if stream.frames > 4 * len(samples) + _MAX_CODED_FRAMES:
            raise corrupt("The AVIF is damaged: its animation is made of too many frames.")
        for entry in entries:
            area = max(area, prod(struct.unpack_from(">HH", entry, 24)))
            plain = plain and self._plain(list(self._boxes(entry[78:])), stream)
        return Structure(max(area, stream.area), len(samples), True, plain and stream.bit_depth <= 8, None)

    def _samples(self, table: dict[bytes, memoryview]) -> list[memoryview]:
        """The bytes of each frame, from stsz, stsc, and stco or co64 (ISOBMFF, 8.7)."""
        for name in (b"stts", b"stss", b"stsc", b"ctts"):
            # Decoders walk these tables for each frame.
            if name in table and struct.unpack_from(">I", table[name], 4)[0] > self._max_frames:
                raise too_large(f"The animation has more than {self._max_frames:,} frames, which is the limit.")
        wide = b"co64" in table
        chunks = table[b"co64"] if wide else table.get(b"stco", memoryview(b""))
        (many,) = struct.unpack_from(">I", chunks, 4)
        runs = table.get(b"stsc", memoryview(b""))
        (several,) = struct.unpack_from(">I", runs, 4)
        firsts = [struct.unpack_from(">II", runs, 8 + 12 * n) for n in range(several)]
        starts = [first for first, _ in firsts] + [many + 1]
        if starts[0] != 1 or any(after <= before for before, after in pairwise(starts)):
            raise corrupt("The AVIF is damaged: the table of its frames is wrong.")
        frames = sum(
            (after - before) * each for (before, after), (_, each) in zip(pairwise(starts), firsts, strict=True)
        )
        if max(frames, many) > self._max_frames:
            raise too_large(f"The animation has more than {self._max_frames:,} frames, which is the limit.")
        offsets = iter(struct.unpack_from(f">{many}{'Q' if wide else 'I'}", chunks, 8))
        sizes = table.get(b"stsz", memoryview(b""))
        (same,) = struct.unpack_from(">I", sizes, 4)
        lengths = iter((same,) * frames if same else struct.unpack_from(f">{frames}I", sizes, 12))
        samples: list[memoryview] = []
        for (before, after), (_, each) in zip(pairwise(starts), firsts, strict=True):
            for offset in islice(offsets, after - before):
                for length in islice(lengths, each):
                    samples.append(self._joined(self._view, ((offset, length),)))
                    offset += length
        return samples

    # What Pillow can write

    @staticmethod
    def _plain(properties: list[tuple[bytes, memoryview]], picture: Stream | None) -> bool:
        """Whether nothing is told that Pillow would lose: a crop, uneven pixels, HDR, a wide gamut without ICC."""
        primaries, transfer = (picture.primaries, picture.transfer) if picture is not None else (2, 2)
        for kind, body in properties:
            if kind not in _PLAIN:
                return False
            if kind == b"pasp" and body[:4] != body[4:8]:
                return False
            if kind == b"colr" and bytes(body[:4]) == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", body, 4)
        return primaries in _PRIMARIES and transfer in _TRANSFERS
