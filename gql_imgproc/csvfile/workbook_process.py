"""The process that reads a workbook: `python -m gql_imgproc.csvfile.workbook_process PARENT_PID MAX_CSV_BYTES SHEET`.

It reads the workbook from standard input, writes the CSV file to standard output, and the outcome as JSON to standard
error. Without memory a signal ends it.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from gql_imgproc.csvfile.encoding import SAVE_AS_CSV
from gql_imgproc.csvfile.messages import csv_error, join_quoted, quote
from gql_imgproc.csvfile.shown_cells import WORKBOOK, iter_shown_cells
from gql_imgproc.csvfile.shown_ods_cells import CONTENT, iter_shown_ods_cells
from gql_imgproc.csvfile.typed_cells import MAX_CELL_CHARS, Value, format_cell
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv
from gql_imgproc.system.process import die_with_parent, limit_memory

#: 100,000 rows with 25 filled columns take half of it.
MAX_MEMORY_BYTES = 768 * 2**20
#: Bytes of all files in a workbook together: ten times those of 100,000 rows with 25 filled columns.
MAX_UNPACKED_BYTES = 2**30
#: Files in a workbook, which has one per sheet and image.
MAX_FILES = 10_000

#: How a workbook with a password names what it encrypts.
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


@dataclass(frozen=True, slots=True)
class Outcome:
    #: The sheet that was read; None if there is none.
    sheet: str | None = None
    #: All visible sheets.
    sheets: tuple[str, ...] = ()
    issues: tuple[CsvIssue, ...] = ()


def convert(data: bytes, out: BinaryIO, name: str, max_csv_bytes: int) -> Outcome:
    """Writes a sheet as CSV. The outcome has neither a sheet nor issues if `data` is no workbook. Raises InvalidCsv."""
    if _ENCRYPTED in data:
        raise _password_error()
    archive = _open_archive(data)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError:
        raise _password_error() from None
    except CalamineError:
        # The reader of CSV files says what else it is.
        return Outcome()
    try:
        sheets = _list_sheets(workbook)
        sheet = _choose_sheet(workbook, sheets, name)
        shown = _iter_shown_cells(archive, sheet.name) if archive else iter(())
        _write(_iter_rows(sheet, shown), out, max_csv_bytes)
    except (CalamineError, ParseError, zipfile.BadZipFile) as error:
        raise csv_error(CsvIssueCode.NOT_CSV, f"The workbook is damaged ({error}). {SAVE_AS_CSV}") from None
    return Outcome(sheet.name, sheets, () if name else _warn_about(sheets[1:], sheet.name))


def _password_error() -> InvalidCsv:
    return csv_error(CsvIssueCode.NOT_CSV, "The workbook has a password. Save it without a password, then upload that.")


def _open_archive(data: bytes) -> zipfile.ZipFile | None:
    """Refuses a small file with a huge content. The library checks that the declared sizes are true."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        return None
    files = archive.infolist()
    unpacked_bytes = sum(file.file_size for file in files)
    if len(files) > MAX_FILES or unpacked_bytes > MAX_UNPACKED_BYTES:
        raise csv_error(
            CsvIssueCode.LIMIT_EXCEEDED,
            f"The workbook has {len(files):,} files of {unpacked_bytes:,} bytes when it is unpacked; the limits are "
            f"{MAX_FILES:,} and {MAX_UNPACKED_BYTES:,}. Split it, or save its sheet as CSV.",
        )
    return archive


def _iter_shown_cells(archive: zipfile.ZipFile, sheet: str) -> Iterator[tuple[int, Mapping[int, Value]]]:
    names = archive.namelist()
    if CONTENT in names:
        return iter_shown_ods_cells(archive, sheet)
    return iter_shown_cells(archive, sheet) if WORKBOOK in names else iter(())


def _list_sheets(workbook: CalamineWorkbook) -> tuple[str, ...]:
    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    return tuple(sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible)


def _choose_sheet(workbook: CalamineWorkbook, sheets: tuple[str, ...], name: str) -> CalamineSheet:
    if name:
        if name not in workbook.sheet_names:
            raise csv_error(
                CsvIssueCode.SHEET,
                f"The workbook has no sheet {quote(name)}; found: {join_quoted([*sheets]) or 'none'}.",
            )
        return workbook.get_sheet_by_name(name)
    if not sheets:
        raise csv_error(CsvIssueCode.SHEET, "The workbook has no visible sheet. Show the sheet with the products.")
    return workbook.get_sheet_by_name(sheets[0])


def _warn_about(others: tuple[str, ...], name: str) -> tuple[CsvIssue, ...]:
    names = join_quoted([*others])
    message = f"Only the sheet {quote(name)} was read. To read another one, name it with the option `sheet`: {names}."
    return (CsvIssue(CsvIssueCode.SHEET, message),) if others else ()


def _iter_rows(sheet: CalamineSheet, shown: Iterator[tuple[int, Mapping[int, Value]]]) -> Iterator[list[Value]]:
    """Yields the rows from the first one of the sheet on, with the cells that it shows in another way."""
    # A sheet without cells cannot be iterated over.
    if sheet.start is None:
        return
    first_column = sheet.start[1]
    end: tuple[int, Mapping[int, Value]] = (0, {})
    changed_row, texts = next(shown, end)
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        if number == changed_row:
            for column, text in texts.items():
                cells += [""] * (column - first_column + 1 - len(cells))
                cells[column - first_column] = text
            changed_row, texts = next(shown, end)
        yield cells


def _write(rows: Iterator[list[Value]], out: BinaryIO, max_csv_bytes: int) -> None:
    out.write(codecs.BOM_UTF8)
    written = 0
    for line in _lines(rows):
        data = line.encode(errors="replace")
        written += len(data)
        if written > max_csv_bytes:
            raise csv_error(
                CsvIssueCode.LIMIT_EXCEEDED,
                f"The sheet is larger than the limit of {max_csv_bytes:,} bytes as text. Split it.",
            )
        out.write(data)


def _lines(rows: Iterator[list[Value]]) -> Iterator[str]:
    for row, cells in enumerate(rows, start=1):
        line = ",".join(map(format_cell, cells))
        if len(line) > MAX_CELL_CHARS and any(len(str(cell)) > MAX_CELL_CHARS for cell in cells):
            raise csv_error(
                CsvIssueCode.FIELD_TOO_LONG,
                f"Row {row} has a cell of more than {MAX_CELL_CHARS:,} characters, the limit of Excel. Shorten it.",
                row,
            )
        yield f"{line}\r\n"


def main(parent_pid: str, max_csv_bytes: str, sheet_name: str) -> None:
    die_with_parent(int(parent_pid))
    limit_memory(MAX_MEMORY_BYTES)
    try:
        outcome = convert(sys.stdin.buffer.read(), sys.stdout.buffer, sheet_name, int(max_csv_bytes))
    except InvalidCsv as error:
        outcome = Outcome(issues=error.issues)
    json.dump(asdict(outcome), sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
