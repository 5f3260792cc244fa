"""Serial numbers: what is one, and which have been seen."""

from __future__ import annotations

import re
from array import array

from gql_imgproc.csvfile.messages import quote

#: Most digits of a serial number: more than any numbering of goods has, and quick to compare.
MAX_DIGITS = 30

#: Numbers below this are kept with their row, 4 bytes each (16 MB at most); a million larger ones as a set of 90 MB.
DENSE = 4_000_000

_GROUPED = re.compile(r"[+']?(\d{1,3}(?:[, .']\d{3})+|\d{1,30})(?:[.,]0{0,30})?", re.ASCII)
_ZERO = re.compile(r"[+-]?0+", re.ASCII)


def serial_number_problem(text: str) -> str | None:
    """What is wrong with a serial number that was stripped, as a sentence that tells the mend; None if nothing is."""
    if text.isdecimal() and text.isascii():
        if len(text) > MAX_DIGITS:
            return f"The serial number has {len(text):,} digits; the limit is {MAX_DIGITS}."
        if text.strip("0"):
            return None
    if not text:
        return "The serial number is missing. Number each product with a positive whole number."
    mend = "Write a positive whole number with digits only"
    if (meant := _GROUPED.fullmatch(text)) and not _ZERO.fullmatch(text):
        digits = re.sub(r"\D", "", meant[1])
        return f'{quote(text)} is not written as a whole number. {mend}: "{digits}".'
    return f'{quote(text)} is not a serial number. {mend}, like "1".'


class SerialNumbers:
    """The numbers seen so far: `007` is `7`."""

    def __init__(self) -> None:
        self._rows = array("I", bytes(4 * 1024))
        self._large: set[int] = set()

    def add(self, number: int, row: int) -> int:
        """0 if the number is new, else the row that had it, or -1 when that is not known."""
        if number >= DENSE:
            if number in self._large:
                return -1
            self._large.add(number)
            return 0
        rows = self._rows
        if number >= len(rows):
            rows.frombytes(bytes(rows.itemsize * (min(DENSE, max(2 * len(rows), number + 1)) - len(rows))))
        first = rows[number]
        if not first:
            # Rows are limited by the size of the upload; beyond 32 bits the earlier row is still told as one.
            rows[number] = min(row, 0xFFFF_FFFF)
        return first
