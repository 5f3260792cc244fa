"""Cells of an Excel workbook that a sheet shows in another way than the library reads them.

A number in a format such as `00000` has leading zeros there, and one in a format such as `0%` is a hundred times as
large; errors such as `#N/A`, and formulas that were never calculated, are not empty. The file format is that of
ECMA-376, part 1, section 18.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import digits
from typing import IO
from xml.etree.ElementTree import Element, iterparse

from gql_imgproc.csvfile.typed_cells import Percent, Value

#: The file that each workbook has, and two others.
WORKBOOK, _RELATIONS, _STYLES = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/styles.xml"
#: The formats of integers with leading zeros. Another section of the format is for negative numbers.
_ZEROS = re.compile(r"(0{2,})(;|\Z)")
#: The formats of percentages, and those that Excel has built in.
_PERCENT = re.compile(r"[#,0]*0(?:\.([0#]+))?\s?%(;|\Z)")
_BUILT_IN: dict[str | None, str] = {"9": "0%", "10": "0.00%"}
#: Only a sheet with one of these, or with a cell in such a format, is parsed: an error, and a formula without a value.
_MARKS = re.compile(rb't="e"|</f></c>|/></c>')
_CHUNK_BYTES, _MAX_MARK_BYTES = 2**20, 40


def iter_shown_cells(archive: zipfile.ZipFile, sheet: str) -> Iterator[tuple[int, dict[int, Value]]]:
    """Yields the number of each row with such cells, from 1, and their texts by column, from 0.

    Raises ParseError if a part is no XML.
    """
    try:
        path = archive.getinfo(_find_sheet(archive, sheet)).filename
    except KeyError:
        return
    formats = _find_formats(archive)
    if formats or has_mark(archive, path, _MARKS):
        with archive.open(path) as file:
            yield from _iter_rows(file, formats)


def has_mark(archive: zipfile.ZipFile, path: str, marks: re.Pattern[bytes]) -> bool:
    """Whether a file has a text of at most 40 bytes. It is not parsed."""
    end = b""
    with archive.open(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            if marks.search(text := end + chunk):
                return True
            end = text[-_MAX_MARK_BYTES:]
    return False


def _find_sheet(archive: zipfile.ZipFile, name: str) -> str:
    """Returns the path of a sheet. Raises KeyError."""
    ids = {
        element.get("name"): value
        for element in _elements(archive, WORKBOOK, "sheet")
        for key, value in element.items()
        if key.endswith("}id")
    }
    targets = {
        element.get("Id"): element.get("Target", "") for element in _elements(archive, _RELATIONS, "Relationship")
    }
    target = targets[ids[name]]
    return target[1:] if target.startswith("/") else f"xl/{target}"


@dataclass(frozen=True, slots=True)
class _Format:
    """The digits of a number with leading zeros, or the decimals of a percentage."""

    digits: int = 0
    decimals: int | None = None


_PLAIN = _Format()


def _parse_format(code: str) -> _Format:
    if found := _ZEROS.match(code):
        return _Format(digits=len(found[1]))
    if found := _PERCENT.match(code):
        return _Format(decimals=len(found[1] or ""))
    return _PLAIN


def _find_formats(archive: zipfile.ZipFile) -> dict[str, _Format]:
    """The format of each cell style with leading zeros or percentages."""
    if _STYLES not in archive.namelist():
        return {}
    codes = _BUILT_IN | {
        each.get("numFmtId"): each.get("formatCode", "") for each in _elements(archive, _STYLES, "numFmt")
    }
    styles = [style for group in _elements(archive, _STYLES, "cellXfs") for style in group]
    ids = [style.get("numFmtId") for style in styles]
    formats = {str(number): _parse_format(codes.get(id, "")) for number, id in enumerate(ids)}
    return {style: each for style, each in formats.items() if each != _PLAIN}


def _elements(archive: zipfile.ZipFile, path: str, tag: str) -> Iterator[Element]:
    with archive.open(path) as file:
        yield from (element for _, element in iterparse(file) if _tag(element) == tag)


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _iter_rows(file: IO[bytes], formats: Mapping[str, _Format]) -> Iterator[tuple[int, dict[int, Value]]]:
    number = 0
    for _, row in iterparse(file):
        if _tag(row) == "sheetData":
            return
        if _tag(row) != "row":
            continue
        number = int(row.get("r", number + 1))
        column, texts = -1, dict[int, Value]()
        for cell in row:
            reference = cell.get("r")
            column = _read_column(reference) if reference else column + 1
            text = _read_cell(cell, formats.get(cell.get("s", ""), _PLAIN))
            if text is not None:
                texts[column] = text
        # Memory stays flat.
        row.clear()
        if texts:
            yield number, texts


def _read_column(reference: str) -> int:
    column = 0
    for letter in reference.rstrip(digits):
        column = 26 * column + ord(letter) - ord("A") + 1
    return column - 1


def _read_cell(cell: Element, format: _Format) -> str | None:
    """Returns the text of a cell that the library reads in another way."""
    kind = cell.get("t", "n")
    if format is _PLAIN and kind != "e" and (cell.find("{*}f") is None or cell.find("{*}v") is not None):
        return None
    value = cell.findtext("{*}v", "")
    if kind == "e":
        return value
    if not value:
        formula = cell.findtext("{*}f")
        return None if formula is None else f"={formula}"
    if format.decimals is not None:
        return Percent.of(value, format.decimals) if kind == "n" else None
    width = format.digits
    is_short = kind == "n" and 0 <= float(value) < 10 ** (width - 1) and float(value).is_integer()
    return f"{int(float(value)):0{width}}" if is_short else None
