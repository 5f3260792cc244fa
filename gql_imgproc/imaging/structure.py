"""The facts about a file that its headers state. Reading them decodes and allocates nothing.

Pillow reports the same facts, but some of its plug-ins allocate the canvas, count frames by decoding them, or step
through junk byte by byte. Walking the file structure takes microseconds, whatever the file claims.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Segments, chunks or blocks of one file. A file with more is an attack on the loop that reads them.
MAX_PARTS = 65_536


@dataclass(frozen=True, slots=True)
class ImageStructure:
    """`width` and `height` are the stored ones, before `orientation` (EXIF, 1 to 8) is applied.

    `area` is the number of pixels of the largest canvas that a frame is painted on. `play_count` is how often an
    animation plays; 0 means without end. `durations_ms` and `lossless` are set where the file structure states them.
    """

    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    area: int = 0
    scans: int = 1
    #: Whether a JPEG has an end marker, so that it probably has all of its pixels.
    is_complete: bool = True
    play_count: int = 0
    durations_ms: tuple[int, ...] = ()
    lossless: bool = False
    #: Whether a BMP is run-length encoded. Run lengths are expanded in Python, about 100 times slower than others.
    run_length_encoded: bool = False
    #: The VP8 streams of a WebP, for their quantizers.
    streams: tuple[memoryview, ...] = ()
    #: Whether the declared size of an AVIF equals the coded size of its images.
    declared_size_matches: bool = True
    #: Whether Pillow can write the depth, colours and shape that the file states.
    pillow_can_represent: bool = True

    #: Whether Pillow reads the samples as the file means them. If not, they can be kept, but not changed.
    samples_are_understood: bool = True

    #: Whether the file has a second image that makes the first one HDR.
    has_gain_map: bool = False

    #: Primaries and transfer (H.273) of an image without ICC profile, if they are not those of sRGB.
    video_colors: tuple[int, int] | None = None

    @property
    def pixels(self) -> int:
        return max(self.area, self.width * self.height)

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height after `orientation` is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)
