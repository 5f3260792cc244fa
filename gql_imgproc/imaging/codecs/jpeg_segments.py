"""Walks the segments of a JPEG: size, scans, end marker and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gql_imgproc.imaging.errors import corrupt_image, unsupported
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure

#: Junk bytes between segments. Decoders read them one by one.
_MAX_JUNK_BYTES = 65_536
_EXIF, _PHOTOSHOP, _LONG_XMP = b"Exif\0\0", b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
_START_OF_SCAN, _END = 0xDA, 0xD9
#: A marker among coded pixels. 0x00 is an escaped pixel, 0xD0 to 0xD7 are restarts, 0xFF is a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    orientation, size, progressive, components = 0, None, False, 0
    for marker, at, body in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if size is not None or len(body) < 6:
                break
            if body[0] != 8 or marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                raise unsupported("The file is a lossless, hierarchical or 12-bit JPEG, which is not supported.")
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            progressive, components = marker not in (0xC0, 0xC1, 0xC9), body[5]
        elif marker == 0xE1 and body.startswith(_EXIF):
            # Browsers use the first one.
            orientation = orientation or read_orientation(body)
        elif marker == _START_OF_SCAN:
            if size is None:
                break
            start = at + len(body)
            # Decoders read no further scan after a baseline scan with all components.
            is_only_scan = not progressive and body[:1] == bytes((components,))
            scans, is_complete = (1, _has_end(data, start)) if is_only_scan else _count_scans(data, start)
            return ImageStructure(*size, orientation=orientation or 1, scans=scans, is_complete=is_complete)
    raise corrupt_image("The JPEG is damaged: it ends inside its header.")


def metadata(data: bytes, *, has_new_pixels: bool) -> bytes:
    """The segments with IPTC and with XMP that is too long for one segment. Pillow does not carry them over.

    With new pixels only IPTC: Photoshop's other resources and long XMP contain thumbnails, which might show what was
    cropped.
    """
    out = []
    for marker, _, body in segments(data):
        if marker == 0xED and body.startswith(_PHOTOSHOP):
            body = _iptc(body) if has_new_pixels else body
        elif has_new_pixels or marker != 0xE1 or not body.startswith(_LONG_XMP):
            continue
        if body:
            out.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body)
    return b"".join(out)


def _iptc(body: bytes) -> bytes:
    """The Photoshop segment reduced to IPTC (image resource 0x0404); empty if there is none."""
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
    """Marker, offset and content of each complete segment up to the first scan."""
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


def _has_end(data: bytes, at: int) -> bool:
    # Nearly all files end with the marker, and searching the whole file takes 1 ms per megabyte.
    return data.endswith(b"\xff\xd9") or data.find(b"\xff\xd9", at) >= 0


def _count_scans(data: bytes, at: int) -> tuple[int, bool]:
    """The number of scans, and whether there is an end marker; `at` is the start of the pixels of the first scan.

    Bytes after the end marker do not belong to the image: a video of a phone, an archive, another image.
    """
    scans = 1
    for _ in range(MAX_PARTS):
        match = _MARKER.search(data, at)
        if match is None:
            return scans, False
        marker, at = data[match.start() + 1], match.end()
        if marker == _END:
            return scans, True
        if marker == 0x01 or marker == 0xD8:
            continue
        scans += marker == _START_OF_SCAN
        at += int.from_bytes(data[at : at + 2], "big")
    raise corrupt_image("The JPEG is damaged: it is split into too many segments.")
