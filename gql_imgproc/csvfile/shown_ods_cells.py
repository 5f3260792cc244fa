"""Cells of an OpenDocument sheet that it shows in another way than the library reads them: percentages, durations,
numbers with leading zeros, and errors. The file has the text of each cell too (OpenDocument 1.3, part 3, section 9).

A time of day and a duration differ only in their format. What is less than a day is read as a time of day.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO
from xml.etree.ElementTree import Element, iterparse

from gql_imgproc.csvfile.shown_cells import has_mark
from gql_imgproc.csvfile.typed_cells import Percent, Value

#: The file that each workbook has.
CONTENT = "content.xml"
#: Only a file with one of these is parsed.
_MARKS = re.compile(rb'value-type="(?:percentage|time|error)"|min-integer-digits="(?:[2-9]|1\d)"')
_DURATION = re.compile(r"(-?)P(?:(\d+)D)?T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d+)?)S)?")
_ZEROS = re.compile(r"-?0\d+")
_OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_LO_TYPE = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}p"


def iter_shown_ods_cells(archive: zipfile.ZipFile, sheet: str) -> Iterator[tuple[int, dict[int, Value]]]:
    """As `iter_shown_cells`."""
    if has_mark(archive, CONTENT, _MARKS):
        with archive.open(CONTENT) as file:
            yield from _iter_rows(file, sheet)


def _iter_rows(file: IO[bytes], sheet: str) -> Iterator[tuple[int, dict[int, Value]]]:
    row, is_wanted = 0, False
    for event, element in iterparse(file, ("start", "end")):
        if event == "start" and element.tag == f"{_TABLE}table":
            is_wanted = element.get(f"{_TABLE}name") == sheet
        if event == "end" and element.tag == f"{_TABLE}table" and is_wanted:
            return
        if event == "end" and element.tag == f"{_TABLE}table-row":
            repeated = int(element.get(f"{_TABLE}number-rows-repeated", 1))
            if is_wanted and (cells := _read_row(element)):
                for number in range(row + 1, row + 1 + repeated):
                    yield number, cells
            row += repeated * is_wanted
            # Memory stays flat.
            element.clear()


def _read_row(row: Element) -> dict[int, Value]:
    cells: dict[int, Value] = {}
    column = 0
    for cell in row:
        repeated = int(cell.get(f"{_TABLE}number-columns-repeated", 1))
        if (value := _read_cell(cell)) is not None:
            cells |= dict.fromkeys(range(column, column + repeated), value)
        column += repeated
    return cells


def _read_cell(cell: Element) -> Value | None:
    text = "\n".join("".join(part.itertext()) for part in cell.iter(_TEXT))
    if cell.get(_LO_TYPE) == "error":
        return text
    match cell.get(f"{_OFFICE}value-type"):
        case "percentage":
            decimals = re.search(r"[.,](\d+)\s?%", text)
            return Percent.of(cell.get(f"{_OFFICE}value", "0"), len(decimals[1]) if decimals else 0)
        case "time":
            return _parse_time(cell.get(f"{_OFFICE}time-value", ""), text)
        case "float" if _ZEROS.fullmatch(text):
            return text
    return None


def _parse_time(stored: str, text: str) -> Value:
    if not (found := _DURATION.fullmatch(stored)):
        return text
    sign, *numbers = (part or "0" for part in found.groups())
    days, hours, minutes, seconds = (float(number.replace(",", ".")) for number in numbers)
    duration = timedelta(days, seconds, hours=hours, minutes=minutes)
    if sign == "-":
        return -duration
    return duration if duration >= timedelta(days=1) else datetime.fromtimestamp(duration.total_seconds(), UTC).time()
