"""Reads headers, checks them against the limits, and opens images. Nothing is decoded here."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from gql_imgproc.imaging.codecs import CODECS
from gql_imgproc.imaging.errors import corrupt_image, decode_errors, too_large
from gql_imgproc.imaging.formats import Format, detect_format
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.opened_image import OpenedImage
from gql_imgproc.imaging.structure import ImageStructure

# Our own limits are checked before a decoder is created. Pillow's would add a warning in the middle of decoding.
Image.MAX_IMAGE_PIXELS = None
# Memory blocks of one image are reused for the next. Returning 5 MB to the system and requesting them again costs
# 2 % of the time of a JPEG. A block has at most 16 MiB.
Image.core.set_blocks_max(4)  # type: ignore[attr-defined]  # of the C part, which has no types


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a file claims; `width` and `height` as displayed."""

    format: str
    media_type: str
    extension: str
    width: int
    height: int
    frames: int

    @property
    def megapixels(self) -> float:
        """Megapixels of all frames together, which decide what decoding costs."""
        return self.width * self.height * self.frames / 1e6


def inspect(data: bytes, limits: ImageLimits) -> Header:
    """Raises ImageError when the file is not an image, is not supported or exceeds a limit."""
    image_format, structure = probe(data, limits)
    return Header(
        image_format.name,
        image_format.media_type,
        image_format.extension,
        *structure.displayed_size,
        frames=structure.frames,
    )


def open_image(data: bytes, limits: ImageLimits) -> OpenedImage:
    """Raises ImageError when the file is not an image, is not supported, is damaged or exceeds a limit."""
    image_format, structure = probe(data, limits)
    with decode_errors():
        image = CODECS[image_format.name].open(BytesIO(data))
        # All bytes are here. If a decoder is fed piece by piece, it repeats the row in which a piece ends.
        image.decodermaxblock = max(image.decodermaxblock, len(data))
        stored_size = structure.width, structure.height
        if image.size != (structure.displayed_size if image_format.oriented_by_pillow else stored_size):
            raise _size_mismatch()
    return OpenedImage(data, image_format, structure, image)


def probe(data: bytes, limits: ImageLimits) -> tuple[Format, ImageStructure]:
    image_format = detect_format(data)
    try:
        structure = CODECS[image_format.name].probe(data, limits)
    except (IndexError, OverflowError, struct.error):
        # Python raises OverflowError for an offset that does not fit into 63 bits.
        raise corrupt_image(f"The {image_format.label} is damaged or incomplete: a part of it ends early.") from None
    _check_limits(structure, limits)
    return image_format, structure


def _check_limits(structure: ImageStructure, limits: ImageLimits) -> None:
    width, height, pixels = structure.width, structure.height, structure.pixels
    if width < 1 or height < 1:
        raise corrupt_image("The image is damaged: its header declares a width or height of 0 pixels.")
    if pixels > limits.max_pixels:
        raise too_large(
            f"The image has {width:,} x {height:,} pixels; the limit is {limits.max_pixels / 1e6:,g} megapixels."
        )
    if not structure.declared_size_matches:
        raise _size_mismatch()
    if structure.frames > limits.max_frames:
        raise too_large(f"The image has {structure.frames:,} frames; the limit is {limits.max_frames:,}.")
    if structure.frames * pixels > limits.max_total_pixels:
        raise too_large(
            f"The image has {structure.frames:,} frames of {pixels / 1e6:,.1f} megapixels; "
            f"the limit is {limits.max_total_pixels / 1e6:,g} megapixels in total."
        )
    if structure.scans > limits.max_jpeg_scans:
        raise too_large(f"The JPEG has {structure.scans:,} scans; the limit is {limits.max_jpeg_scans}.")
    if structure.scans * pixels > limits.max_scanned_pixels:
        raise too_large(
            f"The JPEG has {structure.scans:,} scans of {pixels / 1e6:,.1f} megapixels; "
            f"the limit is {limits.max_scanned_pixels / 1e6:,g} megapixels in total."
        )


def _size_mismatch() -> Exception:
    return corrupt_image("The image is damaged: it declares two different sizes.")
