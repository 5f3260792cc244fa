"""PNG chunks: which of them belong to the picture, and how they are put together again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from gql_imgproc.imaging.exif import orientation_exif
from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.structure import png_chunks

Chunk = tuple[bytes, bytes]

_SHOWN = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"pHYs")
#: Depend on how pixels are stored: kept as they are only when these stay as they are.
_STORED = (b"sBIT", b"bKGD")
_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_STRUCTURE = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")

#: Samples of one pixel by colour type: grey, RGB, palette, grey with alpha, RGB with alpha.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Gamma of screens as gAMA tells it (1/2.2) and how far from it colours still look alike.
_SCREEN_GAMMA, _GAMMA_LEEWAY = 45_455, 5_000
#: Transfer functions of cICP (ITU-T H.273) whose steps are those of a screen: BT.709 and its kin, sRGB.
_SCREEN_TRANSFERS = (1, 2, 6, 13, 14, 15)


def read(data: bytes) -> list[Chunk]:
    return [(kind, bytes(body)) for kind, body in png_chunks(data)]


def joined(chunks: Iterable[Chunk]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in chunks:
        check = zlib.crc32(body, zlib.crc32(kind))
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", check)]
    return b"".join(parts)


def has(chunks: list[Chunk], *kinds: bytes) -> bool:
    return any(kind in kinds for kind, _ in chunks)


def drop_metadata_chunks(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> list[Chunk]:
    """All chunks but those that only tell about the picture."""
    if keep_metadata:
        return chunks
    out = [c for c in chunks if c[0] in _STRUCTURE + _SHOWN + _STORED]
    if orientation != 1:
        out.insert(1, _oriented(orientation))
    return out


def beside(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> list[Chunk]:
    """What goes with the pixels when they are stored in another way."""
    wanted = _SHOWN + _METADATA if keep_metadata else _SHOWN
    out = [c for c in chunks if c[0] in wanted]
    out += [(kind, _as_rgb(body)) for kind, body in chunks if kind == b"sBIT"]
    if not keep_metadata and orientation != 1:
        out.append(_oriented(orientation))
    return out


def _as_rgb(bits: bytes) -> bytes:
    """Significant bits of red, green and blue, as a palette or RGB has them; alpha's are left out."""
    return bits[:3] if len(bits) >= 3 else bits[:1] * 3


def fitting(beside: list[Chunk], colour: int) -> list[Chunk]:
    """`beside` as it goes with a colour type: grey has one number of significant bits."""
    return [(kind, bytes((max(body),)) if kind == b"sBIT" and colour == 0 else body) for kind, body in beside]


def beside_new_pixels(extras: Extras, info: dict[str | tuple[int, int], object]) -> list[Chunk]:
    """`info` is Pillow's; it tells what the numbers of a PNG mean where no profile does."""
    out: list[Chunk] = []
    gamma, corners = info.get("gamma"), info.get("chromaticity")
    if isinstance(gamma, float):
        out.append((b"gAMA", struct.pack(">I", round(gamma * 100_000))))
    if isinstance(corners, tuple):
        out.append((b"cHRM", struct.pack(">8I", *(round(n * 100_000) for n in corners))))
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
        out.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + extras.xmp))
    return out


def coded(chunks: list[Chunk]) -> tuple[Chunk, ...]:
    """What tells of HDR or of a television's colours, and Pillow does not know."""
    return tuple(c for c in chunks if c[0] in (b"cICP", b"mDCV", b"cLLI"))


def is_perceptually_uniform(chunks: list[Chunk]) -> bool:
    """Whether equal steps of the numbers are about equally visible, which every measure of fidelity takes for
    granted: not so with linear light (gamma 1) or the curves of HDR."""
    for kind, body in chunks:
        if kind == b"gAMA" and len(body) == 4:
            (gamma,) = struct.unpack(">I", body)
            if abs(gamma - _SCREEN_GAMMA) > _GAMMA_LEEWAY:
                return False
        if kind == b"cICP" and (len(body) != 4 or body[1] not in _SCREEN_TRANSFERS):
            return False
    return True


def _oriented(orientation: int) -> Chunk:
    return b"eXIf", orientation_exif(orientation).removeprefix(b"Exif\0\0")
