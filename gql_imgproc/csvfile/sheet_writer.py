"""Writes a workbook of one sheet, row by row. It has values and their formats, but no styles and no formulas.

A library (XlsxWriter) takes four times as long. The file format is that of ECMA-376, part 1, section 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from gql_imgproc.csvfile.typed_cells import MAX_CELL_CHARS, Percent, Value, parse_cell

#: Excel's limit of the name of a sheet, in characters.
MAX_NAME_CHARS = 31
#: A number of more digits is shown as 1.23E+13, unless it has a format of its own.
_MAX_PLAIN_NUMBER = 10**11
_FORMATS: dict[type, str] = {date: "yyyy-mm-dd", datetime: "yyyy-mm-dd hh:mm:ss", timedelta: "[h]:mm:ss", int: "0"}
_FIRST_DAY, _FIRST_OWN_FORMAT = datetime.fromisoformat("1899-12-31"), 164
#: Spreadsheets count a 29 February 1900.
_DAYS_BEFORE_LEAP_DAY = 59
_BUFFER_CHARS = 2**18

_INVALID_IN_NAMES = re.compile(r"[\[\]:*?/\\]|^'|'$")
_SHORT_NUMBER = re.compile(r"-?\d{1,10}(?:\.\d+)?")
#: Characters that XML lacks or changes are written as `_x000D_`, and so is a text that looks like this.
_ESCAPED = re.compile("[\0-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    f'<Default Extension="rels" ContentType="{_TYPE}package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}officedocument.spreadsheetml.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}officedocument.spreadsheetml.styles+xml"/>'
    '<Override PartName="/xl/worksheets/sheet1.xml" '
    f'ContentType="{_TYPE}officedocument.spreadsheetml.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_RELATIONS}/styles" Target="styles.xml"/></Relationships>',
}


class SheetWriter:
    """Rows are compressed as they come, so memory does not grow with them."""

    def __init__(self, out: BinaryIO, name: str) -> None:
        self._name = _INVALID_IN_NAMES.sub("_", name)[:MAX_NAME_CHARS] or "Sheet1"
        self._archive = ZipFile(out, "w")
        self._sheet = self._archive.open(_part("xl/worksheets/sheet1.xml"), "w")
        self._text = [f'{_XML}<worksheet xmlns="{_MAIN}"><sheetData>']
        self._chars = self._row = 0
        #: Formats in the order of their styles.
        self._styles: list[str] = ["General"]

    def write_row(self, cells: Iterable[str]) -> None:
        """Writes a row of cells in the form that `format_cell` returns."""
        self._row += 1
        row = self._row
        parts = [f'<row r="{row}">']
        for column, cell in enumerate(cells):
            if not cell:
                continue
            if cell[0] == '"':
                text = _escape(cell[1:-1].replace('""', '"')[:MAX_CELL_CHARS])
                parts.append(
                    f'<c r="{_letters(column)}{row}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
                )
            elif _SHORT_NUMBER.fullmatch(cell):
                parts.append(f'<c r="{_letters(column)}{row}"><v>{cell}</v></c>')
            else:
                parts.append(f'<c r="{_letters(column)}{row}" {self._describe(parse_cell(cell))}</v></c>')
        parts.append("</row>")
        line = "".join(parts)
        self._text.append(line)
        self._chars += len(line)
        if self._chars > _BUFFER_CHARS:
            self._flush()

    def _describe(self, value: Value) -> str:
        """The attributes of a cell that is no text, and its value."""
        match value:
            case bool():
                return f't="b"><v>{value:d}'
            case Percent():
                decimals = "." + "0" * value.decimals if value.decimals else ""
                return f's="{self._style(f"0{decimals}%")}"><v>{value.value!r}'
            case int() | float():
                is_long = abs(value) >= _MAX_PLAIN_NUMBER and float(value).is_integer()
                style = self._style(_FORMATS[int]) if is_long else 0
                return f's="{style}"><v>{value:.16G}'
            case timedelta():
                days = value / timedelta(days=1)
            case datetime() | date():
                moment = value if isinstance(value, datetime) else datetime.combine(value, time())
                days = (moment - _FIRST_DAY) / timedelta(days=1)
                days += days > _DAYS_BEFORE_LEAP_DAY
            case _:
                raise TypeError(f"a cell cannot hold {type(value).__name__}")
        return f's="{self._style(_FORMATS[type(value)])}"><v>{days:.16G}'

    def _style(self, format: str) -> int:
        if format not in self._styles:
            self._styles.append(format)
        return self._styles.index(format)

    def _flush(self) -> None:
        self._sheet.write("".join(self._text).encode(errors="replace"))
        self._text, self._chars = [], 0

    def close(self) -> None:
        """Completes the workbook. Does nothing the second time."""
        if self._sheet.closed:
            return
        self._text.append("</sheetData></worksheet>")
        self._flush()
        self._sheet.close()
        formats = list(enumerate(self._styles[1:], start=_FIRST_OWN_FORMAT))
        codes = "".join(f'<numFmt numFmtId="{number}" formatCode="{format}"/>' for number, format in formats)
        styles = "".join(f'<xf numFmtId="{n}" xfId="0" applyNumberFormat="1"/>' for n in (0, *dict(formats)))
        parts = _PARTS | {
            "xl/workbook.xml": f'<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>'
            f'<sheet name={quoteattr(self._name)} sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
            + (f'<numFmts count="{len(formats)}">{codes}</numFmts>' if formats else "")
            + '<fonts count="1"><font/></fonts><fills count="2"><fill><patternFill patternType="none"/></fill>'
            '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
            f'<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="{len(formats) + 1}">{styles}</cellXfs>'
            "</styleSheet>",
        }
        for name, text in parts.items():
            self._archive.writestr(_part(name), _XML + text)
        self._archive.close()


def _part(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.compress_type = ZIP_DEFLATED
    return info


@cache
def _letters(column: int) -> str:
    """The name of a column: A to Z, AA and so on."""
    first, last = divmod(column, 26)
    return (_letters(first - 1) if first else "") + chr(ord("A") + last)


def _escape(text: str) -> str:
    text = escape(text)
    if text.isascii() and text.isprintable() and "_x" not in text:
        return text
    return _ESCAPED.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
