"""Hostile images: files of every format are split into parts as decoders do, and recombined."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from hypothesis import strategies as st

from tests.fuzz.mutations import damaged_bytes, rearranged_parts
from tests.imaging.corpus import bmp, gif, jpeg, png, tiff, webp
from tests.imaging.corpus.images import animated, encode, photo, with_alpha

#: Larger sources take more time and find nothing more.
_MAX_SOURCE_BYTES = 40_000
#: The longest signatures are `RIFF....WEBP` and `....ftypavif`.
_SIGNATURE_BYTES = 12
_PNG_START = b"\x89PNG\r\n\x1a\n"


@cache
def sources() -> dict[str, bytes]:
    """The corpus of the compression tests by name. The first word is the format."""
    images = {f"JPEG {name}": data for name, data in jpeg.sources().items()}
    images |= {f"PNG {name}": data for name, data in png.sources((40, 30))}
    images |= {f"PNG 16 bits, colour type {n}": png.png_16_bit(n, size=(40, 30)) for n in (png.GREY, png.RGB_ALPHA)}
    images |= {f"PNG animation {name}": png.animation(**traits) for name, traits in png.ANIMATIONS.items()}
    images |= {f"GIF {name}": data for name, data in gif.sources().items()}
    images |= {f"WEBP {name}": data for name, data in webp.sources().items()}
    images |= {f"TIFF {name}": data for name, data in tiff.sources().items()}
    images |= {f"BMP {name}": data for name, data in bmp.sources().items()}
    images |= {
        "AVIF": encode(photo(48, 32), "AVIF", speed=10),
        "AVIF with alpha": encode(with_alpha(photo(48, 32)), "AVIF", speed=10),
        "AVIF animation": animated("AVIF", speed=10),
    }
    return {name: data for name, data in images.items() if len(data) <= _MAX_SOURCE_BYTES}


def split(data: bytes) -> list[bytes]:
    """The chunks, segments or boxes of the file. Joined, they are the file."""
    match data[:4]:
        case b"\x89PNG":
            cuts = _cuts(data, 8, lambda at: 12 + int.from_bytes(data[at : at + 4], "big"))
        case b"RIFF":
            cuts = _cuts(data, 12, lambda at: 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1 & ~1))
        case _ if data[4:8] == b"ftyp":
            cuts = _boxes(data)
        case _ if data.startswith(b"\xff\xd8"):
            cuts = _cuts(
                data,
                2,
                lambda at: 2 + int.from_bytes(data[at + 2 : at + 4], "big") if data[at + 1] != 0xDA else len(data) - at,
            )
        case b"GIF8":
            cuts = [0, 13, *(at for at in range(13, len(data)) if data[at : at + 2] in (b"\x21\xf9", b"\0\x2c"))]
        case b"II*\0" | b"MM\0*":
            cuts = [0, 8, *range(10, min(len(data), 10 + 12 * 40), 12)]
        case _:
            cuts = [0, 14, 54, *range(100, len(data), max(1, len(data) // 8))]
    return [data[start:end] for start, end in zip(cuts, [*cuts[1:], len(data)], strict=True) if start < end]


def _cuts(data: bytes, start: int, step: object) -> list[int]:
    cuts, at = [0], start
    while at < len(data) - 4:
        cuts.append(at)
        at += max(1, step(at))  # type: ignore[operator]
    return cuts


def _boxes(data: bytes) -> list[int]:
    """The offsets of boxes, including nested ones."""
    kinds = (b"meta", b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp", b"ipco", b"ispe", b"pixi", b"av1C", b"colr")
    kinds += (b"ipma", b"iref", b"auxC", b"mdat", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"stsz")
    kinds += (b"stco", b"stsc", b"stts", b"edts", b"tkhd", b"mvhd", b"mdhd", b"irot", b"imir")
    offsets = {0} | {at - 4 for kind in kinds if (at := data.find(kind)) >= 4}
    return sorted(offsets)


def repair(data: bytes) -> bytes:
    """Corrects the checksums of a PNG and the length of a RIFF. Otherwise decoders stop there."""
    if data.startswith(b"RIFF") and len(data) >= 8:
        return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    if not data.startswith(_PNG_START):
        return data
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


@cache
def foreign_parts() -> list[bytes]:
    """Parts of other files, some of each format."""
    first = {name.split()[0]: data for name, data in reversed(sources().items())}
    return [part for data in first.values() for part in split(data) if len(part) < 5_000]


@st.composite
def hostile_images(draw: st.DrawFn, form: str) -> bytes:
    """A damaged image of one format."""
    named = sorted(name for name in sources() if name.split()[0] == form)
    source = sources()[draw(st.sampled_from(named))]
    parts = split(source)
    damage = draw(st.sampled_from(("bytes", "bytes", "parts", "both")))
    recombined = parts if damage == "bytes" else draw(rearranged_parts(parts, foreign_parts(), most=3))
    data = b"".join(recombined) if damage == "parts" else draw(damaged_bytes(b"".join(recombined)))
    if draw(st.integers(0, 9)):
        # Most of them keep the signature. Without it they are refused at once.
        data = source[:_SIGNATURE_BYTES] + data[_SIGNATURE_BYTES:]
    return repair(data) if draw(st.booleans()) else data
