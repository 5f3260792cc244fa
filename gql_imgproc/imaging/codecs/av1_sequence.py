"""Reads the sequence header of AV1, which applies to all frames after it.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

from dataclasses import dataclass

from gql_imgproc.imaging.codecs.av1_bits import BitReader, TruncatedHeader

#: Value of the two tools that each frame sets for itself (6.4.2).
SELECT = 2
IDENTITY = 0


@dataclass(frozen=True, slots=True)
class Sequence:
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
    #: Bits of frame_presentation_time (0 if frames do not contain it) and of buffer_removal_time.
    presentation_bits: int
    removal_bits: int
    decoder_model: bool
    #: operating_point_idc of the points with a decoder model.
    modelled_points: tuple[int, ...]


def read_sequence_header(bits: BitReader) -> Sequence:
    """sequence_header_obu() of 5.5.1."""
    profile = bits.number(3)
    bits.number(1)  # whether it is a still
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
    order_hint_bits, screen_tools, integer_mv = 0, SELECT, SELECT
    if not reduced:
        bits.number(4)
        order_hint = bits.flag()
        if order_hint:
            bits.number(2)
        screen_tools = SELECT if bits.flag() else bits.number(1)
        if screen_tools:
            integer_mv = SELECT if bits.flag() else bits.number(1)
        if order_hint:
            order_hint_bits = bits.number(3) + 1
    superres = bits.flag()
    bits.number(2)  # CDEF, restoration
    bit_depth, monochrome, (primaries, transfer, matrix), separate_uv = _read_color_config(bits, profile)
    return Sequence(
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


def _read_color_config(bits: BitReader, profile: int) -> tuple[int, bool, tuple[int, int, int], bool]:
    """color_config() of 5.5.2: bit depth, monochrome, code points (H.273), separate_uv_delta_q."""
    if profile > 2:
        raise TruncatedHeader
    depth = 10 if bits.flag() else 8
    if profile == 2 and depth == 10 and bits.flag():
        depth = 12
    monochrome = profile != 1 and bits.flag()
    points = (bits.number(8), bits.number(8), bits.number(8)) if bits.flag() else (2, 2, 2)
    if monochrome:
        bits.number(1)  # range
        return depth, True, points, False
    if points != (1, 13, IDENTITY):
        bits.number(1)
        across = down = profile == 0
        if profile == 2:
            across = depth < 12 or bits.flag()
            down = depth == 12 and across and bits.flag()
        if across and down:
            bits.number(2)  # chroma sample position
    return depth, False, points, bits.flag()
