"""Limits on what decoding an image may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits that are checked before an image is decoded, and the least saving that replaces a source."""

    #: Pixels of one frame. 50 megapixels need about 200 MB.
    max_pixels: int = 50_000_000
    #: Frames times pixels. Bounds the CPU time of an animation.
    max_total_pixels: int = 200_000_000
    #: Frames of an animation, or pages of a TIFF.
    max_frames: int = 2_000
    #: Scans of a JPEG. A progressive JPEG has about 10, and each one costs a pass over all pixels.
    max_jpeg_scans: int = 64
    #: Scans times pixels of a JPEG. An empty scan takes 0.7 ms per megapixel, a full one up to 10 ms.
    max_scanned_pixels: int = 1_000_000_000
    #: If the result is not smaller than the source by this percentage, the source bytes are kept.
    min_saving_percent: float = 5.0


def require_memory(size_bytes: int) -> None:
    """Raises MemoryError if this much cannot be allocated. Libraries that would end the process then are called after
    it. The memory is not touched, so this takes no time."""
    bytearray(size_bytes)
