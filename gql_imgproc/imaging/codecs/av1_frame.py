"""Reads the header of an AV1 frame up to its quantizer.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from gql_imgproc.imaging.codecs.av1_bits import BitReader, TruncatedHeader
from gql_imgproc.imaging.codecs.av1_sequence import SELECT, Sequence

_KEY_FRAME, _INTRA_ONLY_FRAME, _SWITCH_FRAME = 0, 2, 3


@dataclass(frozen=True, slots=True)
class Frame:
    """The header of a frame that refers to no other frame (5.9)."""

    width: int
    height: int
    #: 0 is the finest, 255 the coarsest.
    base_q_idx: int
    lossless: bool


def read_frame_header(body: memoryview, sequence: Sequence, extension: int) -> tuple[Frame | None, int]:
    """The header, if it is readable, and the maximum of pixels of the frame."""
    bits = BitReader(body)
    try:
        size = _read_frame_size(bits, sequence, extension)
    except TruncatedHeader:
        # A frame may declare a size of its own, with the number of bits in the sequence header. Decoders accept it.
        return None, 1 << sequence.width_bits + sequence.height_bits
    if size is None:
        return None, sequence.width * sequence.height
    area = size.width * size.height
    try:
        _skip_tiles(bits, size, 5 if sequence.large_blocks else 4)
        base_q_idx, lossless = _read_quantizer(bits, sequence)
    except TruncatedHeader:
        return None, area
    return Frame(size.width, size.height, base_q_idx, lossless), area


@dataclass(frozen=True, slots=True)
class _Size:
    """Size of a frame. `coded_width` is smaller than `width` if the decoder scales the frame up (5.9.8)."""

    width: int
    height: int
    coded_width: int


def _read_frame_size(bits: BitReader, sequence: Sequence, extension: int) -> _Size | None:
    """uncompressed_header() of 5.9.2 up to tile_info(). None if the frame takes its size from another one."""
    kind, shown, resilient = _KEY_FRAME, True, True
    if not sequence.reduced:
        if bits.flag():  # show_existing_frame
            return None
        kind, shown = bits.number(2), bits.flag()
        bits.number(sequence.presentation_bits if shown else 1)  # its time, or showable_frame
        resilient = kind == _SWITCH_FRAME or (kind == _KEY_FRAME and shown) or bits.flag()
    no_update = bits.flag()
    screen_tools = bits.flag() if sequence.screen_tools == SELECT else bool(sequence.screen_tools)
    if screen_tools and sequence.integer_mv == SELECT:
        bits.number(1)
    bits.number(sequence.id_bits)
    override = kind == _SWITCH_FRAME or (not sequence.reduced and bits.flag())
    if kind not in (_KEY_FRAME, _INTRA_ONLY_FRAME):
        if override:
            raise TruncatedHeader
        return None
    bits.number(sequence.order_hint_bits)
    _skip_removal_times(bits, sequence, extension)
    refreshed = 255 if kind == _KEY_FRAME and shown else bits.number(8)
    if refreshed != 255 and resilient:
        bits.number(8 * sequence.order_hint_bits)
    width, height = sequence.width, sequence.height
    if override:
        width, height = bits.number(sequence.width_bits) + 1, bits.number(sequence.height_bits) + 1
    coded_width = width
    if sequence.superres and bits.flag():
        denominator = bits.number(3) + 9
        coded_width = (width * 8 + denominator // 2) // denominator
    if bits.flag():
        bits.number(32)  # render_size()
    if screen_tools and coded_width == width:
        bits.number(1)  # allow_intrabc
    if not (sequence.reduced or no_update):
        bits.number(1)  # disable_frame_end_update_cdf
    return _Size(width, height, coded_width)


def _skip_removal_times(bits: BitReader, sequence: Sequence, extension: int) -> None:
    """buffer_removal_time of 5.9.2, present for the operating points that include this layer."""
    if not sequence.decoder_model or not bits.flag():
        return
    temporal, spatial = extension >> 5, extension >> 3 & 3
    for point in sequence.modelled_points:
        if not point or (point >> temporal & 1 and point >> spatial + 8 & 1):
            bits.number(sequence.removal_bits)


def _skip_tiles(bits: BitReader, size: _Size, shift: int) -> None:
    """tile_info() of 5.9.15; `shift` converts 4x4 units to superblocks."""
    columns, rows = (((n + 7 >> 3 << 1) + (1 << shift) - 1) >> shift for n in (size.coded_width, size.height))
    widest = 4096 >> shift + 2
    largest = 4096 * 2304 >> 2 * (shift + 2)
    at_least = _log2(widest, columns)
    tiles_at_least = max(at_least, _log2(largest, rows * columns))
    if bits.flag():
        across = _read_increments(bits, at_least, _log2(1, min(columns, 64)))
        down = _read_increments(bits, max(tiles_at_least - across, 0), _log2(1, min(rows, 64)))
    else:
        widths = _read_sizes(bits, columns, widest)
        area = rows * columns >> tiles_at_least + 1 if tiles_at_least else rows * columns
        heights = _read_sizes(bits, rows, max(area // max(widths), 1))
        across, down = _log2(1, len(widths)), _log2(1, len(heights))
    if across or down:
        bits.number(across + down + 2)


def _log2(unit: int, target: int) -> int:
    """tile_log2() of 5.9.16."""
    power = 0
    while unit << power < target:
        power += 1
    return power


def _read_increments(bits: BitReader, least: int, most: int) -> int:
    while least < most and bits.flag():
        least += 1
    return least


def _read_sizes(bits: BitReader, blocks: int, most: int) -> list[int]:
    sizes: list[int] = []
    while blocks > 0:
        sizes.append(bits.read_ns(min(blocks, most)) + 1)
        blocks -= sizes[-1]
    return sizes


def _read_quantizer(bits: BitReader, sequence: Sequence) -> tuple[int, bool]:
    """base_q_idx, and whether all is lossless (7.12.2): quantization_params(), segmentation_params()."""
    base = bits.number(8)
    deltas = [_read_delta(bits)]
    if not sequence.monochrome:
        differ = sequence.separate_uv and bits.flag()
        deltas += [_read_delta(bits) for _ in range(4 if differ else 2)]
    if bits.flag():
        bits.number(12 if sequence.separate_uv else 8)  # quantizer matrices
    indices = [base]
    if bits.flag():
        indices = [base + _read_segment(bits) for _ in range(8)]
    return base, max(indices) <= 0 and not any(deltas)


def _read_delta(bits: BitReader) -> int:
    """read_delta_q() of 5.9.13."""
    return bits.signed(7) if bits.flag() else 0


def _read_segment(bits: BitReader) -> int:
    """The quantizer offset of a segment (5.9.14). Its other features are skipped."""
    quantizer = bits.signed(9) if bits.flag() else 0
    for width in (7, 7, 7, 7, 3, 0, 0):
        if bits.flag():
            bits.number(width)
    return quantizer
