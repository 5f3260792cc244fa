"""Reads what an AVIF costs to decode, whether its declared sizes match, and what Pillow would lose of it.

The facts come from the boxes (ISO/IEC 14496-12 and 23008-12, AV1 Image File Format 1.1) and from the sequence headers
of the AV1 streams. Nothing is decoded or allocated.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from gql_imgproc.imaging.codecs import av1, heif_tracks
from gql_imgproc.imaging.codecs.isobmff import Box, Extents, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Boxes, items, references, AV1 units and similar parts of one file. A grid of 50 megapixels in small tiles has about
#: 10,000, which are walked in less than 0.1 s.
_MAX_PARTS = 20_000
#: Images, tiles and metadata. Decoders search the list once for each item.
_MAX_ITEMS = 4_096
#: Colour and alpha, each possibly twice.
_MAX_TRACKS = 8
#: Coded frames of one image. AV1 has at most 4 layers, and hidden frames cost as much as shown ones.
_MAX_CODED_FRAMES = 8

#: Properties that Pillow can write, or that do not change how the image looks.
_REPRESENTABLE = {b"ispe", b"pixi", b"av1C", b"colr", b"irot", b"imir", b"auxC", b"pasp", b"a1lx", b"a1op", b"lsel"}
_REPRESENTABLE |= {b"ccst", b"btrt", b"auxi", b"udes", b"altt", b"crtt", b"mdft"}
_LAYERS = {b"a1lx", b"a1op", b"lsel"}
#: BT.709 or unspecified; sRGB, almost sRGB, or unspecified (H.273). Pillow writes these.
_PRIMARIES, _TRANSFERS = (1, 2), (1, 2, 13)
#: The matrix of RGB, which encoders use to store it losslessly. Pillow writes YCbCr.
_IDENTITY = 0


@dataclass(slots=True)
class Container:
    """`area` is the maximum of pixels in memory for one frame, `frames` the length of the longest track.

    The fields `declared_size_matches` and `pillow_can_represent` are those of ImageStructure.
    """

    area: int = 0
    frames: int = 1
    play_count: int = 0
    declared_size_matches: bool = True
    pillow_can_represent: bool = True


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    extents: Extents = ()
    #: Whether the extents are offsets into `idat`.
    is_in_idat: bool = False
    properties: list[Box] = field(default_factory=list)


def read_structure(data: bytes, max_frames: int) -> Container:
    """Raises ImageError if the file is damaged, has too many frames, or hides work for the decoder.

    Decoders differ in what they show of several images and tracks, so the limits apply to all of them.
    """
    file, out = IsoBmffReader(data, _MAX_PARTS), Container()
    tracks: list[heif_tracks.Track] = []
    metas = 0
    for kind, body in file.walk(file.view, lenient=True):
        if kind == b"meta":
            metas += 1
            if metas > 1:
                raise corrupt_image("The AVIF is damaged: it has two meta boxes.")
            _read_images(file, body, out)
        elif kind == b"moov":
            for inner, content in file.walk(body):
                if inner == b"trak" and (track := heif_tracks.read_track(file, content, max_frames)):
                    tracks.append(track)
                    if len(tracks) > _MAX_TRACKS:
                        raise corrupt_image("The AVIF is damaged: it has too many tracks.")
                    _read_animation(file, track, out)
    if tracks:
        out.play_count = tracks[0].play_count
    elif not out.area:
        raise corrupt_image("The AVIF is damaged: it contains no image.")
    return out


def _read_images(file: IsoBmffReader, body: memoryview, out: Container) -> None:
    """The `meta` box (ISO/IEC 14496-12, 8.11)."""
    items: defaultdict[int, _Item] = defaultdict(_Item)
    boxes = list(file.walk_nested(body[4:]))
    properties = [box for kind, inner in boxes if kind == b"ipco" for box in file.walk(inner)]
    idat = memoryview(b"")
    grids: list[tuple[int, ...]] = []
    for kind, inner in boxes:
        match kind:
            case b"iinf":
                _read_kinds(file, items, inner)
            case b"iloc":
                _read_locations(file, items, inner)
            case b"iref":
                grids += _read_tiles(file, inner)
            case b"ipma":
                _associate_properties(file, items, inner, properties)
            case b"idat":
                idat = inner
    if len(items) > _MAX_ITEMS:
        raise corrupt_image("The AVIF is damaged: it contains too many items.")
    streams: dict[tuple[bool, Extents], av1.Sequence] = {}
    areas: dict[int, int] = {}
    for number, item in items.items():
        size = _declared_size(item)
        areas[number] = prod(size)
        if item.kind == b"av01":
            # Identical tiles may share their bytes.
            place = item.is_in_idat, item.extents
            if place not in streams:
                bytes_of_item = file.read_extents(idat if item.is_in_idat else file.view, item.extents)
                streams[place] = av1.read_stream([bytes_of_item], file, _MAX_CODED_FRAMES)
            stream = streams[place]
            areas[number] = max(areas[number], stream.area)
            # ispe is the coded size (AVIF, 2.1). Rotation and crop do not change it; a selected layer may.
            if not any(kind in _LAYERS for kind, _ in item.properties):
                out.declared_size_matches &= size in ((0, 0), stream.size)
        out.pillow_can_represent &= item.kind != b"tmap"
    # A small image may be cropped from a grid of many tiles, all of which are decoded.
    out.area = max(out.area, *areas.values(), *(sum(areas.get(n, 0) for n in tiles) for tiles in grids), 0)
    out.pillow_can_represent &= _can_represent(properties, streams.values())


def _declared_size(item: _Item) -> tuple[int, int]:
    """Width and height of `ispe` (6.5.3); zeros without it."""
    body = next((body for kind, body in item.properties if kind == b"ispe"), None)
    return struct.unpack_from(">II", body, 4) if body is not None else (0, 0)


def _read_animation(file: IsoBmffReader, track: heif_tracks.Track, out: Container) -> None:
    # There are fewer hidden frames, which others refer to, than shown ones.
    stream = av1.read_stream(track.samples, file, _MAX_CODED_FRAMES + 2 * len(track.samples))
    out.area = max(out.area, stream.area, *map(prod, track.sizes))
    out.frames = max(out.frames, len(track.samples))
    out.pillow_can_represent &= _can_represent(track.properties, [stream])


def _can_represent(properties: Iterable[Box], streams: Iterable[av1.Sequence]) -> bool:
    """False for what Pillow would lose: a crop, pixels that are not square, HDR, more than 8 bits, exact RGB, a wide
    gamut without ICC.
    """
    colors = []
    for kind, body in properties:
        if kind not in _REPRESENTABLE or (kind == b"pasp" and body[:4] != body[4:8]):
            return False
        if kind == b"colr" and bytes(body[:4]) == b"nclx":
            colors.append(struct.unpack_from(">HHH", body, 4))
    return all(stream.bit_depth == 8 for stream in streams) and all(
        primaries in _PRIMARIES and transfer in _TRANSFERS and matrix != _IDENTITY
        # Without a colour property, the colours of the stream apply.
        for primaries, transfer, matrix in colors or [stream.colors for stream in streams]
    )


def _read_kinds(file: IsoBmffReader, items: dict[int, _Item], body: memoryview) -> None:
    """iinf and its infe (ISO/IEC 14496-12, 8.11.6)."""
    for kind, entry in file.walk(body[8 if body[0] else 6 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            number, _, name = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, 4)
            items[number].kind = name


def _read_locations(file: IsoBmffReader, items: dict[int, _Item], body: memoryview) -> None:
    """iloc (ISO/IEC 14496-12, 8.11.3)."""
    version, at = body[0], 6
    offset_bytes, length_bytes = body[4] >> 4, body[4] & 15
    base_bytes, index_bytes = body[5] >> 4, body[5] & 15 if version else 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(body):
            raise IndexError
        return int.from_bytes(body[at - size : at], "big")

    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        file.spend()
        item = items[number(wide)]
        method = number(2) & 15 if version else 0
        if method > 1 or number(2):
            raise corrupt_image("The AVIF is damaged: an image of it is stored in another file.")
        base, extents = number(base_bytes), []
        for _ in range(number(2)):
            file.spend()
            number(index_bytes)
            extents.append((base + number(offset_bytes), number(length_bytes)))
        item.extents, item.is_in_idat = tuple(extents), method == 1


def _read_tiles(file: IsoBmffReader, body: memoryview) -> list[tuple[int, ...]]:
    """The parts of each derived image: iref (ISO/IEC 14496-12, 8.11.12) with dimg (6.6.2.3)."""
    number = "I" if body[0] else "H"
    tiles: list[tuple[int, ...]] = []
    for kind, inner in file.walk(body[4:]):
        _, count = struct.unpack_from(f">{number}H", inner)
        file.spend(count)
        if kind == b"dimg":
            tiles.append(struct.unpack_from(f">{count}{number}", inner, struct.calcsize(f">{number}H")))
    return tiles


def _associate_properties(
    file: IsoBmffReader, items: dict[int, _Item], body: memoryview, properties: list[Box]
) -> None:
    """ipma (9.3)."""
    form, size, largest = ("H", 2, 0x7FFF) if body[3] & 1 else ("B", 1, 0x7F)
    (count,) = struct.unpack_from(">I", body, 4)
    at = 8
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if body[0] else ">H", body, at)
        at += 4 if body[0] else 2
        many = body[at]
        file.spend(1 + many)
        indices = struct.unpack_from(f">{many}{form}", body, at + 1)
        at += 1 + many * size
        # The highest bit marks properties that a reader must support.
        items[number].properties += [
            properties[n - 1] for n in (index & largest for index in indices) if 0 < n <= len(properties)
        ]
