"""What an AVIF would cost to decode, whether its sizes are honest, and what Pillow would lose of it.

Told by its boxes (ISO/IEC 14496-12 and 23008-12, AV1 Image File Format 1.1) and by the headers of its AV1 streams;
nothing is decoded or allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from gql_imgproc.imaging import av1, heif_items, heif_tracks
from gql_imgproc.imaging.av1 import Stream
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.heif_items import Item, Meta
from gql_imgproc.imaging.isobmff import Box, Extents, IsoBmffReader

#: Boxes, items, references, AV1 units and so on of one file: a grid of 50 megapixels in small tiles has about
#: 10,000, and so many are walked in less than 0.1 s.
_MAX_PARTS = 20_000
#: Colour and alpha, each perhaps twice.
_MAX_TRACKS = 8
#: Frames that one picture may be coded in; AV1 has at most 4 layers, and hidden frames cost as much as shown ones.
_MAX_CODED_FRAMES = 8

#: What Pillow can write again, or what says nothing about how the picture looks.
_PLAIN = {b"ispe", b"pixi", b"av1C", b"colr", b"irot", b"imir", b"auxC", b"pasp", b"a1lx", b"a1op", b"lsel"}
_PLAIN |= {b"ccst", b"btrt", b"auxi", b"udes", b"altt", b"crtt", b"mdft"}
_LAYERS = {b"a1lx", b"a1op", b"lsel"}
#: BT.709 or not told; sRGB, nearly so, or not told (H.273): what Pillow writes.
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
    frames: int = 1
    plays: int = 0
    honest: bool = True
    plain: bool = True
    picture: Stream | None = None


def structure(data: bytes, max_frames: int) -> Structure:
    """Refuses a file that is broken or incomplete, has too many frames, or hides work for the decoder."""
    try:
        return _structure(IsoBmffReader(data, _MAX_PARTS), max_frames)
    except (struct.error, IndexError):
        raise corrupt_image("The AVIF is damaged or incomplete: one of its boxes ends early.") from None


def _structure(file: IsoBmffReader, max_frames: int) -> Structure:
    meta: Meta | None = None
    tracks: list[Structure] = []
    for kind, body in file.walk(file.view, lenient=True):
        if kind == b"meta":
            if meta is not None:
                raise corrupt_image("The AVIF is damaged: it is described twice.")
            meta = heif_items.meta(file, body)
        elif kind == b"moov":
            for inner, content in file.walk(body):
                if inner == b"trak" and (told := heif_tracks.track(file, content, max_frames)):
                    tracks.append(_animation(file, told))
                    if len(tracks) > _MAX_TRACKS:
                        raise corrupt_image("The AVIF is damaged: it has too many tracks.")
    if not tracks:
        return _still(file, meta or Meta())
    plays = tracks[0].plays
    # Which of them is shown depends on the decoder, so the file is judged by all of them.
    if meta is not None and meta.primary:
        tracks.append(_still(file, meta))
    return Structure(
        area=max(one.area for one in tracks),
        frames=max(one.frames for one in tracks),
        plays=plays,
        honest=all(one.honest for one in tracks),
        plain=all(one.plain for one in tracks),
    )


def _still(file: IsoBmffReader, meta: Meta) -> Structure:
    primary = meta.items.get(meta.primary)
    if primary is None:
        raise corrupt_image("The AVIF is damaged: it holds no picture.")
    areas: dict[int, int] = {}
    streams: dict[Extents, Stream] = {}
    honest, plain, picture = True, all(item.kind != b"tmap" for item in meta.items.values()), None
    for number in meta.decoded():
        item = meta.items.get(number, Item())
        areas[number] = prod(item.size)
        if item.kind == b"av01":
            stream = _stream(file, meta, item, streams)
            areas[number] = max(areas[number], stream.area)
            honest = honest and _honest(item, stream)
            plain = plain and stream.bit_depth == 8
            picture = stream if number == meta.primary else picture
    # A small picture may be cut from a grid of many tiles, all of which are decoded.
    grids = (sum(areas.get(number, 0) for number in parts) for parts in meta.tiles.values())
    return Structure(
        area=max(*areas.values(), *grids, 0),
        honest=honest,
        plain=plain and _plain(primary.properties, picture),
        picture=picture,
    )


def _stream(file: IsoBmffReader, meta: Meta, item: Item, known: dict[Extents, Stream]) -> Stream:
    if item.inside:
        return av1.stream([file.joined(meta.idat, item.extents)], file.budget, _MAX_CODED_FRAMES)
    # Tiles that look alike may share their bytes.
    if item.extents not in known:
        known[item.extents] = av1.stream([file.joined(file.view, item.extents)], file.budget, _MAX_CODED_FRAMES)
    return known[item.extents]


def _animation(file: IsoBmffReader, track: heif_tracks.Track) -> Structure:
    # Beside what is shown there are hidden frames that others refer to, fewer than those.
    stream = av1.stream(track.samples, file.budget, _MAX_CODED_FRAMES + 2 * len(track.samples))
    return Structure(
        area=max(stream.area, *map(prod, track.sizes)),
        frames=len(track.samples),
        plays=track.plays,
        plain=stream.bit_depth == 8 and all(_plain(properties, stream) for properties in track.properties),
    )


def _honest(item: Item, stream: Stream) -> bool:
    """Whether ispe is the coded size (AVIF, 2.1); rotation and crop do not change it, a selected layer may."""
    if stream.frame is None or any(kind in _LAYERS for kind, _ in item.properties):
        return True
    return item.size in ((0, 0), (stream.frame.width, stream.frame.height))


def _plain(properties: Iterable[Box], stream: Stream | None) -> bool:
    """Whether nothing is told that Pillow would lose: a crop, uneven pixels, HDR, a wide gamut without ICC."""
    primaries, transfer = (stream.primaries, stream.transfer) if stream is not None else (2, 2)
    for kind, body in properties:
        if kind not in _PLAIN or (kind == b"pasp" and body[:4] != body[4:8]):
            return False
        if kind == b"colr" and bytes(body[:4]) == b"nclx":
            primaries, transfer = struct.unpack_from(">HH", body, 4)
    return primaries in _PRIMARIES and transfer in _TRANSFERS
