"""What an AV1 stream says about itself: sizes, depth, colours and quantiser, read from its headers only.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gql_imgproc.imaging.av1_bits import MAX_HEADER_BYTES, BitReader, TruncatedHeader
from gql_imgproc.imaging.av1_frame import Frame, frame_header
from gql_imgproc.imaging.av1_sequence import IDENTITY, Sequence, sequence_header
from gql_imgproc.imaging.errors import corrupt_image
from gql_imgproc.imaging.isobmff import BoxBudget

#: What reading a sequence header costs, in other parts.
_SEQUENCE_HEADER_PARTS = 10
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6


@dataclass(frozen=True, slots=True)
class Stream:
    """`area` is the most pixels that any frame can have, `frame` the only one, when there is one and it is readable."""

    area: int
    frames: int
    bit_depth: int
    primaries: int
    transfer: int
    matrix: int
    frame: Frame | None

    @property
    def lossless(self) -> bool:
        """Whether RGB comes back as it went in; with another matrix it is rounded."""
        return self.frame is not None and self.frame.lossless and self.matrix == IDENTITY


def stream(parts: Iterable[memoryview], budget: BoxBudget, max_frames: int) -> Stream:
    """Sequence and frame headers (5.5 and 5.9) of a coded picture, or of the samples of a track one after the other.

    Refuses what has no sequence header, which no decoder can do without, and more frames than `max_frames`.
    """
    sequence: Sequence | None = None
    header = b""
    frame: Frame | None = None
    area = frames = bit_depth = 0
    for kind, extension, body in (unit for part in parts for unit in _obus(part, budget)):
        if kind == _SEQUENCE_HEADER:
            # Many an encoder repeats it in each key frame.
            told = bytes(body[:MAX_HEADER_BYTES])
            if sequence is not None and told == header:
                continue
            budget.spend(_SEQUENCE_HEADER_PARTS)
            try:
                header, sequence = told, sequence_header(BitReader(body))
            except TruncatedHeader:
                raise corrupt_image() from None
            area = max(area, sequence.width * sequence.height)
            bit_depth = max(bit_depth, sequence.bit_depth)
        elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
            frames += 1
            if frames > max_frames:
                raise corrupt_image("The AVIF is damaged: a picture in it is made of too many frames.")
            frame, most = frame_header(body, sequence, extension)
            area = max(area, most)
    if sequence is None:
        raise corrupt_image("The AVIF is damaged or incomplete: a picture in it has no header.")
    colours = sequence.primaries, sequence.transfer, sequence.matrix
    return Stream(area, frames, bit_depth, *colours, frame if frames == 1 else None)


def _obus(data: memoryview, budget: BoxBudget) -> Iterator[tuple[int, int, memoryview]]:
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
                    raise corrupt_image("The AVIF is incomplete: a picture in it ends early.")
                size |= (data[at] & 0x7F) << 7 * n
                at += 1
                if not data[at - 1] & 0x80:
                    break
        if first & 0x80 or size < 0 or at + size > end:
            raise corrupt_image("The AVIF is damaged or incomplete: a picture in it ends early.")
        yield first >> 3 & 15, extension, data[at : at + size]
        at += size
