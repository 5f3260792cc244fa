"""Writes the output CSV: the rows of the uploaded file with the URLs of the results and the errors."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from gql_imgproc.csvfile.formula_injection import escape_formula
from gql_imgproc.csvfile.header import DELIMITERS, IMAGE_ERRORS, OUTPUT_URLS, match_result_column
from gql_imgproc.csvfile.reader import ROWS_PER_YIELD, CsvFormat, CsvLimits, YieldControl, no_yield, open_csv

#: The results of one row: a URL or None per image, and an error or None per image.
RowResult = tuple[Sequence[str | None], Sequence[str | None]]


class ByteWriter(Protocol):
    def write(self, data: bytes, /) -> object: ...


def write_output(
    file: BinaryIO,
    out: ByteWriter,
    limits: CsvLimits,
    results: Iterable[RowResult],
    yield_control: YieldControl = no_yield,
) -> None:
    """Writes the rows of a valid CSV file with their results. There must be one result per row, in the same order."""
    reader = open_csv(file, limits)
    layout = _OutputLayout(reader.format)
    buffer = io.StringIO(newline="")
    # RFC 4180 line ends, whatever the input has. The writer quotes cells that contain its line end.
    writer = csv.writer(buffer, delimiter=reader.format.delimiter, lineterminator="\r\n")

    def flush() -> None:
        out.write(buffer.getvalue().encode())
        buffer.seek(0)
        buffer.truncate()

    if reader.format.has_bom or reader.format.encoding != "utf-8":
        # Excel reads a file without the mark as Windows-1252, and this user probably uses Excel.
        out.write(codecs.BOM_UTF8)
    if reader.format.has_separator_line:
        # The delimiter of the input could not be detected without such a line. The output needs one too.
        buffer.write(f"sep={reader.format.delimiter}\r\n")
    _write_header(buffer, layout.complete(list(reader.format.header), OUTPUT_URLS, IMAGE_ERRORS), reader.format)
    for count, ((_, cells), (urls, errors)) in enumerate(zip(reader.iter_cells(), results, strict=True), start=1):
        joined_errors = join_errors(errors) if any(errors) else ""
        writer.writerow(layout.complete(cells, ",".join([url or "" for url in urls]), joined_errors))
        if not count % ROWS_PER_YIELD:
            flush()
            yield_control()
    flush()


def join_errors(errors: Sequence[str | None]) -> str:
    """Formats the errors as `2: message | 5: message`, with image numbers that start at 1."""
    return " | ".join(f"{number}: {error}" for number, error in enumerate(errors, start=1) if error)


class _OutputLayout:
    """The columns of the output CSV. An uploaded output CSV keeps its result columns; other files get two new ones."""

    def __init__(self, format: CsvFormat) -> None:
        self._result_indices: dict[str, int] = {}
        self._duplicate_indices: list[int] = []
        for index, name in enumerate(format.header):
            if column := match_result_column(name):
                if column in self._result_indices:
                    self._duplicate_indices.append(index)
                self._result_indices.setdefault(column, index)
        # A spreadsheet skips white space before a formula, so such a cell is escaped. In these columns the white space
        # is removed instead: with an apostrophe, the cell would not be a number or a URL any more.
        self._stripped_indices = (format.serial_number, format.image_urls)

    def complete(self, cells: list[str], urls: str, errors: str) -> list[str]:
        """Adds the results to a row, and escapes formulas."""
        for index in self._stripped_indices:
            if escape_formula(cells[index]) != cells[index]:
                cells[index] = cells[index].lstrip()
        if self._result_indices:
            for column, text in ((OUTPUT_URLS, urls), (IMAGE_ERRORS, errors)):
                if column in self._result_indices:
                    cells[self._result_indices[column]] = text
                else:
                    cells.append(text)
            for index in reversed(self._duplicate_indices):
                del cells[index]
        else:
            cells += (urls, errors)
        return list(map(escape_formula, cells))


def _write_header(buffer: io.StringIO, names: list[str], format: CsvFormat) -> None:
    # A name that contains another delimiter could be read as several columns, unless all names are quoted.
    if ({*DELIMITERS} - {format.delimiter}).isdisjoint("".join(names)):
        writer = csv.writer(buffer, delimiter=format.delimiter, lineterminator="\r\n")
    else:
        writer = csv.writer(buffer, delimiter=format.delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(names)
