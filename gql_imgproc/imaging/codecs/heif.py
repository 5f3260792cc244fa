"""Reads what an AVIF or a HEIC costs to decode, whether its declared sizes match, and what Pillow would lose of it.

The facts come from the boxes (ISO/IEC 14496-12 and 23008-12, AV1 Image File Format 1.1) and from the sequence headers
of the AV1 or HEVC streams. Nothing is decoded or allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from math import prod

from gql_imgproc.imaging.codecs import av1, heif_tracks, hevc
from gql_imgproc.imaging.codecs.isobmff import Box, Extents, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Boxes, items, references, AV1 units and similar parts of one file. A grid of 50 megapixels in small tiles has about
#: 10,000, which are walked in less than 0.1 s.
_MAX_PARTS = 20_000
#: Images, tiles and metadata. Decoders search the list once for each item.
_MAX_ITEMS = 4_096
#: Cost of a tile of a grid, as a number of other parts. A decoder starts again for each.
_TILE_PARTS = 4
#: Coded frames of one image. AV1 has at most 4 layers, and hidden frames cost as much as shown ones.
_MAX_CODED_FRAMES = 8

#: Properties that Pillow can write, or that do not change how the image looks.
_REPRESENTABLE = {b"ispe", b"pixi", b"av1C", b"colr", b"irot", b"imir", b"auxC", b"pasp", b"a1lx", b"a1op", b"lsel"}
_REPRESENTABLE |= {b"ccst", b"btrt", b"auxi", b"udes", b"altt", b"crtt", b"mdft"}
_LAYERS = {b"a1lx", b"a1op", b"lsel"}
#: BT.709 or unspecified; sRGB, almost sRGB, or unspecified (H.273). Pillow writes these.
_PRIMARIES, _TRANSFERS = (1, 2), (1, 2, 13)
#: Types of `colr` that are an ICC profile.
PROFILES = (b"prof", b"rICC")
#: The matrix of RGB, which encoders use to store it losslessly. Pillow writes YCbCr.
_IDENTITY = 0
#: An item with the formula of a gain map (ISO 21496-1), and Apple's type of the auxiliary image that is one.
_TONE_MAP, _GAIN_MAP = b"tmap", b"hdrgainmap"

#: Whether the bytes of an item are in `idat`, and where.
_Place = tuple[bool, Extents]


@dataclass(slots=True)
class Container:
    """`area` is the maximum of pixels in memory for one frame, `frames` the length of the longest track.

    `pillow_can_represent`, `has_gain_map` and `video_colors` are those of ImageStructure.
    """

    area: int = 0
    frames: int = 1
    play_count: int = 0
    #: Whether the size of each coded image is a declared one.
    declared_size_matches: bool = True
    pillow_can_represent: bool = True
    has_gain_map: bool = False
    video_colors: tuple[int, int] | None = None
    #: Offset and size of each EXIF and of each XMP that is in one piece.
    exif: set[tuple[int, int]] = field(default_factory=set, compare=False)
    xmp: set[tuple[int, int]] = field(default_factory=set, compare=False)
    #: Of the HEVC images: slices times pixels. Each slice may code all pixels.
    sliced_pixels: int = 0
    #: Types of the items, and of the one that is shown.
    kinds: frozenset[bytes] = field(default=frozenset(), compare=False)
    primary_kind: bytes = field(default=b"", compare=False)


def read_structure(data: bytes, max_frames: int) -> Container:
    """Raises ImageError if the file is damaged, has too many frames, or hides work for the decoder.

    Decoders differ in what they show of several images and tracks, so the limits apply to all of them.
    """
    file, out = IsoBmffReader(data, _MAX_PARTS), Container()
    for kind, body in file.walk(file.view, lenient=True):
        if kind == b"meta":
            _read_images(file, body, out)
        elif kind == b"moov":
            traks = [content for inner, content in file.walk(body) if inner == b"trak"]
            tracks = [track for trak in traks if (track := heif_tracks.read_track(file, trak, max_frames))]
            out.play_count = tracks[0].play_count if tracks else 0
            for track in tracks:
                _read_animation(file, track, out)
    if not out.area:
        raise corrupt_image("The file is damaged: it contains no image.")
    return out


def _read_images(file: IsoBmffReader, body: memoryview, out: Container) -> None:
    """The `meta` box (ISO/IEC 14496-12, 8.11)."""
    boxes = list(file.walk_nested(body[4:]))
    properties = [box for kind, inner in boxes if kind == b"ipco" for box in file.walk(inner)]
    kinds: dict[int, bytes] = {}
    places: dict[int, _Place] = {}
    grids: list[tuple[int, ...]] = []
    idat, primary = memoryview(b""), 0
    for kind, inner in boxes:
        match kind:
            case b"iinf":
                kinds |= _read_kinds(file, inner)
            case b"iloc":
                places |= _read_locations(file, inner)
            case b"iref":
                grids += _read_tiles(file, inner)
            case b"idat":
                idat = inner
            case b"pitm":
                (primary,) = struct.unpack_from(">I" if inner[0] else ">H", inner, 4)
    if len(kinds) > _MAX_ITEMS:
        raise corrupt_image("The file is damaged: it contains too many items.")
    parts = _Parts(file, kinds, places, idat)
    for item, metadata in ((b"Exif", out.exif), (b"mime", out.xmp)):
        in_file = (extents for _, (is_in_idat, extents) in parts.of_kind(item) if not is_in_idat)
        metadata.update(extents[0] for extents in in_file if len(extents) == 1)
    streams = _read_av1_streams(parts)
    areas = {number: stream.area for number, stream in streams.items()}
    if b"hvc1" in kinds.values():
        configs: dict[int, memoryview] = {}
        for inner in (inner for kind, inner in boxes if kind == b"ipma"):
            configs |= _read_hevc_configs(file, inner, properties)
        areas |= _measure_hevc(parts, configs, grids, out)
    sizes = {struct.unpack_from(">II", content, 4) for kind, content in properties if kind == b"ispe"}
    # A small image may be cropped from a grid of many tiles, all of which are decoded.
    of_grids = (sum(areas.get(number, 0) for number in tiles) for tiles in grids)
    out.area = max(out.area, *map(prod, sizes), *areas.values(), *of_grids, 0)
    # ispe is the coded size (AVIF, 2.1). Rotation and crop do not change it; a selected layer may.
    if sizes and not any(kind in _LAYERS for kind, _ in properties):
        out.declared_size_matches &= sizes.issuperset(stream.size for stream in streams.values())
    out.kinds |= frozenset(kinds.values())
    out.primary_kind = kinds.get(primary, b"")
    _compare_with_pillow(properties, streams.values(), out)
    out.pillow_can_represent &= _TONE_MAP not in out.kinds
    is_gain_map = (kind == b"auxC" and _GAIN_MAP in bytes(content) for kind, content in properties)
    out.has_gain_map |= _TONE_MAP in out.kinds or any(is_gain_map)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The items of a `meta` box."""

    file: IsoBmffReader
    kinds: dict[int, bytes]
    places: dict[int, _Place]
    idat: memoryview

    def of_kind(self, wanted: bytes) -> Iterator[tuple[int, _Place]]:
        return ((n, self.places.get(n, (False, ()))) for n, kind in self.kinds.items() if kind == wanted)

    def read(self, place: _Place) -> memoryview:
        is_in_idat, extents = place
        return self.file.read_extents(self.idat if is_in_idat else self.file.view, extents)


def _read_av1_streams(parts: _Parts) -> dict[int, av1.Sequence]:
    streams: dict[int, av1.Sequence] = {}
    # Identical tiles may share their bytes.
    known: dict[_Place, av1.Sequence] = {}
    for number, place in parts.of_kind(b"av01"):
        if place not in known:
            known[place] = av1.read_stream([parts.read(place)], parts.file, _MAX_CODED_FRAMES)
        streams[number] = known[place]
    return streams


def _measure_hevc(
    parts: _Parts, configs: dict[int, memoryview], grids: list[tuple[int, ...]], out: Container
) -> dict[int, int]:
    """Pixels of each image, and of the canvas of each grid (6.6.2.3)."""
    areas: dict[int, int] = {}
    sliced_pixels: dict[int, int] = {}
    for number, place in parts.of_kind(b"hvc1"):
        config = configs.get(number, memoryview(b""))
        areas[number], slices = hevc.read_image(config, parts.read(place), parts.file)
        sliced_pixels[number] = slices * areas[number]
    for number, place in parts.of_kind(b"grid"):
        layout = parts.read(place)
        areas[number] = prod(struct.unpack_from(">II" if layout[1] & 1 else ">HH", layout, 4))
    of_tiles = (sliced_pixels.get(number, 0) for tiles in grids for number in tiles)
    out.sliced_pixels += sum(sliced_pixels.values()) + sum(of_tiles)
    return areas


def _read_animation(file: IsoBmffReader, track: heif_tracks.Track, out: Container) -> None:
    # There are fewer hidden frames, which others refer to, than shown ones.
    stream = av1.read_stream(track.samples, file, _MAX_CODED_FRAMES + 2 * len(track.samples))
    out.area = max(out.area, stream.area, *map(prod, track.sizes))
    out.frames = max(out.frames, len(track.samples))
    _compare_with_pillow(track.properties, [stream], out)


def _compare_with_pillow(properties: Iterable[Box], streams: Iterable[av1.Sequence], out: Container) -> None:
    """Finds what Pillow would lose: a crop, pixels that are not square, HDR, more than 8 bits, exact RGB, a wide gamut
    without ICC.
    """
    colors: list[tuple[int, int, int]] = []
    has_profile = False
    for kind, body in properties:
        out.pillow_can_represent &= kind in _REPRESENTABLE and (kind != b"pasp" or body[:4] == body[4:8])
        if kind == b"colr" and bytes(body[:4]) == b"nclx":
            colors.append(struct.unpack_from(">HHH", body, 4))
        has_profile |= kind == b"colr" and bytes(body[:4]) in PROFILES
    # Without a colour property, the colours of the stream apply.
    for primaries, transfer, matrix in colors or [stream.colors for stream in streams]:
        is_screen = primaries in _PRIMARIES and transfer in _TRANSFERS
        out.pillow_can_represent &= is_screen and matrix != _IDENTITY
        if not is_screen and not has_profile:
            out.video_colors = primaries, transfer
    out.pillow_can_represent &= all(stream.bit_depth == 8 for stream in streams)


def _read_kinds(file: IsoBmffReader, body: memoryview) -> dict[int, bytes]:
    """iinf and its infe (ISO/IEC 14496-12, 8.11.6)."""
    kinds: dict[int, bytes] = {}
    for kind, entry in file.walk(body[8 if body[0] else 6 :]):
        if kind == b"infe" and entry[0] in (2, 3):
            number, _, kinds[number] = struct.unpack_from(">HH4s" if entry[0] == 2 else ">IH4s", entry, 4)
    return kinds


def _read_locations(file: IsoBmffReader, body: memoryview) -> dict[int, _Place]:
    """iloc (ISO/IEC 14496-12, 8.11.3). A decoder refuses a box that ends early, which is read as zeros here."""
    version, content = body[0], BytesIO(body[6:])

    def number(size: int) -> int:
        return int.from_bytes(content.read(size))

    offset_bytes, length_bytes, base_bytes = body[4] >> 4, body[4] & 15, body[5] >> 4
    index_bytes = body[5] & 15 if version else 0
    wide = 4 if version == 2 else 2
    places: dict[int, _Place] = {}
    for _ in range(number(wide)):
        file.spend()
        item = number(wide)
        method = number(2) & 15 if version else 0
        if method > 1 or number(2):
            raise corrupt_image("The file is damaged: an image of it is stored in another file.")
        base, extents = number(base_bytes), []
        for _ in range(number(2)):
            file.spend()
            number(index_bytes)
            extents.append((base + number(offset_bytes), number(length_bytes)))
        places[item] = method == 1, tuple(extents)
    return places


def _read_tiles(file: IsoBmffReader, body: memoryview) -> list[tuple[int, ...]]:
    """The parts of each derived image: iref (ISO/IEC 14496-12, 8.11.12) with dimg (6.6.2.3)."""
    number = "I" if body[0] else "H"
    tiles: list[tuple[int, ...]] = []
    for kind, inner in file.walk(body[4:]):
        _, count = struct.unpack_from(f">{number}H", inner)
        file.spend(_TILE_PARTS * count)
        if kind == b"dimg":
            tiles.append(struct.unpack_from(f">{count}{number}", inner, struct.calcsize(f">{number}H")))
    return tiles


def _read_hevc_configs(file: IsoBmffReader, body: memoryview, properties: list[Box]) -> dict[int, memoryview]:
    """`hvcC` of each item that has one: ipma (9.3)."""
    form, size, largest = ("H", 2, 0x7FFF) if body[3] & 1 else ("B", 1, 0x7F)
    (count,) = struct.unpack_from(">I", body, 4)
    at = 8
    configs: dict[int, memoryview] = {}
    for _ in range(count):
        (number,) = struct.unpack_from(">I" if body[0] else ">H", body, at)
        at += 4 if body[0] else 2
        many = body[at]
        file.spend()
        # The highest bit marks properties that a reader must support.
        indices = [index & largest for index in struct.unpack_from(f">{many}{form}", body, at + 1)]
        at += 1 + many * size
        for kind, config in (properties[n - 1] for n in indices if 0 < n <= len(properties)):
            if kind == b"hvcC":
                configs[number] = config
    return configs
