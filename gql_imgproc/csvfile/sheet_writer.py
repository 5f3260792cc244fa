"""Writes a workbook of one sheet, row by row. It has values and their formats, but no styles and no formulas."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from tempfile import TemporaryDirectory
from typing import BinaryIO

from xlsxwriter import Workbook

from gql_imgproc.csvfile.typed_cells import MAX_CELL_CHARS, Percent, parse_cell

#: Excel's limit of the name of a sheet, in characters.
MAX_NAME_CHARS = 31
#: A number of more digits is shown as 1.23E+13, unless it has this format.
_MAX_PLAIN_NUMBER = 10**11
_TIME_FORMATS: dict[type, str] = {
    date: "yyyy-mm-dd",
    datetime: "yyyy-mm-dd hh:mm:ss",
    time: "hh:mm:ss",
    timedelta: "[h]:mm:ss",
}

_INVALID_IN_NAMES = re.compile(r"[\[\]:*?/\\]|^'|'$")


class SheetWriter:
    """Rows go to a temporary file, so memory does not grow with them."""

    def __init__(self, out: BinaryIO, name: str) -> None:
        # The library deletes its temporary file only at the end of a complete workbook.
        self._folder = TemporaryDirectory()
        self._workbook = Workbook(out, {"constant_memory": True, "tmpdir": self._folder.name})
        self._sheet = self._workbook.add_worksheet(_INVALID_IN_NAMES.sub("_", name)[:MAX_NAME_CHARS])
        self._formats: dict[str, object] = {}
        self._row = 0

    def write_row(self, cells: Iterable[str]) -> None:
        """Writes a row of cells in the form that `format_cell` returns."""
        sheet, row = self._sheet, self._row
        for column, cell in enumerate(cells):
            match value := parse_cell(cell) if cell else None:
                case None:
                    pass
                case Percent():
                    zeros = "0" * value.decimals
                    sheet.write_number(row, column, value.value, self._format(f"0.{zeros}%" if zeros else "0%"))
                case str():
                    sheet.write_string(row, column, value[:MAX_CELL_CHARS])
                case bool():
                    sheet.write_boolean(row, column, value)
                case float():
                    is_long = abs(value) >= _MAX_PLAIN_NUMBER and value.is_integer()
                    sheet.write_number(row, column, value, self._format("0") if is_long else None)
                case _:
                    sheet.write_datetime(row, column, value, self._format(_TIME_FORMATS[type(value)]))
        self._row += 1

    def _format(self, text: str) -> object:
        if text not in self._formats:
            self._formats[text] = self._workbook.add_format({"num_format": text})
        return self._formats[text]

    def close(self) -> None:
        self._workbook.close()
        self._folder.cleanup()
