"""PNG chunks: reads them, writes them, and selects those that go into a new file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

from gql_imgproc.imaging.codecs.png_texts import TEXTS, is_notice
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.options import Metadata
from gql_imgproc.imaging.structure import MAX_PARTS

Chunk = tuple[bytes, bytes]
_Body = TypeVar("_Body", bytes, memoryview)

#: Change how the pixels look.
_APPEARANCE = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"pHYs")
#: Depend on how the pixels are stored: kept only if depth and colour type stay.
_STORAGE = (b"sBIT", b"bKGD")
_METADATA = (b"eXIf", *TEXTS, b"tIME")
XMP = b"XML:com.adobe.xmp\0\0"
_STRUCTURE = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
_PIXELS = (b"IDAT", b"fdAT")
#: An animation without one of these is another one, although readers may ignore them.
_CRITICAL = (b"fcTL",)
#: Browsers read the first one of each, and only in front of the pixels.
_BEFORE_PIXELS = (b"PLTE", b"tRNS", b"acTL", *_APPEARANCE, *_STORAGE)
_MIN_BYTES = {b"cHRM": 32, b"sRGB": 1, b"gAMA": 4, b"pHYs": 9, b"acTL": 8, b"cICP": 4}

#: Colour types of the header, and the entries of the largest palette.
_GREY, _PALETTE, _MAX_PALETTE = 0, 3, 256
#: Rendering intents of sRGB: 0 to 3.
_LAST_INTENT = 3
#: Samples of one pixel by colour type: grey, RGB, palette, grey with alpha, RGB with alpha.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Gamma of screens in gAMA units (1/2.2), and the difference at which colours still look alike.
_SCREEN_GAMMA, _GAMMA_TOLERANCE = 45_455, 5_000
#: Transfer functions of cICP (ITU-T H.273) that are close to a screen's: BT.709 and similar ones, sRGB.
_SCREEN_TRANSFERS = (1, 2, 6, 13, 14, 15)


def walk(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each chunk up to the end of the image.

    As in browsers, a damaged or misplaced chunk that the pixels do not depend on is skipped, an animation has as many
    frames as it declares or fewer, and a still image may lack its end. Raises ImageError for another damaged chunk.
    """
    header, seen, more_frames = b"", set[bytes](), 0
    for kind, body, checksum in walk_all(data):
        header = header or bytes(body)
        if kind in _PIXELS:
            if kind == b"IDAT" or more_frames >= 0:
                seen.add(kind)
                yield kind, body
        elif checksum != zlib.crc32(body, zlib.crc32(kind)) and kind != b"IEND":
            if kind in _CRITICAL or kind[:1].isupper():
                raise corrupt_image("The PNG is damaged: the checksum of a part that its pixels depend on is wrong.")
        elif kind == b"fcTL":
            more_frames -= 1
            if more_frames >= 0:
                yield kind, body
        elif _is_in_place(kind, seen, header) and _is_readable(kind, body, header):
            if kind == b"acTL":
                more_frames = _count_frames(data, body)
                if not more_frames:
                    continue
                body = memoryview(struct.pack(">I", more_frames) + body[4:])
            seen.add(kind)
            yield kind, body
    if b"IDAT" in seen and seen.isdisjoint((b"IEND", b"acTL")):
        yield b"IEND", memoryview(b"")


def _count_frames(data: bytes, control: memoryview) -> int:
    """The frames that an `acTL` declares, or those that there are if it declares more."""
    return min(int.from_bytes(control[:4], "big"), sum(kind == b"fcTL" for kind, _, _ in walk_all(data)))


def walk_all(data: bytes) -> Iterator[tuple[bytes, memoryview, int]]:
    """Type, content and stored checksum of each complete chunk, and the pixels of one that the end of the file cuts."""
    view, at = memoryview(data), 8
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            return
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            if kind == b"IDAT":
                # Whether pixels are missing shows when they are decoded.
                yield kind, view[at + 8 : end], zlib.crc32(view[at + 8 : end], zlib.crc32(kind))
            return
        yield kind, view[at + 8 : end], int.from_bytes(data[end : end + 4], "big")
        at = end + 4
        if kind == b"IEND":
            return
    raise corrupt_image("The PNG is damaged: it is split into too many chunks.")


def _is_in_place(kind: bytes, seen: set[bytes], header: bytes) -> bool:
    if kind == b"tRNS" and header[9:10] == bytes((_PALETTE,)) and b"PLTE" not in seen:
        return False
    return kind not in _BEFORE_PIXELS or seen.isdisjoint((kind, b"IDAT"))


def _is_readable(kind: bytes, body: memoryview, header: bytes) -> bool:
    """Whether Pillow accepts the chunk. It refuses the whole file for some that browsers ignore."""
    if kind == b"iCCP":
        name, _, method = bytes(body[:81]).partition(b"\0")
        return len(name) < 80 and method[:1] == b"\0"
    if kind == b"tRNS" and len(header) == 13:
        return {_GREY: 2, 2: 6}.get(header[9], 0) <= len(body) <= _MAX_PALETTE
    if kind == b"sRGB" and len(body):
        return body[0] <= _LAST_INTENT
    return len(body) >= _MIN_BYTES.get(kind, 0)


def scale_transparent_grey(kind: bytes, body: memoryview, header: bytes) -> memoryview:
    """The content of the chunk for Pillow, which scales samples of 2 and 4 bits to 8, but not the transparent one."""
    depth, color_type = header[8:10]
    if kind != b"tRNS" or color_type != _GREY or depth not in (2, 4):
        return body
    level, highest = int.from_bytes(body[:2], "big"), (1 << depth) - 1
    # No scaled sample is 1: browsers show a level that no sample can have as none.
    return memoryview(struct.pack(">H", level * 255 // highest if level <= highest else 1))


def pad_palette(chunks: Iterable[tuple[bytes, _Body]], entries: int = _MAX_PALETTE) -> list[tuple[bytes, _Body]]:
    """The chunks with a palette of so many colours. As in browsers, those that it lacks are its last one."""
    out, count = list(chunks), 0
    for n, (kind, body) in enumerate(out):
        count = len(body) // 3 if kind == b"PLTE" else count
        size = {b"PLTE": 3, b"tRNS": 1}.get(kind, 0) * bool(count)
        if size and count < entries and len(body) >= count * size:
            last = bytes(body[(count - 1) * size : count * size])
            out[n] = kind, type(body)(bytes(body[: count * size]) + last * (entries - count))
    return out


def read(data: bytes) -> list[Chunk]:
    return [(kind, bytes(body)) for kind, body in walk(data)]


def write(chunks: Iterable[tuple[bytes, bytes | memoryview]]) -> bytes:
    parts: list[bytes | memoryview] = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        checksum = zlib.crc32(body, zlib.crc32(kind))
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)]
    return b"".join(parts)


def has_chunk(chunks: list[Chunk], *kinds: bytes) -> bool:
    return any(kind in kinds for kind, _ in chunks)


def replace_metadata(chunks: list[Chunk], metadata: list[Chunk] | None) -> list[Chunk]:
    """All chunks, with other metadata unless it is None."""
    if metadata is None:
        return chunks
    out = [c for c in chunks if c[0] in _STRUCTURE + _APPEARANCE + _STORAGE]
    return [*out[:1], *metadata, *out[1:]]


def ancillary_chunks(chunks: list[Chunk], metadata: list[Chunk] | None) -> list[Chunk]:
    """The chunks to keep when depth or colour type of the pixels changes."""
    kinds = _APPEARANCE + _METADATA if metadata is None else _APPEARANCE
    return [*(c for c in chunks if c[0] in kinds), *(metadata or [])]


def metadata_chunks(chunks: list[Chunk], extras: Extras, wanted: Metadata) -> list[Chunk] | None:
    """The metadata of the new file; None if all of the source stay."""
    if wanted is Metadata.ALL:
        return None
    bare = Extras(exif=extras.exif, xmp=extras.xmp)
    notices = [(kind, body) for kind, body in chunks if is_notice(kind, body)]
    return new_ancillary_chunks(bare, {}) + (notices if wanted is Metadata.COPYRIGHT else [])


def new_ancillary_chunks(extras: Extras, info: dict[str | tuple[int, int], object]) -> list[Chunk]:
    """`info` is Pillow's. Without a profile, it defines the colours of a PNG."""
    out: list[Chunk] = []
    gamma, chromaticity = info.get("gamma"), info.get("chromaticity")
    if isinstance(gamma, float):
        out.append((b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    if isinstance(chromaticity, tuple):
        out.append((b"cHRM", struct.pack(">8I", *(round(n * 100_000) for n in chromaticity))))
    if isinstance(intent := info.get("srgb"), int):
        out.append((b"sRGB", bytes((intent,))))
    out += extras.chunks
    if extras.icc:
        out.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(extras.icc)))
    if extras.dpi:
        per_metre = (round(n / 0.0254) for n in extras.dpi)
        out.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if extras.exif:
        out.append((b"eXIf", extras.exif.removeprefix(b"Exif\0\0")))
    if extras.xmp:
        out.append((b"iTXt", XMP + b"\0\0\0" + extras.xmp))
    return out


def video_color_chunks(chunks: list[Chunk]) -> tuple[Chunk, ...]:
    """HDR and video colour spaces, which Pillow does not read."""
    return tuple(c for c in chunks if c[0] in (b"cICP", b"mDCV", b"cLLI"))


def read_video_colors(body: memoryview) -> tuple[int, int] | None:
    """Primaries and transfer of a cICP chunk, if they are not those of a screen."""
    return (body[0], body[1]) if body[0] not in (1, 2) or body[1] not in _SCREEN_TRANSFERS else None


def is_perceptually_uniform(chunks: list[Chunk]) -> bool:
    """Whether equal steps of the samples are about equally visible, as every similarity measure assumes. This is not
    so for linear light (gamma 1) and for HDR curves."""
    for kind, body in chunks:
        if kind == b"gAMA" and len(body) == 4:
            (gamma,) = struct.unpack(">I", body)
            if abs(gamma - _SCREEN_GAMMA) > _GAMMA_TOLERANCE:
                return False
        if kind == b"cICP" and (len(body) != 4 or body[1] not in _SCREEN_TRANSFERS):
            return False
    return True
