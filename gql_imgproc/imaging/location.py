"""Erases where an image was taken from its metadata, for files that are kept. No other byte changes or moves."""

from __future__ import annotations

import re
import struct
from itertools import islice

from gql_imgproc.imaging.exif import orientation_exif, read_orientation
from gql_imgproc.imaging.tiff_reader import TiffReader

_GPS, _XMP = 0x8825, 700
#: EXIF defines half as many tags of GPS data.
_MAX_GPS_TAGS = 64
#: As attributes and as elements.
_GPS_IN_XMP = re.compile(rb"""exif:GPS\w+\s*=\s*(?:"[^"]*"|'[^']*')|<(exif:GPS\w+)>[^<]*</\1>""")
#: What broken metadata raise.
ERRORS = (struct.error, ValueError, IndexError)


def erase_from_exif(exif: bytes) -> bytes:
    """EXIF of the same size without GPS data; if it is broken, only its orientation stays."""
    tiff = exif.removeprefix(b"Exif\0\0")
    try:
        return exif[: len(exif) - len(tiff)] + erase_from_tiff(tiff, pages=1)
    except ERRORS:
        return orientation_exif(read_orientation(exif)).ljust(len(exif), b"\0")[: len(exif)]


def erase_from_xmp(xmp: bytes) -> bytes:
    return _GPS_IN_XMP.sub(lambda found: b" " * len(found[0]), xmp)


def erase_from_tiff(data: bytes, pages: int) -> bytes:
    """Erases the GPS data and the GPS data in XMP of that many pages. Raises struct.error or ValueError."""
    file, out = TiffReader(data), bytearray(data)
    # A slice of a view keeps its size: a value that ends behind the file raises ValueError.
    with memoryview(out) as view:
        for page in islice(file.pages(), pages):
            for entry in file.entries(page):
                if entry.tag == _GPS:
                    _erase_directory(file, file.offset(entry), view)
                elif entry.tag == _XMP:
                    at = file.values_at(entry)
                    view[at : at + entry.size] = erase_from_xmp(data[at : at + entry.size])
    return bytes(out)


def _erase_directory(file: TiffReader, directory: int, view: memoryview) -> None:
    if file.count(directory) > _MAX_GPS_TAGS:
        raise ValueError("too many tags")
    for entry in file.entries(directory):
        at = file.values_at(entry)
        view[at : at + entry.size] = bytes(min(entry.size, len(view) + 1))
    end = file.end(directory)
    view[directory:end] = bytes(end - directory)
