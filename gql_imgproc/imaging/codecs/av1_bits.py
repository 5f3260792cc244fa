"""Reads numbers from the headers of AV1.

Section numbers are those of the AV1 Bitstream & Decoding Process Specification (version 1.0.0 with errata 1).
"""

from __future__ import annotations

#: Bytes of a header that are read. The longest possible header is shorter.
MAX_HEADER_BYTES = 1_024


class TruncatedHeader(Exception):
    """A header that ends early, or a type of header that is not supported here."""


class BitReader:
    """Reads numbers of any width, most significant bit first (4.10)."""

    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:MAX_HEADER_BYTES])
        self._value, self._left = int.from_bytes(head, "big"), 8 * len(head)

    def number(self, bits: int) -> int:
        self._left -= bits
        if self._left < 0:
            raise TruncatedHeader
        return self._value >> self._left & (1 << bits) - 1

    def flag(self) -> bool:
        return bool(self.number(1))

    def signed(self, bits: int) -> int:
        """su(n) of 4.10.6."""
        number = self.number(bits)
        return number - (1 << bits) if number >> bits - 1 else number

    def read_ns(self, limit: int) -> int:
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
