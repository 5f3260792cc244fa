"""EXIF: one that holds an orientation only, and the source's own with another orientation."""

from __future__ import annotations

from PIL import Image

#: EXIF that holds an orientation and nothing else; the orientation is its 25th byte.
_ORIENTATION_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0%c\0\0" + b"\0\0\0\0"
#: Tags of a TIFF that tell about the picture: its name, who made it when and with what, and where.
_ABOUT = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_DIRECTORIES = (0x8769, 0x8825)


def orientation_exif(orientation: int) -> bytes:
    return b"" if orientation == 1 else _ORIENTATION_EXIF % orientation


def with_orientation(exif: bytes, orientation: int) -> bytes:
    """Written anew without its thumbnail, which would show what has been cut away."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        tags[0x0112] = orientation
        return tags.tobytes()
    except Exception:
        # EXIF is written by thousands of devices; a broken one is dropped rather than the picture refused.
        return orientation_exif(orientation)


def exif_of_tiff(image: Image.Image) -> bytes:
    """A TIFF is of tags like those of EXIF, most of which are about how its pixels are stored."""
    try:
        stored, tags = image.getexif(), Image.Exif()
        for tag in _ABOUT:
            if tag in stored:
                tags[tag] = stored[tag]
        for directory in _DIRECTORIES:
            if entries := stored.get_ifd(directory):
                tags.get_ifd(directory).update(entries)
                tags[directory] = entries
        return tags.tobytes() if len(tags) else b""
    except Exception:
        return b""
