"""The cells of a workbook as a CSV file has them: texts in quotation marks, and other values without.

So the file can be read as any CSV file, and a workbook written from it has numbers where the uploaded one had them.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Self

#: Excel's limit of a cell, in characters; also of a workbook that is read, since its output is a workbook too.
MAX_CELL_CHARS = 32_767


class Percent(str):
    """A number as a sheet shows it in percent, with all of its digits: `12.5%`."""

    __slots__ = ()

    @classmethod
    def of(cls, stored: str, decimals: int) -> Self:
        """`decimals`: as many are shown at least."""
        value = Decimal(f"{float(stored):.15g}") * 100
        shown = max(decimals, -int(value.normalize().as_tuple().exponent))
        return cls(f"{value:.{shown}f}%")

    @property
    def value(self) -> float:
        return float(Decimal(self[:-1]) / 100)

    @property
    def decimals(self) -> int:
        return len(self.partition(".")[2].rstrip("%"))


#: Types of the values in a workbook.
Value = str | bool | int | float | date | time | timedelta

#: Spreadsheets count days from here on; an earlier date is text.
_FIRST_YEAR = 1900

#: From here on, a number with floating point is not every integer, and one is too long for its digits.
_MAX_EXACT, _MAX_DIGITS = 2**53, 10**20

_CELL = re.compile('(?:\\A|,)("(?:[^"]|"")*"|[^,\r\n]*)')
_TIME = re.compile(r"(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{6})?")
#: A duration of less than a day has milliseconds, which tell it from a time of day.
_DURATION = re.compile(r"(-?)(\d+):(\d\d):(\d\d(?:\.\d{3})?)")


def format_cell(value: Value) -> str:
    """Returns a cell as it stands in the CSV file. Its value is what a sheet shows without a number format."""
    match value:
        case Percent():
            return value
        case str():
            return quote_text(value)
        case bool():
            return str(value).upper()
        case int() | float():
            # Spreadsheets show 15 digits. A longer number that is exact identifies something.
            if abs(value) < _MAX_EXACT and value == int(value):
                return str(int(value))
            shown = f"{value:.15g}"
            return shown if "e-" in shown or abs(value) >= _MAX_DIGITS else f"{Decimal(shown):f}"
        case date() if value.year < _FIRST_YEAR:
            return quote_text(str(value))
        case date() | time():
            return str(value)
        case timedelta():
            seconds, milliseconds = divmod(round(abs(value) / timedelta(milliseconds=1)), 1000)
            sign = "-" if value < timedelta() else ""
            text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            return f"{text}.{milliseconds:03}" if milliseconds or _TIME.fullmatch(text) else text


def parse_cell(cell: str) -> Value:
    """Parses what `format_cell` returns."""
    if cell[:1] == '"':
        return cell[1:-1].replace('""', '"')
    if cell.endswith("%"):
        return Percent(cell)
    if not cell or cell in ("TRUE", "FALSE"):
        return cell == "TRUE" if cell else ""
    if _TIME.fullmatch(cell):
        return time.fromisoformat(cell)
    if found := _DURATION.fullmatch(cell):
        duration = timedelta(hours=int(found[2]), minutes=int(found[3]), seconds=float(found[4]))
        return -duration if found[1] else duration
    if len(cell) >= 10 and cell[4] == cell[7] == "-":
        return datetime.fromisoformat(cell) if " " in cell else date.fromisoformat(cell)
    return float(cell)


def quote_text(text: str) -> str:
    """Returns the cell of a text; nothing for an empty one."""
    escaped = text.replace('"', '""')
    return f'"{escaped}"' if text else ""


def split_row(line: str) -> list[str]:
    """Returns the cells of a row as they stand in the CSV file."""
    return _CELL.findall(line)
