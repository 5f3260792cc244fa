"""EXIF: reads the orientation, and writes it, alone or into the EXIF of the source."""

from __future__ import annotations

import struct

from PIL import Image

#: EXIF with nothing but an orientation, which is its 25th byte.
_ORIENTATION_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0%c\0\0" + b"\0\0\0\0"
#: Tags of a TIFF that are metadata: names, make, model, software, date, artist, copyright.
_METADATA_TAGS = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
#: Camera and GPS data.
_GPS = 0x8825
_DIRECTORIES = (0x8769, _GPS)


def read_orientation(exif: bytes) -> int:
    """The orientation in EXIF; 1 if it has none or is broken."""
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


def orientation_exif(orientation: int) -> bytes:
    return b"" if orientation == 1 else _ORIENTATION_EXIF % orientation


def notice_exif(orientation: int, tags: dict[int, str]) -> bytes:
    """EXIF with nothing but an orientation and these tags."""
    if not tags:
        return orientation_exif(orientation)
    exif = Image.Exif()
    if orientation != 1:
        exif[0x0112] = orientation
    for tag, text in tags.items():
        exif[tag] = text.encode()
    return exif.tobytes()


def decode_text(text: str) -> str:
    """A text that Pillow read as Latin-1. Most programs write UTF-8, as EXIF 3.0 allows."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def keep_texts(tags: Image.Exif) -> None:
    """Sets texts as bytes, because Pillow writes `?` for what is not ASCII."""
    for tag, value in list(tags.items()):
        if isinstance(value, str):
            tags[tag] = decode_text(value).encode()


def set_orientation(exif: bytes, orientation: int) -> bytes:
    """The EXIF with this orientation and without its thumbnail, which might show what was cropped."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        tags[0x0112] = orientation
        keep_texts(tags)
        return tags.tobytes()
    except Exception:
        # Thousands of devices write EXIF. Broken EXIF is dropped and does not fail the image.
        return orientation_exif(orientation)


def exif_of_tiff(image: Image.Image) -> bytes:
    """The metadata among the tags of a TIFF. Most of the other tags describe how the pixels are stored."""
    try:
        stored, tags = image.getexif(), Image.Exif()
        for tag in _METADATA_TAGS:
            if tag in stored:
                tags[tag] = stored[tag]
        for directory in _DIRECTORIES:
            if entries := stored.get_ifd(directory):
                tags.get_ifd(directory).update(entries)
                tags[directory] = entries
        keep_texts(tags)
        return tags.tobytes() if len(tags) else b""
    except Exception:
        return b""
