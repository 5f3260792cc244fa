"""The segments of a JPEG: its size, its scans, whether it has an end, and what is told beside the pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gql_imgproc.imaging.errors import corrupt_image, unsupported
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure, orientation_of

#: Bytes between two segments that may be junk; decoders look through them one by one.
_MAX_JUNK_BYTES = 65_536
_EXIF, _PHOTOSHOP, _LONG_XMP = b"Exif\0\0", b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
_START_OF_SCAN, _END = 0xDA, 0xD9
#: A marker among coded pixels: those of zero are pixels, 0xD0 to 0xD7 restarts, and 0xFF fills.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def read_structure(data: bytes) -> ImageStructure:
    orientation, size, progressive, components = 0, None, False, 0
    for marker, at, body in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if size is not None or len(body) < 6:
                break
            if body[0] != 8 or marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                raise unsupported(
                    "This is a JPEG of a rare kind (lossless, hierarchical or 12 bits), which is not supported."
                )
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            progressive, components = marker not in (0xC0, 0xC1, 0xC9), body[5]
        elif marker == 0xE1 and body.startswith(_EXIF):
            # Browsers take the first one.
            orientation = orientation or orientation_of(body)
        elif marker == _START_OF_SCAN:
            if size is None:
                break
            start = at + len(body)
            # A baseline scan that holds all components is the only one that is read.
            single = not progressive and body[:1] == bytes((components,))
            scans, ended = (1, _ends(data, start)) if single else _scans(data, start)
            return ImageStructure(*size, orientation=orientation or 1, scans=scans, ended=ended)
    raise corrupt_image("The JPEG is damaged: its header ends before the picture begins.")


def metadata(data: bytes, remade: bool) -> bytes:
    """Segments with IPTC and with what of XMP is too long for one, which Pillow does not carry over.

    For `remade` pixels only IPTC: Photoshop's other parts and long XMP hold thumbnails, which would show what was cut
    away.
    """
    out = []
    for marker, _, body in segments(data):
        if marker == 0xED and body.startswith(_PHOTOSHOP):
            body = _iptc(body) if remade else body
        elif remade or marker != 0xE1 or not body.startswith(_LONG_XMP):
            continue
        if body:
            out.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body)
    return b"".join(out)


def _iptc(body: bytes) -> bytes:
    """What Photoshop tells without all but IPTC (image resource 0x0404); empty when there is none."""
    at = len(_PHOTOSHOP)
    while body[at : at + 4] == b"8BIM" and at + 12 <= len(body):
        name = body[at + 6] + 2 & ~1
        size_at = at + 6 + name
        end = size_at + 4 + int.from_bytes(body[size_at : size_at + 4], "big")
        end += end - size_at & 1
        if body[at + 4 : at + 6] == b"\x04\x04":
            return _PHOTOSHOP + body[at:end]
        at = end
    return b""


def segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Marker, offset and content of each segment up to the first scan, as far as the header is whole."""
    at, junk = 2, 0
    for _ in range(MAX_PARTS):
        marker_at = data.find(b"\xff", at)
        if marker_at < 0:
            return
        junk += marker_at - at
        if junk > _MAX_JUNK_BYTES:
            return
        marker = data[marker_at + 1] if marker_at + 1 < len(data) else 0
        if marker in (0x00, 0xFF):
            at, junk = marker_at + 1, junk + 1
            continue
        at = marker_at + 2
        if marker == _END:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        if length < 2 or len(body) != length - 2:
            return
        yield marker, at + 2, body
        if marker == _START_OF_SCAN:
            return
        at += length


def _ends(data: bytes, at: int) -> bool:
    # Nearly all do with their last bytes, and looking through all of them takes 1 ms a megabyte.
    return data.endswith(b"\xff\xd9") or data.find(b"\xff\xd9", at) >= 0


def _scans(data: bytes, at: int) -> tuple[int, bool]:
    """How many scans there are from the pixels of the first one on, and whether the picture ends after them.

    What stands behind the end is not the picture's: a film of a phone, an archive, another picture.
    """
    scans = 1
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None:
            return scans, False
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            return scans, True
        if marker == 0x01 or marker == 0xD8:
            continue
        scans += marker == _START_OF_SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    raise corrupt_image("The JPEG is damaged: it is split into too many segments.")
