"""What the bytes of a file say about it, read by walking its structure: nothing is decoded, nothing allocated.

Pillow tells the same, but some of its plug-ins allocate the canvas, count frames by decoding them, or step
through junk byte by byte; a walk over the structure costs microseconds whatever the file claims.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gql_imgproc.imaging.errors import corrupt_image, too_large

#: Segments, chunks or blocks of one file; more is no picture but an attack on the loop that reads them.
MAX_PARTS = 65_536
#: Sub-blocks of a GIF (at most 255 bytes each); 1,000,000 of them are walked in about 60 ms.
_MAX_SUB_BLOCKS = 1_000_000


@dataclass(frozen=True, slots=True)
class ImageStructure:
    """What a file is made of. `width` and `height` are as stored, before `orientation` (1-8) is applied.

    `area` is the largest number of pixels that any frame is painted on, `plays` how often an animation runs
    (0 is for ever), `durations_ms` and `lossless` are told where the structure tells them.
    """

    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    area: int = 0
    scans: int = 1
    #: Whether a JPEG has an end, and hence probably all of its pixels.
    ended: bool = True
    plays: int = 0
    durations_ms: tuple[int, ...] = ()
    lossless: bool = False
    cheap: bool = True
    #: The VP8 streams of a WebP, for their quantisers.
    streams: tuple[memoryview, ...] = ()
    #: How coarse the picture of an AVIF is quantised, 0 to 255; -1 where that is not read.
    quantiser: int = -1
    #: Whether an AVIF claims the size that its pictures are coded in.
    honest: bool = True
    #: Whether Pillow can write all that an AVIF tells about depth, colour and shape.
    plain: bool = True

    @property
    def pixels(self) -> int:
        return max(self.area, self.width * self.height)


def orientation_of(exif: bytes) -> int:
    """The orientation that EXIF tells; 1 when it tells none or is broken."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for n in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * n)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each chunk, as far as the file is whole."""
    view, at = memoryview(data), 8
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if at + 12 + length > len(data):
            return
        yield kind, view[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IEND":
            return
    raise corrupt_image("The PNG is damaged: it is split into too many chunks.")


def png(data: bytes) -> ImageStructure:
    size: tuple[int, int] | None = None
    orientation, declared, seen, plays, kind = 1, 0, 0, 0, b""
    for kind, body in png_chunks(data):
        if kind == b"IHDR":
            if size is not None or len(body) != 13:
                raise corrupt_image("The PNG is damaged: its header is wrong.")
            width, height = struct.unpack_from(">II", body)
            size = width, height
        elif kind == b"acTL" and len(body) == 8:
            declared, plays = struct.unpack(">II", body)
        elif kind == b"fcTL":
            seen += 1
        elif kind == b"eXIf":
            orientation = orientation_of(bytes(body))
    if size is None:
        raise corrupt_image("The PNG is damaged: it ends before its header does.")
    if kind != b"IEND":
        # Nothing else tells that the later frames of an animation are missing: they are not decoded.
        raise corrupt_image("The PNG is incomplete: bytes are missing at its end.")
    frames = max(1, declared, seen)
    return ImageStructure(*size, frames=frames, orientation=orientation, plays=plays)


def gif(data: bytes, max_frames: int) -> ImageStructure:
    try:
        return _gif(data, max_frames)
    except (IndexError, struct.error):
        raise corrupt_image("The GIF is incomplete: it ends in the middle of a frame.") from None


def _gif(data: bytes, max_frames: int) -> ImageStructure:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    first: tuple[int, int] | None = None
    widest, highest, duration, plays, blocks = width, height, 0, 1, 0
    durations: list[int] = []
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            break
        if kind == 0x2C:
            x, y, w, h, local = struct.unpack_from("<HHHHB", data, at + 1)
            widest, highest = max(widest, x + w), max(highest, y + h)
            if first is None:
                first = max(width, x + w), max(height, y + h)
            durations.append(duration)
            # It is told for one frame (GIF89a, 23).
            duration = 0
            if len(durations) > max_frames:
                raise too_large(f"The animation has more than {max_frames:,} frames, which is the limit.")
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif kind == 0x21:
            label = data[at + 1]
            if label == 0xF9:
                duration = 10 * int.from_bytes(data[at + 4 : at + 6], "little")
            elif label == 0xFF and data[at + 3 : at + 14] == b"NETSCAPE2.0" and data[at + 15] == 1:
                repeats = int.from_bytes(data[at + 16 : at + 18], "little")
                plays = repeats + 1 if repeats else 0
            at += 2
        else:
            at += 1
            blocks += 1
            if blocks > _MAX_SUB_BLOCKS:
                break
            continue
        while n := data[at]:
            at += n + 1
            blocks += 1
            if blocks > _MAX_SUB_BLOCKS:
                raise corrupt_image("The GIF is damaged: it is split into too many blocks.")
        at += 1
    if first is None:
        raise corrupt_image("The GIF is damaged: it holds no frame.")
    return ImageStructure(
        *first, frames=len(durations), area=widest * highest, plays=plays, durations_ms=tuple(durations)
    )


def webp(data: bytes, max_frames: int) -> ImageStructure:
    if len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise corrupt_image("The WebP is incomplete: bytes are missing at its end.")
    canvas: tuple[int, int] | None = None
    orientation, plays = 1, 0
    durations: list[int] = []
    lossy: list[memoryview] = []
    images = 0
    for kind, body in _riff(memoryview(data)[12:]):
        if kind == b"VP8X" and len(body) >= 10 and canvas is None:
            canvas = _u24(body, 4) + 1, _u24(body, 7) + 1
        elif kind in (b"VP8 ", b"VP8L"):
            images += 1
            canvas = canvas or _webp_size(kind, body)
            if kind == b"VP8 ":
                lossy.append(body)
        elif kind == b"EXIF":
            orientation = orientation_of(bytes(body))
        elif kind == b"ANIM" and len(body) >= 6:
            plays = int.from_bytes(body[4:6], "little")
        elif kind == b"ANMF" and len(body) >= 16:
            durations.append(_u24(body, 12))
            if len(durations) > max_frames:
                raise too_large(f"The animation has more than {max_frames:,} frames, which is the limit.")
            for inner, stream in _riff(body[16:]):
                images += inner in (b"VP8 ", b"VP8L")
                if inner == b"VP8 ":
                    lossy.append(stream)
    if canvas is None or not images:
        raise corrupt_image("The WebP is damaged: it holds no picture.")
    return ImageStructure(
        *canvas,
        frames=max(1, len(durations)),
        orientation=orientation,
        plays=plays,
        durations_ms=tuple(durations),
        lossless=len(lossy) < images,
        streams=tuple(lossy),
    )


def _riff(view: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    for _ in range(MAX_PARTS):
        if at + 8 > len(view):
            return
        length = int.from_bytes(view[at + 4 : at + 8], "little")
        yield bytes(view[at : at + 4]), view[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    raise corrupt_image("The WebP is damaged: it is split into too many chunks.")


def _u24(view: memoryview, at: int) -> int:
    return int.from_bytes(view[at : at + 3], "little")


def _webp_size(kind: bytes, body: memoryview) -> tuple[int, int] | None:
    if kind == b"VP8 " and len(body) >= 10 and bytes(body[3:6]) == b"\x9d\x01\x2a":
        w, h = struct.unpack_from("<HH", body, 6)
        return w & 0x3FFF, h & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None
