"""Reads size, depth and colours of an AV1 stream from its sequence headers.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gql_imgproc.imaging.codecs.isobmff import IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Bytes of a header that are read. The longest possible header is shorter.
_MAX_HEADER_BYTES = 1_024
#: Cost of reading a sequence header, as a number of other parts.
_SEQUENCE_HEADER_PARTS = 10
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY_FRAME, _SWITCH_FRAME = 0, 3
#: Value of a tool that each frame sets for itself (6.4.2).
_SELECT = 2


@dataclass(frozen=True, slots=True)
class Sequence:
    """What a sequence header states. The last five fields are needed to find `frame_size_override_flag` in a frame."""

    #: The maximum of pixels of a frame.
    area: int
    size: tuple[int, int]
    bit_depth: int
    #: Primaries, transfer and matrix (H.273).
    colors: tuple[int, int, int]
    #: Pixels of a frame that overrides the size.
    max_area: int
    reduced: bool
    presentation_bits: int
    id_bits: int
    screen_tools: int
    integer_mv: int


def read_stream(parts: Iterable[memoryview], file: IsoBmffReader, max_frames: int) -> Sequence:
    """The last sequence header of a coded image, or of the samples of a track, with the maxima of all of them.

    Raises ImageError if there is no sequence header, which every decoder needs, or more than `max_frames` frames.
    """
    sequence: Sequence | None = None
    header = b""
    area = frames = bit_depth = 0
    for kind, body in (unit for part in parts for unit in _walk_obus(part, file)):
        raw_header = bytes(body[:_MAX_HEADER_BYTES])
        # Many encoders repeat the sequence header in each key frame.
        if kind == _SEQUENCE_HEADER and raw_header != header:
            file.spend(_SEQUENCE_HEADER_PARTS)
            header, sequence = raw_header, _read_sequence_header(BitReader(raw_header))
            area = max(area, sequence.area)
            bit_depth = max(bit_depth, sequence.bit_depth)
        elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
            frames += 1
            if frames > max_frames:
                raise corrupt_image("The file is damaged: an image in it has too many frames.")
            if not sequence.reduced and _overrides_size(BitReader(raw_header), sequence):
                area = max(area, sequence.max_area)
    if sequence is None:
        raise corrupt_image("The file is damaged or incomplete: an image in it has no header.")
    return replace(sequence, area=area, bit_depth=bit_depth)


def _walk_obus(data: memoryview, file: IsoBmffReader) -> Iterator[tuple[int, memoryview]]:
    """Type and content of each open bitstream unit (5.3.1 to 5.3.3)."""
    at, end = 0, len(data)
    while at < end:
        file.spend()
        first = data[at]
        at += 2 if first & 0x04 else 1
        size = end - at
        if first & 0x02:
            size, shift, byte = 0, 0, 0x80
            while byte & 0x80 and shift < 56:
                byte = data[at]
                size |= (byte & 0x7F) << shift
                at, shift = at + 1, shift + 7
        if first & 0x80 or size < 0 or at + size > end:
            raise corrupt_image("The file is damaged or incomplete: an image in it ends early.")
        yield first >> 3 & 15, data[at : at + size]
        at += size


class BitReader:
    """Reads numbers of any width, most significant bit first (4.10). Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def number(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << bits) - 1

    def flag(self) -> bool:
        return bool(self.number(1))


def _read_sequence_header(bits: BitReader) -> Sequence:
    """sequence_header_obu() of 5.5.1, and color_config() of 5.5.2 up to the colours."""
    profile = bits.number(3)
    bits.number(1)  # whether it is a still
    reduced = bits.flag()
    presentation_bits = id_bits = 0
    if reduced:
        bits.number(5)  # level
    else:
        presentation_bits = _skip_operating_points(bits)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    width, height = bits.number(width_bits) + 1, bits.number(height_bits) + 1
    if not reduced and bits.flag():
        id_bits = bits.number(4) + 2
        id_bits += bits.number(3) + 1
    bits.number(3)  # superblocks, filter intra, intra edge filter
    screen_tools = integer_mv = _SELECT
    if not reduced:
        bits.number(4)
        order_hint = bits.flag()
        if order_hint:
            bits.number(2)
        screen_tools = _SELECT if bits.flag() else bits.number(1)
        if screen_tools:
            integer_mv = _SELECT if bits.flag() else bits.number(1)
        if order_hint:
            bits.number(3)
    bits.number(3)  # superres, CDEF, restoration
    depth = 10 if bits.flag() else 8
    if profile == 2 and depth == 10 and bits.flag():
        depth = 12
    if profile != 1:
        bits.number(1)  # monochrome
    colors = (bits.number(8), bits.number(8), bits.number(8)) if bits.flag() else (2, 2, 2)
    tools = reduced, presentation_bits, id_bits, screen_tools, integer_mv
    return Sequence(width * height, (width, height), depth, colors, 1 << width_bits + height_bits, *tools)


def _skip_operating_points(bits: BitReader) -> int:
    """Returns the number of bits of `frame_presentation_time`."""
    decoder_model, delay_bits, presentation_bits = False, 0, 0
    if bits.flag():
        bits.number(64)  # ticks and time scale
        equal_interval = bits.flag()
        if equal_interval:
            zeros = 0
            while not bits.flag():
                zeros += 1
            bits.number(zeros if zeros < 32 else 0)
        decoder_model = bits.flag()
        if decoder_model:
            delay_bits = bits.number(5) + 1
            bits.number(37)
            presentation_bits = bits.number(5) + 1
            if equal_interval:
                presentation_bits = 0
    display_delay = bits.flag()
    for _ in range(bits.number(5) + 1):
        bits.number(12)
        if bits.number(5) > 7:
            bits.number(1)  # tier
        if decoder_model and bits.flag():
            bits.number(2 * delay_bits + 1)
        if display_delay and bits.flag():
            bits.number(4)
    return presentation_bits


def _overrides_size(bits: BitReader, sequence: Sequence) -> bool:
    """Whether a frame may be larger than its sequence header states, which decoders accept (5.9.2)."""
    try:
        if bits.flag():  # show_existing_frame
            return False
        kind, shown = bits.number(2), bits.flag()
        bits.number(sequence.presentation_bits if shown else 1)
        # error_resilient_mode, unless it follows from the type; disable_cdf_update
        bits.number(1 if kind == _SWITCH_FRAME or (kind == _KEY_FRAME and shown) else 2)
        screen_tools = bits.number(1) if sequence.screen_tools == _SELECT else sequence.screen_tools
        if screen_tools and sequence.integer_mv == _SELECT:
            bits.number(1)
        bits.number(sequence.id_bits)
        return kind == _SWITCH_FRAME or bits.flag()
    except IndexError:
        return True
