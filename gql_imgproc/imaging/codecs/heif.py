"""Reads what an AVIF costs to decode, whether its declared sizes match, and what Pillow would lose of it.

The facts come from the boxes (ISO/IEC 14496-12 and 23008-12, AV1 Image File Format 1.1) and from the headers of the AV1
streams. Nothing is decoded or allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from gql_imgproc.imaging.codecs import av1, heif_items, heif_tracks
from gql_imgproc.imaging.codecs.av1 import Stream
from gql_imgproc.imaging.codecs.heif_items import Item, Meta
from gql_imgproc.imaging.codecs.isobmff import Box, Extents, IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Boxes, items, references, AV1 units and similar parts of one file. A grid of 50 megapixels in small tiles has about
#: 10,000, which are walked in less than 0.1 s.
_MAX_PARTS = 20_000
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


@dataclass(frozen=True, slots=True)
class Container:
    """`area` is the maximum of pixels in memory for one frame, `frames` the length of the longest track.

    `image` is the stream of the colour image, unless that is a grid or a track. The fields `declared_size_matches` and
    `pillow_can_represent` are those of ImageStructure.
    """

    area: int
    frames: int = 1
    play_count: int = 0
    declared_size_matches: bool = True
    pillow_can_represent: bool = True
    image: Stream | None = None


def read_structure(data: bytes, max_frames: int) -> Container:
    """Raises ImageError if the file is damaged or incomplete, has too many frames, or hides work for the decoder."""
    try:
        return _read_boxes(IsoBmffReader(data, _MAX_PARTS), max_frames)
    except (struct.error, IndexError):
        raise corrupt_image("The AVIF is damaged or incomplete: one of its boxes ends early.") from None


def _read_boxes(file: IsoBmffReader, max_frames: int) -> Container:
    meta: Meta | None = None
    tracks: list[Container] = []
    for kind, body in file.walk(file.view, lenient=True):
        if kind == b"meta":
            if meta is not None:
                raise corrupt_image("The AVIF is damaged: it has two meta boxes.")
            meta = heif_items.read_meta(file, body)
        elif kind == b"moov":
            for inner, content in file.walk(body):
                if inner == b"trak" and (track := heif_tracks.read_track(file, content, max_frames)):
                    tracks.append(_read_animation(file, track))
                    if len(tracks) > _MAX_TRACKS:
                        raise corrupt_image("The AVIF is damaged: it has too many tracks.")
    if not tracks:
        return _read_still(file, meta or Meta())
    play_count = tracks[0].play_count
    # Decoders differ in which of them they show, so the limits apply to all of them.
    if meta is not None and meta.primary:
        tracks.append(_read_still(file, meta))
    return Container(
        area=max(track.area for track in tracks),
        frames=max(track.frames for track in tracks),
        play_count=play_count,
        declared_size_matches=all(track.declared_size_matches for track in tracks),
        pillow_can_represent=all(track.pillow_can_represent for track in tracks),
    )


def _read_still(file: IsoBmffReader, meta: Meta) -> Container:
    primary = meta.items.get(meta.primary)
    if primary is None:
        raise corrupt_image("The AVIF is damaged: it contains no image.")
    areas: dict[int, int] = {}
    streams: dict[Extents, Stream] = {}
    size_matches, representable, image = True, all(item.kind != b"tmap" for item in meta.items.values()), None
    for number in meta.decoded_items():
        item = meta.items.get(number, Item())
        areas[number] = prod(item.size)
        if item.kind == b"av01":
            stream = _read_stream(file, meta, item, streams)
            areas[number] = max(areas[number], stream.area)
            size_matches = size_matches and _declared_size_matches(item, stream)
            representable = representable and stream.bit_depth == 8
            image = stream if number == meta.primary else image
    # A small image may be cropped from a grid of many tiles, all of which are decoded.
    grids = (sum(areas.get(number, 0) for number in parts) for parts in meta.tiles.values())
    return Container(
        area=max(*areas.values(), *grids, 0),
        declared_size_matches=size_matches,
        pillow_can_represent=representable and _can_represent(primary.properties, image),
        image=image,
    )


def _read_stream(file: IsoBmffReader, meta: Meta, item: Item, cache: dict[Extents, Stream]) -> Stream:
    if item.is_in_idat:
        return av1.read_stream([file.read_extents(meta.idat, item.extents)], file.budget, _MAX_CODED_FRAMES)
    # Identical tiles may share their bytes.
    if item.extents not in cache:
        cache[item.extents] = av1.read_stream(
            [file.read_extents(file.view, item.extents)], file.budget, _MAX_CODED_FRAMES
        )
    return cache[item.extents]


def _read_animation(file: IsoBmffReader, track: heif_tracks.Track) -> Container:
    # There are fewer hidden frames, which others refer to, than shown ones.
    stream = av1.read_stream(track.samples, file.budget, _MAX_CODED_FRAMES + 2 * len(track.samples))
    return Container(
        area=max(stream.area, *map(prod, track.sizes)),
        frames=len(track.samples),
        play_count=track.play_count,
        pillow_can_represent=stream.bit_depth == 8
        and all(_can_represent(properties, stream) for properties in track.properties),
    )


def _declared_size_matches(item: Item, stream: Stream) -> bool:
    """Whether ispe is the coded size (AVIF, 2.1). Rotation and crop do not change it; a selected layer may."""
    if stream.frame is None or any(kind in _LAYERS for kind, _ in item.properties):
        return True
    return item.size in ((0, 0), (stream.frame.width, stream.frame.height))


def _can_represent(properties: Iterable[Box], stream: Stream | None) -> bool:
    """False for what Pillow would lose: a crop, pixels that are not square, HDR, a wide gamut without ICC."""
    primaries, transfer = (stream.primaries, stream.transfer) if stream is not None else (2, 2)
    for kind, body in properties:
        if kind not in _REPRESENTABLE or (kind == b"pasp" and body[:4] != body[4:8]):
            return False
        if kind == b"colr" and bytes(body[:4]) == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", body, 4)
    return primaries in _PRIMARIES and transfer in _TRANSFERS
