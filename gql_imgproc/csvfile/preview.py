"""What a person needs to see of a file before the upload: its profile, its columns and its first rows."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import open_text
from gql_imgproc.csvfile.header import find_header
from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import excerpt
from gql_imgproc.csvfile.records import iter_records
from gql_imgproc.csvfile.rows import is_blank
from gql_imgproc.enums import CsvProfile
from gql_imgproc.errors import CsvIssue

#: Bytes of a CSV file that are read: the header and some rows. A caller needs to send no more.
PREVIEW_BYTES = 64 * 1024
#: Rows, columns, and characters of a cell that are shown.
MAX_ROWS, MAX_COLUMNS, MAX_CELL_CHARS = 5, 200, 80


@dataclass(frozen=True, slots=True)
class CsvPreview:
    #: None if the file is not recognized.
    profile: CsvProfile | None
    columns: list[str]
    #: The first rows below the header that are not blank, with a cell for each column.
    rows: list[list[str]]


def preview(file: BinaryIO, limits: CsvLimits, layout: CsvLayout) -> CsvPreview:
    """Raises InvalidCsv for a file that is no table."""
    text = open_text(io.BytesIO(_read_start(file)), limits.longest_row_chars, layout.encoding)
    header = find_header(text, limits, layout)
    names = [excerpt(name.strip(" \N{ZERO WIDTH NO-BREAK SPACE}")) for name in header.names[:MAX_COLUMNS]]
    while names and not names[-1]:
        names.pop()
    rows: list[list[str]] = []
    for record in islice(iter_records(text, header.dialect, limits.longest_row_chars), header.row, None):
        if isinstance(record, CsvIssue) or len(rows) == MAX_ROWS:
            break
        if isinstance(record, tuple) and not is_blank(record[1]):
            cells = [excerpt(cell, MAX_CELL_CHARS) for cell in record[1][: len(names)]]
            rows.append(cells + [""] * (len(names) - len(cells)))
    return CsvPreview(header.columns.profile.name if header.columns.are_complete else None, names, rows)


def _read_start(file: BinaryIO) -> bytes:
    """Returns the start of a file up to the end of a line."""
    file.seek(0)
    data = file.read(PREVIEW_BYTES)
    if len(data) < PREVIEW_BYTES:
        return data
    end = data.rfind(b"\n") + 1
    if data.startswith(codecs.BOM_UTF16_LE):
        # The second byte of the line end.
        end += end % 2
    return data[: end or None]
