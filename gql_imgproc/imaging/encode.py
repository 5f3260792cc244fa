"""Settings that every encoder accepts, and writing with Pillow."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from gql_imgproc.imaging.metadata import Extras
from gql_imgproc.imaging.options import Effort

#: Up to so many pixels, encoding a JPEG takes less than a millisecond.
_SMALL_PIXELS = 1 << 17


@dataclass(frozen=True, slots=True)
class EncodeSettings:
    """`durations_ms` has one number for each frame of an animation; it is empty for a still image."""

    quality: int
    extras: Extras
    effort: Effort = Effort.BALANCED
    lossless: bool = False
    durations_ms: tuple[int, ...] = ()
    #: How often an animation plays; 0 means without end.
    play_count: int = 0
    #: Those of ImageStructure, which AVIF stores.
    video_colors: tuple[int, int] | None = None
    #: The source of a JPEG. The new file is not finer than its quantization tables.
    jpeg_source: JpegImageFile | None = None


def save(image: Image.Image, name: str, **settings: Any) -> bytes:
    """The bytes of the image in the format that Pillow calls `name`.

    The image is loaded first, or Pillow copies the bitmap. The output is a file descriptor, because only then Pillow's
    encoders release the GIL. For a small image, that costs more than it gains.
    """
    image.load()
    with BytesIO() if image.width * image.height <= _SMALL_PIXELS else _scratch_file() as file:
        image.save(file, name, **settings)
        file.seek(0)
        return file.read()


def _scratch_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("image"), "w+b")
    return tempfile.TemporaryFile()
