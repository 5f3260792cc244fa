"""Writing a picture with Pillow, and what goes with the pixels."""

from __future__ import annotations

import math
import os
import re
import tempfile
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

from PIL import Image

from gql_imgproc.imaging import exif
from gql_imgproc.imaging.structure import orientation_of

#: Bytes that a JPEG or a WebP can hold as EXIF in one piece.
_MAX_EXIF_BYTES = 65_533
#: Dots an inch: a JPEG stores them in 16 bits, and nothing has been scanned with more.
_MAX_DPI = 65_535
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[1-8]")


@dataclass(frozen=True, slots=True)
class Extras:
    """What is stored beside the pixels."""

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    comment: bytes = b""
    dpi: tuple[float, float] | None = None
    #: Segments of a JPEG as they are.
    segments: bytes = b""
    #: Chunks of a PNG as they are.
    chunks: tuple[tuple[bytes, bytes], ...] = ()


def extras_of(image: Image.Image, orientation: int, keep_metadata: bool, remade: bool = False) -> Extras:
    """Colour profile, resolution and orientation; with `keep_metadata` all that Pillow can carry over.

    `orientation` is that of the stored pixels to come, whatever the source's EXIF says; `remade` tells that they are
    not the source's.
    """
    info = image.info
    icc, dpi = info.get("icc_profile") or b"", _dpi(info.get("dpi"))
    oriented = exif.orientation_exif(orientation)
    if not keep_metadata:
        return Extras(icc, oriented, dpi=dpi)
    if stored := info.get("exif") or (exif.exif_of_tiff(image) if image.format == "TIFF" else b""):
        as_it_is = orientation_of(stored) == orientation and not remade
        kept = stored if as_it_is else exif.with_orientation(stored, orientation)
        oriented = kept if len(kept) <= _MAX_EXIF_BYTES else oriented
    xmp, comment = info.get("xmp") or b"", info.get("comment") or b""
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>%d" % orientation, xmp if isinstance(xmp, bytes) else xmp.encode())
    return Extras(icc, oriented, xmp, comment if isinstance(comment, bytes) else comment.encode(), dpi)


def _dpi(told: Any) -> tuple[float, float] | None:
    """The resolution, where it is one."""
    try:
        x, y = map(float, told)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if all(math.isfinite(n) and 1 <= n <= _MAX_DPI for n in (x, y)) else None


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


def have_same_pixels(made: bytes, image: Image.Image) -> bool:
    """Whether the file, read back, holds the pixels of the picture."""
    with Image.open(BytesIO(made)) as again:
        return again.size == image.size and again.convert(image.mode).tobytes() == image.tobytes()
