"""Writes the output of a request, the uploaded file with the URLs of the results, and its report."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Protocol

from gql_imgproc.csvfile.formula_injection import escape_formula
from gql_imgproc.csvfile.header import DELIMITERS
from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.products import CurrentProduct
from gql_imgproc.csvfile.reader import ROWS_PER_YIELD, CsvReader, Record, RowKind, YieldControl, no_yield, open_csv
from gql_imgproc.csvfile.results import ReportedResult, ResultColumns
from gql_imgproc.csvfile.rows import UrlCheck
from gql_imgproc.csvfile.sheet_writer import SheetWriter
from gql_imgproc.csvfile.typed_cells import quote_text, split_row

REPORT_COLUMNS = (
    "Row",
    "Product",
    "Input URL",
    "Output URL",
    "Outcome",
    "Error Code",
    "Error",
    "Bytes Before",
    "Bytes After",
    "Similarity",
)
#: The column that a report has besides, if the request names its outputs: then it has a row for each.
OUTPUT_NAME = "Output"
#: Outcome of a row that was not read.
SKIPPED = "SKIPPED"


class ByteWriter(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _RowWriter(Protocol):
    def write(self, record: Record, raw: str, urls: list[str], results: list[ReportedResult]) -> None: ...

    def finish(self) -> None:
        """Writes what follows the rows."""
        return


def write_output(
    file: BinaryIO,
    out: ByteWriter,
    report: ByteWriter,
    limits: CsvLimits,
    results: Iterable[ReportedResult],
    yield_control: YieldControl = no_yield,
    layout: CsvLayout = RECOGNIZED,
    check_url: UrlCheck | None = None,
    encoding: str | None = None,
    workbook: BinaryIO | None = None,
    output_names: Sequence[str] = (),
) -> str:
    """Writes an accepted file with its results, and returns the encoding of the output.

    The rows of an uploaded workbook are also written to `workbook`. There must be one result per image, in the order of
    the file. `check_url` finds again why rows were skipped. `output_names`: of all outputs of an image, if they have
    names; the first one is written where the only one would be. Raises UnicodeEncodeError if an error message has
    characters that the encoding of the file lacks: write our own format in another `encoding` then.
    """
    reader = open_csv(file, limits, layout)
    encoding = encoding or reader.text.encoding
    columns = ResultColumns(reader.header.names, output_names) if reader.is_generic else None
    writers: list[_RowWriter] = [_Report(reader, report, limits, check_url, has_names=bool(output_names))]
    writers.append(_GenericOutput(reader, out, encoding, columns) if columns else _RoundTrip(reader, out))
    if workbook is not None:
        writers.append(_WorkbookOutput(reader, workbook, columns))
    for count, (record, raw, urls, found) in enumerate(_iter_rows(reader, iter(results)), start=1):
        for writer in writers:
            writer.write(record, raw, urls, found)
        if not count % ROWS_PER_YIELD:
            yield_control()
    for writer in writers:
        writer.finish()
    return encoding


def _iter_rows(
    reader: CsvReader, results: Iterator[ReportedResult]
) -> Iterator[tuple[Record, str, list[str], list[ReportedResult]]]:
    """Yields each record, its text, its URLs and their results. Raises ValueError if their numbers differ."""
    raw_lines: list[str] = []
    for record in reader.iter_records(raw_lines):
        row, cells, kind = record
        urls = reader.urls(cells) if kind is RowKind.DATA else []
        found = list(islice(results, len(urls)))
        if len(found) < len(urls):
            raise ValueError(f"results end in row {row}")
        raw = "".join(raw_lines)
        raw_lines.clear()
        yield record, raw, urls, found
    if next(results, None) is not None:
        raise ValueError("more results than images")


class _TextWriter:
    def __init__(self, out: ByteWriter, encoding: str = "utf-8") -> None:
        self.out = out
        self._encoding = encoding

    def write(self, text: str) -> None:
        self.out.write(text.encode(self._encoding))


class _GenericOutput(_RowWriter):
    """Our own format: the rows with the results in two more columns. Spreadsheets open it, so formulas are escaped."""

    def __init__(self, reader: CsvReader, out: ByteWriter, encoding: str, columns: ResultColumns) -> None:
        header, text = reader.header, _TextWriter(out, encoding)
        self._columns = columns
        self._width = len(header.names)
        self._stripped_indices = (header.columns.ids[0], *header.columns.images)
        if reader.text.bom_bytes or encoding != reader.text.encoding:
            # Excel reads a UTF-8 file without the mark as Windows-1252, and this user probably uses Excel.
            text.write("\ufeff")
        delimiter = header.dialect.delimiter
        if header.dialect.preamble_chars:
            # The delimiter of the input could not be detected without such a line. The output needs one too.
            text.write(f"sep={delimiter}\r\n")
        names = self._complete(list(header.names), columns.names)
        # A name that contains another delimiter could be read as several columns, unless all names are quoted.
        is_plain = ({*DELIMITERS} - {delimiter}).isdisjoint("".join(names))
        row = csv.writer(
            text,
            delimiter=delimiter,
            lineterminator="\r\n",
            quoting=csv.QUOTE_MINIMAL if is_plain else csv.QUOTE_ALL,
        )
        row.writerow(names)
        # RFC 4180 line ends, whatever the input has. The writer quotes cells that contain its line end.
        self._writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")

    def write(self, record: Record, raw: str, urls: list[str], results: list[ReportedResult]) -> None:
        _, cells, kind = record
        if kind is RowKind.SKIPPED and len(cells) != self._width:
            self._writer.writerow(map(escape_formula, cells))
        elif kind is not RowKind.OTHER:
            self._writer.writerow(self._complete(cells, self._columns.cells(results)))

    def _complete(self, cells: list[str], results: Sequence[str]) -> list[str]:
        # A spreadsheet skips white space before a formula, so such a cell is escaped. In these columns the white space
        # is removed instead: with an apostrophe, the cell would not be a number or a URL any more.
        for index in self._stripped_indices:
            if escape_formula(cells[index]) != cells[index]:
                cells[index] = cells[index].lstrip()
        return list(map(escape_formula, self._columns.complete(cells, results)))


class _RoundTrip(_RowWriter):
    """A shop's file: the text of the input, in which only the URLs of images change.

    Formulas are not escaped: the shop's import would take the apostrophes for data.
    """

    def __init__(self, reader: CsvReader, out: ByteWriter) -> None:
        text = reader.text
        self._text = _TextWriter(out, text.encoding)
        self._urls = _UrlReplacement(reader)
        text.file.seek(0)
        out.write(text.file.read(text.bom_bytes))
        self._text.write(text.head(reader.header.dialect.preamble_chars))
        self._end_marks = text.end_marks()

    def finish(self) -> None:
        self._text.out.write(self._end_marks)

    def write(self, record: Record, raw: str, urls: list[str], results: list[ReportedResult]) -> None:
        self._text.write(self._urls.replace(raw, urls, results))


class _UrlReplacement:
    """Replaces URLs in a row as it is written. URLs have no quotation marks, so a cell has them as they were read."""

    def __init__(self, reader: CsvReader) -> None:
        self._images = frozenset(reader.header.columns.images)
        spaces = " *" if reader.header.dialect.skips_spaces else ""
        delimiter = re.escape(reader.header.dialect.delimiter)
        #: A cell as it is written, and what follows it.
        self._cell = re.compile(f'({spaces}"(?:[^"]|"")*"|[^{delimiter}\\r\\n]*)(?:{delimiter}|[\\r\\n]|\\Z)')

    def replace(self, raw: str, urls: list[str], results: list[ReportedResult]) -> str:
        changed = [(url, result.output_url) for url, result in zip(urls, results, strict=True)]
        if not any(new for _, new in changed):
            return raw
        pieces: list[str] = []
        remaining = iter(changed)
        pending = next(remaining, None)
        written = 0
        for index, cell in enumerate(self._cell.finditer(raw)):
            if index not in self._images:
                continue
            while pending and (start := raw.find(pending[0], max(written, cell.start(1)), cell.end(1))) >= 0:
                pieces += (raw[written:start], pending[1] or pending[0])
                written = start + len(pending[0])
                pending = next(remaining, None)
            if pending is None:
                break
        return "".join((*pieces, raw[written:]))


class _WorkbookOutput(_RowWriter):
    """A workbook with the rows of the uploaded one. Texts are no formulas there, so none is escaped."""

    def __init__(self, reader: CsvReader, out: BinaryIO, columns: ResultColumns | None) -> None:
        header = reader.header.names
        self._sheet = SheetWriter(out, reader.layout.sheet or "")
        self._urls = _UrlReplacement(reader)
        self._width = len(header)
        self._columns = columns
        if columns:
            self._sheet.write_row(columns.complete([*map(quote_text, header)], map(quote_text, columns.names)))

    def finish(self) -> None:
        self._sheet.close()

    def write(self, record: Record, raw: str, urls: list[str], results: list[ReportedResult]) -> None:
        kind, columns = record[2], self._columns
        if columns is None:
            self._sheet.write_row(split_row(self._urls.replace(raw, urls, results)))
        elif kind is not RowKind.OTHER:
            row = split_row(raw)
            # A skipped row loses the same columns as the others.
            if kind is RowKind.DATA or (columns.deleted_indices and len(row) >= self._width):
                row = columns.complete(row[: self._width], map(quote_text, columns.cells(results)))
            self._sheet.write_row(row)


class _Report(_RowWriter):
    """One row per output of an image, and per problem of a skipped row. Spreadsheets open it: formulas are escaped."""

    def __init__(
        self, reader: CsvReader, out: ByteWriter, limits: CsvLimits, check_url: UrlCheck | None, *, has_names: bool
    ) -> None:
        self._has_names = has_names
        self._writer = csv.writer(_TextWriter(out), lineterminator="\r\n")
        self._product = CurrentProduct(reader.header.columns, limits)
        self._reader = reader
        self._check = reader.check(check_url)
        out.write(codecs.BOM_UTF8)
        self._writer.writerow((*REPORT_COLUMNS, OUTPUT_NAME) if has_names else REPORT_COLUMNS)

    def write(self, record: Record, raw: str, urls: list[str], results: list[ReportedResult]) -> None:
        row, cells, kind = record
        if kind is RowKind.SKIPPED:
            for issue in self._reader.issues_of_skipped(self._check, row, cells):
                result = ReportedResult(None, SKIPPED, issue.code, issue.message)
                self._write_row(row, "", "", result)
        elif kind is RowKind.DATA:
            self._product.read(row, cells)
            if self._reader.layout.skipped_rows:
                # Remembers the serial number, which a skipped row may repeat.
                self._check.is_valid(row, cells, urls)
            for url, result in zip(urls, results, strict=True):
                for output in (result, *result.further):
                    self._write_row(row, self._product.name, url, output)

    def _write_row(self, row: int, product: str, url: str, result: ReportedResult) -> None:
        cells = [
            row,
            product,
            url,
            result.output_url,
            result.outcome,
            result.error_code,
            result.error,
            result.input_bytes,
            result.output_bytes,
            result.similarity,
            *([result.output] if self._has_names else []),
        ]
        self._writer.writerow(escape_formula(cell) if isinstance(cell, str) else cell for cell in cells)
