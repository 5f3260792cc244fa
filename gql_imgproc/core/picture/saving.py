"""Writing a picture with Pillow, and what goes with the pixels."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

from PIL import Image

from gql_imgproc.core.picture.containers import orientation_of

#: EXIF that holds an orientation and nothing else; the orientation is its 25th byte.
_ORIENTATION_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0%c\0\0" + b"\0\0\0\0"
#: Bytes that a JPEG or a WebP can hold as EXIF in one piece.
_MAX_EXIF_BYTES = 65_533


@dataclass(frozen=True, slots=True)
class Extras:
    """What is stored beside the pixels."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    comment: bytes = b""
    dpi: tuple[float, float] | None = None


def extras_of(image: Image.Image, orientation: int, keep_metadata: bool) -> Extras:
    """Colour profile, resolution and orientation; with `keep_metadata` all that Pillow can carry over.

    `orientation` is that of the stored pixels to come, whatever the source's EXIF says.
    """
    info = image.info
    icc, dpi = info.get("icc_profile") or b"", info.get("dpi")
    exif = orientation_exif(orientation)
    if not keep_metadata:
        return Extras(icc, exif, dpi=dpi)
    if stored := info.get("exif"):
        kept = stored if orientation_of(stored) == orientation else _with_orientation(stored, orientation)
        exif = kept if len(kept) <= _MAX_EXIF_BYTES else exif
    xmp, comment = info.get("xmp") or b"", info.get("comment") or b""
    return Extras(icc, exif, xmp if isinstance(xmp, bytes) else xmp.encode(), comment, dpi)


def orientation_exif(orientation: int) -> bytes:
    return b"" if orientation == 1 else _ORIENTATION_EXIF % orientation


def _with_orientation(exif: bytes, orientation: int) -> bytes:
    tags = Image.Exif()
    try:
        tags.load(exif)
        tags[0x0112] = orientation
        return tags.tobytes()
    except Exception:
        # EXIF is written by thousands of devices; a broken one is dropped rather than the picture refused.
        return orientation_exif(orientation)


def save(image: Image.Image, name: str, **how: Any) -> bytes:
    """The bytes of the picture in the format that Pillow calls `name`.

    Loaded first, lest Pillow copies the bitmap; written to a descriptor, since only then its encoders release
    the GIL.
    """
    image.load()
    with _scratch_file() as file:
        image.save(file, name, **how)
        file.seek(0)
        return file.read()


def _scratch_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("picture"), "w+b")
    return tempfile.TemporaryFile()


def same_pixels(made: bytes, image: Image.Image) -> bool:
    """Whether the file, read back, holds the pixels of the picture."""
    with Image.open(BytesIO(made)) as again:
        return again.size == image.size and again.convert(image.mode).tobytes() == image.tobytes()
