"""An image with its bytes, its structure, and Pillow's view of it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageFile

from gql_imgproc.imaging.errors import decode_errors
from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.structure import ImageStructure


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """Pillow has read the header of `image`, but not its pixels."""

    data: bytes
    format: Format
    structure: ImageStructure
    image: ImageFile.ImageFile


def load(image: Image.Image) -> None:
    """Decodes the pixels. Raises ImageError when they are damaged."""
    with decode_errors():
        image.load()
