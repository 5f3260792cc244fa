"""Reads sizes, depth, colours and quantizer of an AV1 stream from its headers.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gql_imgproc.imaging.codecs.av1_bits import MAX_HEADER_BYTES, BitReader, TruncatedHeader
from gql_imgproc.imaging.codecs.av1_frame import Frame, read_frame_header
from gql_imgproc.imaging.codecs.av1_sequence import IDENTITY, Sequence, read_sequence_header
from gql_imgproc.imaging.codecs.isobmff import BoxBudget
from gql_imgproc.imaging.errors import corrupt_image

#: Cost of reading a sequence header, as a number of other parts.
_SEQUENCE_HEADER_PARTS = 10
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6


@dataclass(frozen=True, slots=True)
class Stream:
    """`area` is the maximum of pixels of a frame. `frame` is set if there is one frame and its header is readable."""

    area: int
    frames: int
    bit_depth: int
    primaries: int
    transfer: int
    matrix: int
    frame: Frame | None

    @property
    def lossless(self) -> bool:
        """Whether RGB is stored exactly. Another matrix rounds it."""
        return self.frame is not None and self.frame.lossless and self.matrix == IDENTITY


def read_stream(parts: Iterable[memoryview], budget: BoxBudget, max_frames: int) -> Stream:
    """Reads the sequence and frame headers (5.5 and 5.9) of a coded image, or of the samples of a track in order.

    Raises ImageError if there is no sequence header, which every decoder needs, or more than `max_frames` frames.
    """
    sequence: Sequence | None = None
    header = b""
    frame: Frame | None = None
    area = frames = bit_depth = 0
    for kind, extension, body in (unit for part in parts for unit in _walk_obus(part, budget)):
        if kind == _SEQUENCE_HEADER:
            # Many encoders repeat it in each key frame.
            raw_header = bytes(body[:MAX_HEADER_BYTES])
            if sequence is not None and raw_header == header:
                continue
            budget.spend(_SEQUENCE_HEADER_PARTS)
            try:
                header, sequence = raw_header, read_sequence_header(BitReader(body))
            except TruncatedHeader:
                raise corrupt_image() from None
            area = max(area, sequence.width * sequence.height)
            bit_depth = max(bit_depth, sequence.bit_depth)
        elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
            frames += 1
            if frames > max_frames:
                raise corrupt_image("The AVIF is damaged: an image in it has too many frames.")
            frame, max_pixels = read_frame_header(body, sequence, extension)
            area = max(area, max_pixels)
    if sequence is None:
        raise corrupt_image("The AVIF is damaged or incomplete: an image in it has no header.")
    colours = sequence.primaries, sequence.transfer, sequence.matrix
    return Stream(area, frames, bit_depth, *colours, frame if frames == 1 else None)


def _walk_obus(data: memoryview, budget: BoxBudget) -> Iterator[tuple[int, int, memoryview]]:
    """Type, extension byte and content of each open bitstream unit (5.3.1 to 5.3.3)."""
    at, end = 0, len(data)
    while at < end:
        budget.spend()
        first = data[at]
        at += 1
        extension = 0
        if first & 0x04:
            extension = data[at] if at < end else 0
            at += 1
        size = end - at
        if first & 0x02:
            size = 0
            for n in range(8):
                if at >= end:
                    raise corrupt_image("The AVIF is incomplete: an image in it ends early.")
                size |= (data[at] & 0x7F) << 7 * n
                at += 1
                if not data[at - 1] & 0x80:
                    break
        if first & 0x80 or size < 0 or at + size > end:
            raise corrupt_image("The AVIF is damaged or incomplete: an image in it ends early.")
        yield first >> 3 & 15, extension, data[at : at + size]
        at += size
