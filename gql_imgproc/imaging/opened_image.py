"""A picture to be compressed: its bytes, what they say about themselves, and Pillow's view of it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageFile

from gql_imgproc.imaging.formats import Format
from gql_imgproc.imaging.probe import ImageLimits, displayed_size, open_picture, probe
from gql_imgproc.imaging.structure import ImageStructure


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """`image` has its header read, its pixels not yet."""

    data: bytes
    form: Format
    anatomy: ImageStructure
    image: ImageFile.ImageFile

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as displayed."""
        return displayed_size(self.form, self.anatomy)


def open_image(data: bytes, limits: ImageLimits) -> OpenedImage:
    """Raises ImageError for what is no picture, is not supported, is damaged or over a limit."""
    form, anatomy = probe(data, limits)
    return OpenedImage(data, form, anatomy, open_picture(data, form, anatomy))
