"""Turns an uploaded workbook (.xlsx, .xlsm, .xlsb, .xls, .ods) into a CSV file, which is read like any other.

The library that reads workbooks keeps a whole sheet in memory, and a small file can claim a billion cells. So it runs
in a process of its own, whose memory, time and output are limited.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import SAVE_AS_CSV
from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.csvfile.messages import csv_error
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

#: Names of workbooks end with one of these.
EXTENSIONS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

#: The first bytes of ZIP archives, which most workbooks are, and of files of older Office programs.
_SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
#: 100,000 rows with 25 filled columns take a tenth of it.
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file that was uploaded, or made of a workbook, and how to read it."""

    file: BinaryIO
    layout: CsvLayout
    warnings: tuple[CsvIssue, ...] = ()
    #: All visible sheets of the workbook.
    sheets: tuple[str, ...] = ()


def output_extension(filename: str) -> str:
    """Returns the extension of the output of our own format, by the name of the upload."""
    return "xlsx" if filename.lower().endswith(EXTENSIONS) else "csv"


def is_workbook(file: BinaryIO) -> bool:
    """Whether a file starts like a workbook."""
    file.seek(0)
    start = file.read(len(_SIGNATURES[1]))
    file.seek(0)
    return start.startswith(_SIGNATURES)


def open_table(file: BinaryIO, out: BinaryIO, layout: CsvLayout, max_csv_bytes: int) -> Table:
    """Writes a sheet of a workbook to `out` as CSV: the one that `layout` names, or else the first visible one.

    A file that is no workbook is returned as it is. Raises InvalidCsv.
    """
    if is_workbook(file) and (table := _read_workbook(file, out, layout, max_csv_bytes)):
        return table
    if layout.sheet is not None:
        raise csv_error(CsvIssueCode.SHEET, "The file is no workbook, so it has no sheets. Omit the option `sheet`.")
    return Table(file, layout)


def _read_workbook(file: BinaryIO, out: BinaryIO, layout: CsvLayout, max_csv_bytes: int) -> Table | None:
    """Returns None if `file` is no workbook."""
    arguments = str(os.getpid()), str(max_csv_bytes), layout.sheet or ""
    try:
        result = subprocess.run(
            [sys.executable, "-m", "gql_imgproc.csvfile.workbook_process", *arguments],
            input=file.read(),
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        result = None
    if result is None or result.returncode < 0:
        # Without memory a signal ends the process.
        raise csv_error(
            CsvIssueCode.LIMIT_EXCEEDED,
            "Reading the workbook takes too much memory or time. Delete empty rows and columns after the last product, "
            f"and other sheets. {SAVE_AS_CSV}",
        )
    if result.returncode > 0:
        # The library failed in a way that it does not expect.
        raise csv_error(CsvIssueCode.NOT_CSV, f"The workbook is damaged. {SAVE_AS_CSV}")
    found = json.loads(result.stderr)
    issues = tuple(CsvIssue(CsvIssueCode(issue.pop("code")), **issue) for issue in found["issues"])
    if found["sheet"] is not None:
        return Table(out, replace(layout, sheet=found["sheet"], encoding=None), issues, tuple(found["sheets"]))
    if issues:
        raise InvalidCsv(issues, len(issues))
    return None
