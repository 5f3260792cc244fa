"""What an AV1 stream says about itself: sizes, depth, colours and quantiser, read from its headers only.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gql_imgproc.core.picture.boxes import Budget
from gql_imgproc.core.picture.failures import corrupt

#: Bytes of a header that are looked at; the longest that can be written down is shorter.
_MAX_HEADER_BYTES = 1_024
#: What reading a sequence header costs, in other parts.
_SEQUENCE_HEADER_PARTS = 10
_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_KEY_FRAME, _INTRA_ONLY_FRAME, _SWITCH_FRAME = 0, 2, 3
#: Both tools of a sequence can be "told in each frame" (6.4.2).
_SELECT = 2
_IDENTITY = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """What the header of a picture that needs no other one tells (5.9)."""

    width: int
    height: int
    #: 0 is the finest, 255 the coarsest.
    base_q_idx: int
    lossless: bool


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
        return self.frame is not None and self.frame.lossless and self.matrix == _IDENTITY


class _Unreadable(Exception):
    """A header that ends early, or that is of a kind which is not read here."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The fields of a sequence header (5.5) that are needed to read the frames after it."""

    reduced: bool
    width_bits: int
    height_bits: int
    width: int
    height: int
    id_bits: int
    order_hint_bits: int
    screen_tools: int
    integer_mv: int
    large_blocks: bool
    superres: bool
    bit_depth: int
    monochrome: bool
    primaries: int
    transfer: int
    matrix: int
    separate_uv: bool
    #: Bits of frame_presentation_time (0 when frames do not tell it) and of buffer_removal_time.
    presentation_bits: int
    removal_bits: int
    decoder_model: bool
    #: operating_point_idc where a decoder model is present for that point.
    modelled_points: tuple[int, ...]


def stream(parts: Iterable[memoryview], budget: Budget, max_frames: int) -> Stream:
    """Sequence and frame headers (5.5 and 5.9) of a coded picture, or of the samples of a track one after the other.

    Refuses what has no sequence header, which no decoder can do without, and more frames than `max_frames`.
    """
    sequence: _Sequence | None = None
    header = b""
    frame: Frame | None = None
    area = frames = bit_depth = 0
    for kind, extension, body in (unit for part in parts for unit in _obus(part, budget)):
        if kind == _SEQUENCE_HEADER:
            # Many an encoder repeats it in each key frame.
            if sequence is not None and body == header:
                continue
            budget.spend(_SEQUENCE_HEADER_PARTS)
            try:
                header, sequence = bytes(body), _sequence_header(_Bits(body))
            except _Unreadable:
                raise corrupt() from None
            area = max(area, sequence.width * sequence.height)
            bit_depth = max(bit_depth, sequence.bit_depth)
        elif kind in (_FRAME_HEADER, _FRAME) and sequence is not None:
            frames += 1
            if frames > max_frames:
                raise corrupt("The AVIF is damaged: a picture in it is made of too many frames.")
            frame, most = _frame(body, sequence, extension)
            area = max(area, most)
    if sequence is None:
        raise corrupt("The AVIF is damaged or incomplete: a picture in it has no header.")
    colours = sequence.primaries, sequence.transfer, sequence.matrix
    return Stream(area, frames, bit_depth, *colours, frame if frames == 1 else None)


def _obus(data: memoryview, budget: Budget) -> Iterator[tuple[int, int, memoryview]]:
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
                    raise corrupt("The AVIF is incomplete: a picture in it ends early.")
                size |= (data[at] & 0x7F) << 7 * n
                at += 1
                if not data[at - 1] & 0x80:
                    break
        if first & 0x80 or size < 0 or at + size > end:
            raise corrupt("The AVIF is damaged or incomplete: a picture in it ends early.")
        yield first >> 3 & 15, extension, data[at : at + size]
        at += size


class _Bits:
    """Numbers of any width, most significant bit first (4.10)."""

    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:_MAX_HEADER_BYTES])
        self._value, self._left = int.from_bytes(head, "big"), 8 * len(head)

    def number(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise _Unreadable
        return self._value >> self._left & (1 << bits) - 1

    def flag(self) -> bool:
        return bool(self.number(1))

    def signed(self, bits: int) -> int:
        """su(n) of 4.10.6."""
        number = self.number(bits)
        return number - (1 << bits) if number >> bits - 1 else number

    def below(self, limit: int) -> int:
        """ns(n) of 4.10.7: a number below the limit."""
        width = limit.bit_length()
        spare = (1 << width) - limit
        number = self.number(width - 1)
        return number if number < spare else (number << 1) - spare + self.number(1)

    def skip_exponential(self) -> None:
        """uvlc() of 4.10.3."""
        zeros = 0
        while not self.flag():
            zeros += 1
        if zeros < 32:
            self.number(zeros)


def _sequence_header(bits: _Bits) -> _Sequence:
    """sequence_header_obu() of 5.5.1."""
    profile = bits.number(3)
    bits.number(1)  # still_picture
    reduced = bits.flag()
    decoder_model, delay_bits, removal_bits, presentation_bits = False, 0, 0, 0
    points: list[int] = []
    if reduced:
        bits.number(5)  # level
    else:
        if bits.flag():
            bits.number(64)  # ticks and time scale
            equal_interval = bits.flag()
            if equal_interval:
                bits.skip_exponential()
            decoder_model = bits.flag()
            if decoder_model:
                delay_bits = bits.number(5) + 1
                bits.number(32)
                removal_bits = bits.number(5) + 1
                presentation_bits = bits.number(5) + 1
                if equal_interval:
                    presentation_bits = 0
        display_delay = bits.flag()
        for _ in range(bits.number(5) + 1):
            point = bits.number(12)
            if bits.number(5) > 7:
                bits.number(1)  # tier
            if decoder_model and bits.flag():
                points.append(point)
                bits.number(2 * delay_bits + 1)
            if display_delay and bits.flag():
                bits.number(4)
    width_bits, height_bits = bits.number(4) + 1, bits.number(4) + 1
    width, height = bits.number(width_bits) + 1, bits.number(height_bits) + 1
    id_bits = 0
    if not reduced and bits.flag():
        id_bits = bits.number(4) + 2
        id_bits += bits.number(3) + 1
    large_blocks = bits.flag()
    bits.number(2)  # filter intra, intra edge filter
    order_hint_bits, screen_tools, integer_mv = 0, _SELECT, _SELECT
    if not reduced:
        bits.number(4)
        order_hint = bits.flag()
        if order_hint:
            bits.number(2)
        screen_tools = _SELECT if bits.flag() else bits.number(1)
        if screen_tools:
            integer_mv = _SELECT if bits.flag() else bits.number(1)
        if order_hint:
            order_hint_bits = bits.number(3) + 1
    superres = bits.flag()
    bits.number(2)  # CDEF, restoration
    bit_depth, monochrome, (primaries, transfer, matrix), separate_uv = _colours(bits, profile)
    return _Sequence(
        reduced,
        width_bits,
        height_bits,
        width,
        height,
        id_bits,
        order_hint_bits,
        screen_tools,
        integer_mv,
        large_blocks,
        superres,
        bit_depth,
        monochrome,
        primaries,
        transfer,
        matrix,
        separate_uv,
        presentation_bits,
        removal_bits,
        decoder_model,
        tuple(points),
    )


def _colours(bits: _Bits, profile: int) -> tuple[int, bool, tuple[int, int, int], bool]:
    """color_config() of 5.5.2: bit depth, monochrome, code points (H.273), separate_uv_delta_q."""
    if profile > 2:
        raise _Unreadable
    depth = 10 if bits.flag() else 8
    if profile == 2 and depth == 10 and bits.flag():
        depth = 12
    monochrome = profile != 1 and bits.flag()
    points = (bits.number(8), bits.number(8), bits.number(8)) if bits.flag() else (2, 2, 2)
    if monochrome:
        bits.number(1)  # range
        return depth, True, points, False
    if points != (1, 13, _IDENTITY):
        bits.number(1)
        across = down = profile == 0
        if profile == 2:
            across = depth < 12 or bits.flag()
            down = depth == 12 and across and bits.flag()
        if across and down:
            bits.number(2)  # chroma sample position
    return depth, False, points, bits.flag()


def _frame(body: memoryview, sequence: _Sequence, extension: int) -> tuple[Frame | None, int]:
    """What the header tells, if it can be read, and the most pixels that the frame may have."""
    bits = _Bits(body)
    try:
        size = _frame_size(bits, sequence, extension)
    except _Unreadable:
        # A frame may give a size of its own, in as many bits as the sequence allows, and decoders believe it.
        return None, 1 << sequence.width_bits + sequence.height_bits
    if size is None:
        return None, sequence.width * sequence.height
    area = size.width * size.height
    try:
        _skip_tiles(bits, size, 5 if sequence.large_blocks else 4)
        base_q_idx, lossless = _quantiser(bits, sequence)
    except _Unreadable:
        return None, area
    return Frame(size.width, size.height, base_q_idx, lossless), area


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a frame; `coded_width` is smaller than `width` when the decoder is to stretch it (5.9.8)."""

    width: int
    height: int
    coded_width: int


def _frame_size(bits: _Bits, sequence: _Sequence, extension: int) -> _Size | None:
    """uncompressed_header() of 5.9.2 up to tile_info(); None for a frame that refers to others of its size."""
    kind, shown, resilient = _KEY_FRAME, True, True
    if not sequence.reduced:
        if bits.flag():  # show_existing_frame
            return None
        kind, shown = bits.number(2), bits.flag()
        bits.number(sequence.presentation_bits if shown else 1)  # its time, or showable_frame
        resilient = kind == _SWITCH_FRAME or (kind == _KEY_FRAME and shown) or bits.flag()
    no_update = bits.flag()
    screen_tools = bits.flag() if sequence.screen_tools == _SELECT else bool(sequence.screen_tools)
    if screen_tools and sequence.integer_mv == _SELECT:
        bits.number(1)
    bits.number(sequence.id_bits)
    override = kind == _SWITCH_FRAME or (not sequence.reduced and bits.flag())
    if kind not in (_KEY_FRAME, _INTRA_ONLY_FRAME):
        if override:
            raise _Unreadable
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


def _skip_removal_times(bits: _Bits, sequence: _Sequence, extension: int) -> None:
    """buffer_removal_time of 5.9.2, told for the operating points that this layer is part of."""
    if not sequence.decoder_model or not bits.flag():
        return
    temporal, spatial = extension >> 5, extension >> 3 & 3
    for point in sequence.modelled_points:
        if not point or (point >> temporal & 1 and point >> spatial + 8 & 1):
            bits.number(sequence.removal_bits)


def _skip_tiles(bits: _Bits, size: _Size, shift: int) -> None:
    """tile_info() of 5.9.15; `shift` is that from 4x4 units to superblocks."""
    columns, rows = (((n + 7 >> 3 << 1) + (1 << shift) - 1) >> shift for n in (size.coded_width, size.height))
    widest = 4096 >> shift + 2
    largest = 4096 * 2304 >> 2 * (shift + 2)
    at_least = _log2(widest, columns)
    tiles_at_least = max(at_least, _log2(largest, rows * columns))
    if bits.flag():
        across = _incremented(bits, at_least, _log2(1, min(columns, 64)))
        down = _incremented(bits, max(tiles_at_least - across, 0), _log2(1, min(rows, 64)))
    else:
        widths = _told_one_by_one(bits, columns, widest)
        area = rows * columns >> tiles_at_least + 1 if tiles_at_least else rows * columns
        heights = _told_one_by_one(bits, rows, max(area // max(widths), 1))
        across, down = _log2(1, len(widths)), _log2(1, len(heights))
    if across or down:
        bits.number(across + down + 2)


def _log2(unit: int, target: int) -> int:
    """tile_log2() of 5.9.16."""
    power = 0
    while unit << power < target:
        power += 1
    return power


def _incremented(bits: _Bits, least: int, most: int) -> int:
    while least < most and bits.flag():
        least += 1
    return least


def _told_one_by_one(bits: _Bits, blocks: int, most: int) -> list[int]:
    sizes: list[int] = []
    while blocks > 0:
        sizes.append(bits.below(min(blocks, most)) + 1)
        blocks -= sizes[-1]
    return sizes


def _quantiser(bits: _Bits, sequence: _Sequence) -> tuple[int, bool]:
    """base_q_idx, and whether all is lossless (7.12.2): quantization_params(), segmentation_params()."""
    base = bits.number(8)
    deltas = [_delta(bits)]
    if not sequence.monochrome:
        differ = sequence.separate_uv and bits.flag()
        deltas += [_delta(bits) for _ in range(4 if differ else 2)]
    if bits.flag():
        bits.number(12 if sequence.separate_uv else 8)  # quantiser matrices
    indices = [base]
    if bits.flag():
        indices = [base + _segment(bits) for _ in range(8)]
    return base, max(indices) <= 0 and not any(deltas)


def _delta(bits: _Bits) -> int:
    """read_delta_q() of 5.9.13."""
    return bits.signed(7) if bits.flag() else 0


def _segment(bits: _Bits) -> int:
    """What a segment of 5.9.14 adds to the quantiser; its other features are skipped."""
    quantiser = bits.signed(9) if bits.flag() else 0
    for width in (7, 7, 7, 7, 3, 0, 0):
        if bits.flag():
            bits.number(width)
    return quantiser
