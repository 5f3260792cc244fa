"""Reads the frames of an APNG (PNG specification, third edition, 11.3.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, PngImagePlugin

from gql_imgproc.imaging.codecs.png_chunks import Chunk, pad_palette, scale_transparent_grey, walk, write
from gql_imgproc.imaging.composition import Disposal, Frame, compose
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.transform import to_working_mode

_DISPOSALS = (Disposal.KEEP, Disposal.CLEAR, Disposal.RESTORE)
#: Bytes of the sequence number of `fdAT`.
_NUMBER_BYTES = 4


@dataclass(slots=True)
class _StoredFrame:
    control: bytes
    pixels: list[memoryview] = field(default_factory=list)


def duration_ms(control: memoryview) -> int:
    """The delay that an `fcTL` states; its denominator is 100 if it is 0."""
    numerator: int
    denominator: int
    numerator, denominator = struct.unpack_from(">HH", control, 20)
    return round(1000 * numerator / (denominator or 100))


def read_frames(source: OpenedImage) -> Iterator[Image.Image] | None:
    """The composed frames; None for a still image. A default image that belongs to no frame is left out."""
    if not source.structure.durations_ms:
        return None
    return compose((source.structure.width, source.structure.height), _decode_frames(source.data))


def _decode_frames(data: bytes) -> Iterator[Frame]:
    header, shared, stored = b"", list[Chunk](), list[_StoredFrame]()
    for kind, body in walk(data):
        match kind:
            case b"IHDR":
                header = bytes(body)
            case b"PLTE" | b"tRNS":
                shared.append((kind, bytes(scale_transparent_grey(kind, body, header))))
            case b"fcTL":
                stored.append(_StoredFrame(bytes(body)))
            case b"IDAT" if stored:
                stored[-1].pixels.append(body)
            case b"fdAT":
                stored[-1].pixels.append(body[_NUMBER_BYTES:])
    for frame in stored:
        width, height, left, top, _, _, dispose, blend = struct.unpack_from(">4I2HBB", frame.control, 4)
        chunks = [(b"IHDR", struct.pack(">II", width, height) + header[8:]), *pad_palette(shared)]
        still = write([*chunks, (b"IDAT", b"".join(frame.pixels)), (b"IEND", b"")])
        image = to_working_mode(PngImagePlugin.PngImageFile(BytesIO(still)))
        yield Frame(image.convert("RGBA"), (left, top), _DISPOSALS[dispose], replaces=blend == 0)
