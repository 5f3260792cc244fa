"""PNG chunks: reads them, writes them, and selects those that go into a new file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.exif import orientation_exif
from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.structure import MAX_PARTS

Chunk = tuple[bytes, bytes]

#: Change how the pixels look.
_APPEARANCE = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"pHYs")
#: Depend on how the pixels are stored: kept only if depth and colour type stay.
_STORAGE = (b"sBIT", b"bKGD")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_METADATA = (b"eXIf", *_TEXTS, b"tIME")
_XMP = b"XML:com.adobe.xmp\0\0"
_STRUCTURE = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")

#: Samples of one pixel by colour type: grey, RGB, palette, grey with alpha, RGB with alpha.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Gamma of screens in gAMA units (1/2.2), and the difference at which colours still look alike.
_SCREEN_GAMMA, _GAMMA_TOLERANCE = 45_455, 5_000
#: Transfer functions of cICP (ITU-T H.273) that are close to a screen's: BT.709 and similar ones, sRGB.
_SCREEN_TRANSFERS = (1, 2, 6, 13, 14, 15)


def walk(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each complete chunk."""
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


def read(data: bytes) -> list[Chunk]:
    return [(kind, bytes(body)) for kind, body in walk(data)]


def drop_texts(data: bytes) -> bytes:
    """The file without texts, which Pillow would inflate before the pixels, up to 64 MiB; uncompressed XMP stays."""
    if not any(kind in data for kind in _TEXTS):
        return data
    pieces, at, start = [], 8, 0
    for kind, body in walk(data):
        end = at + 12 + len(body)
        if kind in _TEXTS and bytes(body[: len(_XMP)]) != _XMP:
            pieces.append(data[start:at])
            start = end
        at = end
    return b"".join([*pieces, data[start:]]) if pieces else data


def write(chunks: Iterable[Chunk]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        checksum = zlib.crc32(body, zlib.crc32(kind))
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)]
    return b"".join(parts)


def has_chunk(chunks: list[Chunk], *kinds: bytes) -> bool:
    return any(kind in kinds for kind, _ in chunks)


def drop_metadata_chunks(chunks: list[Chunk], orientation: int, *, keep_metadata: bool) -> list[Chunk]:
    """All chunks except metadata. The orientation is written again."""
    if keep_metadata:
        return chunks
    out = [c for c in chunks if c[0] in _STRUCTURE + _APPEARANCE + _STORAGE]
    if orientation != 1:
        out.insert(1, _orientation_chunk(orientation))
    return out


def ancillary_chunks(chunks: list[Chunk], orientation: int, *, keep_metadata: bool) -> list[Chunk]:
    """The chunks to keep when depth or colour type of the pixels changes."""
    kinds = _APPEARANCE + _METADATA if keep_metadata else _APPEARANCE
    out = [c for c in chunks if c[0] in kinds]
    out += [(kind, _rgb_significant_bits(body)) for kind, body in chunks if kind == b"sBIT"]
    if not keep_metadata and orientation != 1:
        out.append(_orientation_chunk(orientation))
    return out


def _rgb_significant_bits(bits: bytes) -> bytes:
    """The sBIT of a palette or of RGB: one number each for red, green and blue, none for alpha."""
    return bits[:3] if len(bits) >= 3 else bits[:1] * 3


def fit_color_type(ancillary: list[Chunk], color_type: int) -> list[Chunk]:
    """The sBIT of a grey image has one number instead of three."""
    return [(kind, bytes((max(body),)) if kind == b"sBIT" and color_type == 0 else body) for kind, body in ancillary]


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
        out.append((b"iTXt", _XMP + b"\0\0\0" + extras.xmp))
    return out


def video_color_chunks(chunks: list[Chunk]) -> tuple[Chunk, ...]:
    """HDR and video colour spaces, which Pillow does not read."""
    return tuple(c for c in chunks if c[0] in (b"cICP", b"mDCV", b"cLLI"))


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


def _orientation_chunk(orientation: int) -> Chunk:
    return b"eXIf", orientation_exif(orientation).removeprefix(b"Exif\0\0")
