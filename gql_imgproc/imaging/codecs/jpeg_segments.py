"""Walks the segments of a JPEG: size, scans, end marker and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gql_imgproc.imaging import copyright_notice, location
from gql_imgproc.imaging.errors import corrupt_image, unsupported
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.options import Metadata
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure

#: Junk bytes between segments. Decoders read them one by one.
_MAX_JUNK_BYTES = 65_536
_EXIF, _PHOTOSHOP, _LONG_XMP = b"Exif\0\0", b"Photoshop 3.0\0", b"http://ns.adobe.com/xmp/extension/\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
#: Segments of applications and comments, and the names of those that say how the pixels look.
_METADATA_MARKERS = (*range(0xE0, 0xF0), 0xFE)
#: Marker of the segment of `floor_mark`, and what it begins with.
_FLOOR_MARKER, _FLOOR_MARK = 0xEB, b"gqi-floor\0"
_KEPT_NAMES = (b"JFIF\0", b"ICC_PROFILE\0", b"Adobe", _FLOOR_MARK)
#: Gain maps of Adobe and Android, of ISO 21496-1, and of Apple, whose mark is in the second image.
_GAIN_MAP_NAMES = (b"http://ns.adobe.com/hdr-gain-map/1.0/", b"urn:iso:std:iso:ts:21496:-1")
_APPLE_GAIN_MAP = b"urn:com:apple:photo:2020:aux:hdrgainmap"
#: Marker, name and least size of the segments that libjpeg interprets.
_MIN_BYTES = ((0xE0, b"JFIF", 14), (0xEE, b"Adobe", 12))
#: Marker and length, which precede the content of a segment.
_SEGMENT_HEAD_BYTES = 4
_START_OF_SCAN, _END = 0xDA, 0xD9
#: A marker among coded pixels. 0x00 is an escaped pixel, 0xD0 to 0xD7 are restarts, 0xFF is a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    orientation, size, progressive, components, has_gain_map = 0, None, False, 0, False
    for marker, at, body in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if size is not None or len(body) < 6:
                break
            if body[0] != 8 or marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF):
                raise unsupported("The file is a lossless, hierarchical or 12-bit JPEG, which is not supported.")
            size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
            progressive, components = marker not in (0xC0, 0xC1, 0xC9), body[5]
        elif marker in (0xE1, 0xE2) and any(name in body for name in _GAIN_MAP_NAMES):
            has_gain_map = True
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            has_gain_map |= _APPLE_GAIN_MAP in data
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
            return ImageStructure(
                *size,
                orientation=orientation or 1,
                scans=scans,
                is_complete=is_complete,
                has_gain_map=has_gain_map,
            )
    raise corrupt_image("The JPEG is damaged: it ends inside its header.")


def drop_short_segments(data: bytes) -> bytes:
    """The file without JFIF and Adobe segments that decoders ignore, but for which Pillow refuses the whole file."""
    pieces, start = [], 0
    for marker, at, body in segments(data):
        if any(marker == m and body.startswith(name) and len(body) < size for m, name, size in _MIN_BYTES):
            pieces.append(data[start : at - _SEGMENT_HEAD_BYTES])
            start = at + len(body)
    return b"".join([*pieces, data[start:]]) if pieces else data


def metadata(data: bytes, wanted: Metadata, *, has_new_pixels: bool) -> bytes:
    """The segments with IPTC and with XMP that is too long for one segment. Pillow does not carry them over.

    With new pixels only IPTC: Photoshop's other resources and long XMP contain thumbnails, which might show what was
    cropped.
    """
    out = []
    for marker, _, body in segments(data) if wanted is not Metadata.NONE else ():
        is_all = wanted is Metadata.ALL and not has_new_pixels
        if marker == 0xED and body.startswith(_PHOTOSHOP):
            body = body if is_all else _write_iptc(_read_iptc(body), wanted)
        elif not is_all or marker != 0xE1 or not body.startswith(_LONG_XMP):
            continue
        if body:
            out.append(segment(marker, body))
    return b"".join(out)


def replace_metadata(data: bytes, exif: bytes, xmp: bytes, iptc: bytes) -> bytes:
    """The file with this metadata instead of its own, and without bytes after its end."""
    pieces, end = [data[:2]], 2
    added = (segment(0xE1, exif) if exif else b"") + (segment(0xE1, _XMP + xmp) if xmp else b"") + iptc
    for marker, at, body in segments(data):
        end = at + len(body)
        is_metadata = marker in _METADATA_MARKERS and not any(body.startswith(name) for name in _KEPT_NAMES)
        if not is_metadata:
            is_jfif = marker == 0xE0
            # JFIF comes first, if it is there.
            pieces += [segment(marker, body), added] if is_jfif else [added, segment(marker, body)]
            added = b""
    return b"".join([*pieces, cut_off_after_end(data)[end:]])


def without_location(data: bytes) -> bytes:
    """The file without GPS data in EXIF and XMP. Nothing moves, since a second image may be found by its offset."""
    out = bytearray(data)
    for marker, at, body in segments(data):
        if marker == 0xE1 and body.startswith(_EXIF):
            out[at : at + len(body)] = location.erase_from_exif(body)
        elif marker == 0xE1 and body.startswith(_XMP):
            out[at : at + len(body)] = location.erase_from_xmp(body)
    return bytes(out)


def add_mark(data: bytes, floor: int) -> bytes:
    """Adds the segment of `floor_mark`, which is kept when metadata are dropped. JFIF comes first, if it is there."""
    marker, at, body = next(segments(data))
    end = at + len(body) if marker == 0xE0 else 2
    return data[:end] + segment(_FLOOR_MARKER, _FLOOR_MARK + bytes((floor,))) + data[end:]


def read_mark(data: bytes) -> int | None:
    marks = (body for marker, _, body in segments(data) if marker == _FLOOR_MARKER and body[:-1] == _FLOOR_MARK)
    return next((body[-1] for body in marks), None)


def cut_off_after_end(data: bytes) -> bytes:
    """The file without bytes after its end marker, if it has one."""
    start = next((at + len(body) for marker, at, body in segments(data) if marker == _START_OF_SCAN), len(data))
    return data[: next((end for marker, end in _markers(data, start) if marker == _END), None)]


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _read_iptc(body: bytes) -> bytes:
    """IPTC (image resource 0x0404) of a Photoshop segment; empty if there is none."""
    at = len(_PHOTOSHOP)
    while body[at : at + 4] == b"8BIM" and at + 12 <= len(body):
        name = body[at + 6] + 2 & ~1
        size_at = at + 6 + name
        end = size_at + 4 + int.from_bytes(body[size_at : size_at + 4], "big")
        if body[at + 4 : at + 6] == b"\x04\x04":
            return body[size_at + 4 : end]
        at = end + (end - size_at & 1)
    return b""


def _write_iptc(records: bytes, wanted: Metadata) -> bytes:
    records = copyright_notice.select_iptc(records) if wanted is Metadata.COPYRIGHT else records
    size = len(records).to_bytes(4, "big")
    return _PHOTOSHOP + b"8BIM\x04\x04\0\0" + size + records + b"\0" * (len(records) & 1) if records else b""


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
    markers = [marker for marker, _ in _markers(data, at)]
    return 1 + markers.count(_START_OF_SCAN), _END in markers


def _markers(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """The markers from `at` among coded pixels up to the end marker, each with the offset behind it."""
    for _ in range(MAX_PARTS):
        if (match := _MARKER.search(data, at)) is None:
            return
        marker, at = data[match.start() + 1], match.end()
        yield marker, at
        if marker == _END:
            return
        if marker not in (0x01, 0xD8):
            at += int.from_bytes(data[at : at + 2], "big")
    raise corrupt_image("The JPEG is damaged: it is split into too many segments.")
