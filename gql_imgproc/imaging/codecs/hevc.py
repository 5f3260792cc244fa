"""Reads size and cost of a HEVC image from its parameter sets and slices.

Section numbers are those of ITU-T H.265 (2021). The parameter sets are in the property `hvcC` of an image (ISO/IEC
14496-15, 8.3.3), and may be in its data as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from gql_imgproc.imaging.codecs.av1 import BitReader
from gql_imgproc.imaging.codecs.isobmff import IsoBmffReader
from gql_imgproc.imaging.errors import corrupt_image

#: Bytes of a parameter set that are read. The size is in the first 120.
_MAX_HEADER_BYTES = 256
#: Types of units (7.4.2.2): below 32, slices; the parameters of a sequence.
_SLICES, _SEQUENCE = 32, 33
_MAX_UE_BITS = 32


def read_image(config: memoryview, data: memoryview, file: IsoBmffReader) -> tuple[int, int]:
    """The maximum of pixels that are coded, and the number of slices.

    Raises ImageError if there is no parameter set, which every decoder needs.
    """
    area = slices = 0
    for unit in chain(_config_units(config), _data_units(data)):
        file.spend()
        kind = unit[0] >> 1 & 0x3F
        if kind < _SLICES:
            slices += 1
        # Decoders ignore other layers than the first.
        elif kind == _SEQUENCE and not unit[0] & 1 and not unit[1] >> 3:
            area = max(area, _read_area(bytes(unit[2:_MAX_HEADER_BYTES])))
    if not area:
        raise corrupt_image("The file is damaged or incomplete: an image in it has no header.")
    return area, slices


def _config_units(config: memoryview) -> Iterator[memoryview]:
    at = 23
    for _ in range(config[22]):
        many = int.from_bytes(config[at + 1 : at + 3], "big")
        at += 3
        for _ in range(many):
            length = int.from_bytes(config[at : at + 2], "big")
            yield _unit(config, at + 2, length)
            at += 2 + length


def _data_units(data: memoryview) -> Iterator[memoryview]:
    """Decoders expect lengths of four bytes, whatever `hvcC` declares."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield _unit(data, at + 4, length)
        at += 4 + length


def _unit(data: memoryview, at: int, length: int) -> memoryview:
    if length < 2 or at + length > len(data):
        raise corrupt_image("The file is damaged or incomplete: an image in it ends early.")
    return data[at : at + length]


def _read_area(unit: bytes) -> int:
    """seq_parameter_set_rbsp() up to the size (7.3.2.2)."""
    bits = BitReader(unit.replace(b"\0\0\3", b"\0\0"))
    bits.number(4)  # video parameter set
    sub_layers = bits.number(3)
    bits.number(1)
    _skip_profile(bits, sub_layers)
    _ue(bits)  # identifier
    if _ue(bits) == 3:
        bits.number(1)  # separate planes of colour
    return _ue(bits) * _ue(bits)


def _skip_profile(bits: BitReader, sub_layers: int) -> None:
    """profile_tier_level() of 7.3.3."""
    bits.number(96)
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    bits.number(2 * (8 - sub_layers) if sub_layers else 0)
    for has_profile, has_level in present:
        bits.number(88 * has_profile + 8 * has_level)


def _ue(bits: BitReader) -> int:
    """An Exp-Golomb number (9.2)."""
    zeros = 0
    while not bits.flag():
        zeros += 1
        if zeros > _MAX_UE_BITS:
            raise IndexError
    return (1 << zeros) - 1 + bits.number(zeros)
