"""Serial numbers: their format, and the ones already used in a file."""

from __future__ import annotations

import re
from array import array

from gql_imgproc.csvfile.messages import quote

#: Maximum digits of a serial number: enough for any numbering, and fast to compare.
MAX_DIGITS = 30

#: Smaller numbers are stored with their row in an array of 4 bytes each (16 MB at most). Larger ones are stored in a
#: set; a million of them take 90 MB.
DENSE = 4_000_000

_GROUPED = re.compile(r"[+']?(\d{1,3}(?:[, .']\d{3})+|\d{1,30})(?:[.,]0{0,30})?", re.ASCII)
#: A whole number as a spreadsheet with decimals writes it. Three zeros would be thousands.
_WITH_DECIMALS = re.compile(r"(\d{1,30})[.,]0{1,2}", re.ASCII)
_ZERO = re.compile(r"[+-]?0+", re.ASCII)


def read_serial_number(cell: str) -> str:
    """Returns the text of a cell; without its decimals if it is a whole number."""
    text = cell.strip()
    decimal = None if text.isdecimal() else _WITH_DECIMALS.fullmatch(text)
    return decimal[1] if decimal else text


def serial_number_problem(text: str) -> str | None:
    """Returns what is wrong with a stripped serial number and how to fix it; None if it is valid."""
    if text.isdecimal() and text.isascii():
        if len(text) > MAX_DIGITS:
            return f"The serial number has {len(text):,} digits; the limit is {MAX_DIGITS}."
        if text.strip("0"):
            return None
    if not text:
        return "The serial number is missing. Number each product with a positive whole number."
    if "\N{ZERO WIDTH NO-BREAK SPACE}" in text:
        return (
            "The serial number contains a byte order mark (U+FEFF), perhaps because two files were joined here. Delete "
            "the header of the second file, or type the number again."
        )
    fix = "Write a positive whole number with digits only"
    if (meant := _GROUPED.fullmatch(text)) and not _ZERO.fullmatch(text):
        digits = re.sub(r"\D", "", meant[1])
        return f'{quote(text)} is not written as a whole number. {fix}: "{digits}".'
    return f'{quote(text)} is not a serial number. {fix}, like "1".'


class SerialNumbers:
    """The serial numbers used so far, compared by value: `007` equals `7`."""

    def __init__(self) -> None:
        self._rows = array("I", bytes(4 * 1024))
        self._large: set[int] = set()

    def add(self, number: int, row: int) -> int:
        """Returns 0 if the number is new, else the row that used it, or -1 if that row is not known."""
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
            # The upload limit keeps row numbers below 32 bits. A larger one is still recognized as used.
            rows[number] = min(row, 0xFFFF_FFFF)
        return first
