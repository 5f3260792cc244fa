"""Writes the output of a request, the uploaded file with the URLs of the results, and its report."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Protocol

from gql_imgproc.csvfile.formula_injection import escape_formula
from gql_imgproc.csvfile.header import (
    DELIMITERS,
    IMAGE_ERRORS,
    OUTPUT_URLS,
    match_result_column,
    name_output_column,
)
from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.products import CurrentProduct
from gql_imgproc.csvfile.reader import (
    ROWS_PER_YIELD,
    CsvFormat,
    CsvReader,
    RowKind,
    YieldControl,
    no_yield,
    open_csv,
)
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


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of an image."""

    #: None if it failed.
    output_url: str | None
    outcome: str = ""
    error_code: str | None = None
    error: str | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None
    #: To the source, 0 to 100.
    similarity: float | None = None
    #: Name of the output, if the request names its outputs.
    output: str | None = None
    #: The outputs after the first one.
    further: Sequence[ImageResult] = ()


class ByteWriter(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _RowWriter(Protocol):
    def write(self, cells: list[str], kind: RowKind, raw: str, urls: list[str], results: list[ImageResult]) -> None: ...

    def flush(self) -> None: ...

    def finish(self) -> None: ...


def write_output(
    file: BinaryIO,
    out: ByteWriter,
    report: ByteWriter,
    limits: CsvLimits,
    results: Iterable[ImageResult],
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
    raw_lines: list[str] = []
    reader = open_csv(file, limits, layout)
    encoding = encoding or reader.format.encoding
    is_generic = reader.format.columns.profile.is_complete
    outputs: list[_RowWriter] = [
        _GenericOutput(reader.format, out, encoding, output_names) if is_generic else _RoundTrip(reader, out)
    ]
    if workbook is not None:
        outputs.append(_WorkbookOutput(reader, workbook, output_names))
    report_writer = _Report(reader, report, limits, check_url, has_names=bool(output_names))
    remaining = iter(results)
    count = 0
    for row, cells, kind in reader.iter_records(raw_lines):
        urls = reader.urls(cells) if kind is RowKind.DATA else []
        found = list(islice(remaining, len(urls)))
        if len(found) < len(urls):
            raise ValueError(f"results end in row {row}")
        report_writer.write(row, cells, kind, urls, found)
        for output in outputs:
            output.write(cells, kind, "".join(raw_lines), urls, found)
        raw_lines.clear()
        count += kind is not RowKind.OTHER
        if kind is not RowKind.OTHER and not count % ROWS_PER_YIELD:
            for output in outputs:
                output.flush()
            report_writer.flush()
            yield_control()
    if next(remaining, None) is not None:
        raise ValueError("more results than images")
    for output in outputs:
        output.finish()
    report_writer.flush()
    return encoding


def _join_urls(results: Iterable[ImageResult | None]) -> str:
    return ",".join([(result and result.output_url) or "" for result in results])


def _join_errors(results: Sequence[ImageResult]) -> str:
    """Formats the errors as `2: message | 5: message`, with image numbers that start at 1."""
    return " | ".join(f"{number}: {result.error}" for number, result in enumerate(results, start=1) if result.error)


class _TextBuffer:
    """Text that is written in pieces."""

    def __init__(self, out: ByteWriter, encoding: str = "utf-8") -> None:
        self.text = io.StringIO(newline="")
        self._out = out
        self._encoding = encoding

    def flush(self) -> None:
        if text := self.text.getvalue():
            self._out.write(text.encode(self._encoding))
        self.text.seek(0)
        self.text.truncate()

    def finish(self) -> None:
        self.flush()


class _GenericOutput(_TextBuffer):
    """Our own format: the rows with the results in two more columns. Spreadsheets open it, so formulas are escaped."""

    def __init__(self, format: CsvFormat, out: ByteWriter, encoding: str, output_names: Sequence[str]) -> None:
        super().__init__(out, encoding)
        self._layout = _OutputLayout(format, output_names)
        self._width = len(format.header)
        self._stripped_indices = (format.columns.ids[0], *format.columns.images)
        # RFC 4180 line ends, whatever the input has. The writer quotes cells that contain its line end.
        self._writer = csv.writer(self.text, delimiter=format.delimiter, lineterminator="\r\n")
        if format.has_bom or encoding != format.encoding:
            # Excel reads a UTF-8 file without the mark as Windows-1252, and this user probably uses Excel.
            self.text.write("\ufeff")
        if format.has_separator_line:
            # The delimiter of the input could not be detected without such a line. The output needs one too.
            self.text.write(f"sep={format.delimiter}\r\n")
        _write_header(self.text, self._complete(list(format.header), self._layout.columns), format)

    def write(self, cells: list[str], kind: RowKind, raw: str, urls: list[str], results: list[ImageResult]) -> None:
        if kind is RowKind.OTHER:
            return
        if kind is RowKind.SKIPPED and len(cells) != self._width:
            self._writer.writerow(map(escape_formula, cells))
            return
        self._writer.writerow(self._complete(cells, self._layout.result_cells(results)))

    def _complete(self, cells: list[str], results: Sequence[str]) -> list[str]:
        # A spreadsheet skips white space before a formula, so such a cell is escaped. In these columns the white space
        # is removed instead: with an apostrophe, the cell would not be a number or a URL any more.
        for index in self._stripped_indices:
            if escape_formula(cells[index]) != cells[index]:
                cells[index] = cells[index].lstrip()
        return list(map(escape_formula, self._layout.complete(cells, results)))


class _RoundTrip(_TextBuffer):
    """A shop's file: the text of the input, in which only the URLs of images change.

    Formulas are not escaped: the shop's import would take the apostrophes for data.
    """

    def __init__(self, reader: CsvReader, out: ByteWriter) -> None:
        text, dialect = reader.text, reader.dialect
        super().__init__(out, text.encoding)
        self._urls = _UrlReplacement(reader)
        text.file.seek(0)
        out.write(text.file.read(text.bom_bytes))
        self.text.write(text.head(dialect.preamble_chars))
        self._end_marks = text.end_marks()

    def finish(self) -> None:
        self.flush()
        self._out.write(self._end_marks)

    def write(self, cells: list[str], kind: RowKind, raw: str, urls: list[str], results: list[ImageResult]) -> None:
        self.text.write(self._urls.replace(raw, urls, results))


class _UrlReplacement:
    """Replaces URLs in a row as it is written. URLs have no quotation marks, so a cell has them as they were read."""

    def __init__(self, reader: CsvReader) -> None:
        self._images = frozenset(reader.format.columns.images)
        spaces = " *" if reader.dialect.skips_spaces else ""
        delimiter = re.escape(reader.dialect.delimiter)
        #: A cell as it is written, and what follows it.
        self._cell = re.compile(f'({spaces}"(?:[^"]|"")*"|[^{delimiter}\\r\\n]*)(?:{delimiter}|[\\r\\n]|\\Z)')

    def replace(self, raw: str, urls: list[str], results: list[ImageResult]) -> str:
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


class _WorkbookOutput:
    """A workbook with the rows of the uploaded one. Texts are no formulas there, so none is escaped."""

    def __init__(self, reader: CsvReader, out: BinaryIO, output_names: Sequence[str]) -> None:
        header = reader.format.header
        self._sheet = SheetWriter(out, reader.layout.sheet or "")
        self._urls = _UrlReplacement(reader)
        self._width = len(header)
        is_generic = reader.format.columns.profile.is_complete
        self._layout = _OutputLayout(reader.format, output_names) if is_generic else None
        if self._layout:
            names, columns = [*map(quote_text, header)], [*map(quote_text, self._layout.columns)]
            self._sheet.write_row(self._layout.complete(names, columns))

    def flush(self) -> None:
        """Rows are written at once."""

    def finish(self) -> None:
        self._sheet.close()

    def write(self, cells: list[str], kind: RowKind, raw: str, urls: list[str], results: list[ImageResult]) -> None:
        if self._layout is None:
            row = split_row(self._urls.replace(raw, urls, results))
        elif kind is RowKind.OTHER:
            return
        else:
            row = split_row(raw)
            # A skipped row loses the same columns as the others.
            if kind is RowKind.DATA or (self._layout.deleted_indices and len(row) >= self._width):
                result_cells = [*map(quote_text, self._layout.result_cells(results))]
                row = self._layout.complete(row[: self._width], result_cells)
        self._sheet.write_row(row)


class _Report(_TextBuffer):
    """One row per output of an image, and per problem of a skipped row. Spreadsheets open it: formulas are escaped."""

    def __init__(
        self, reader: CsvReader, out: ByteWriter, limits: CsvLimits, check_url: UrlCheck | None, *, has_names: bool
    ) -> None:
        super().__init__(out)
        self._has_names = has_names
        self._writer = csv.writer(self.text, lineterminator="\r\n")
        self._product = CurrentProduct(reader.format.columns, limits)
        self._reader = reader
        self._check = reader.check(check_url)
        out.write(codecs.BOM_UTF8)
        self._writer.writerow((*REPORT_COLUMNS, OUTPUT_NAME) if has_names else REPORT_COLUMNS)

    def write(self, row: int, cells: list[str], kind: RowKind, urls: list[str], results: list[ImageResult]) -> None:
        if kind is RowKind.SKIPPED:
            for issue in self._reader.issues_of_skipped(self._check, row, cells):
                result = ImageResult(None, SKIPPED, issue.code, issue.message)
                self._write_row(row, "", "", result)
        elif kind is RowKind.DATA:
            self._product.read(row, cells)
            if self._reader.layout.skipped_rows:
                # Remembers the serial number, which a skipped row may repeat.
                self._check.is_valid(row, cells, urls)
            for url, result in zip(urls, results, strict=True):
                for output in (result, *result.further):
                    self._write_row(row, self._product.name, url, output)

    def _write_row(self, row: int, product: str, url: str, result: ImageResult) -> None:
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


class _OutputLayout:
    """The columns of the output CSV. An uploaded output CSV keeps its result columns; other files get new ones."""

    def __init__(self, format: CsvFormat, output_names: Sequence[str]) -> None:
        self.columns = [OUTPUT_URLS, *map(name_output_column, output_names[1:]), IMAGE_ERRORS]
        self._further = len(output_names[1:])
        self._result_indices: dict[str, int] = {}
        #: Also those of outputs that the request does not have.
        self.deleted_indices: list[int] = []
        for index, name in enumerate(format.header):
            if column := match_result_column(name):
                if column in self._result_indices or column not in self.columns:
                    self.deleted_indices.append(index)
                else:
                    self._result_indices[column] = index

    def result_cells(self, results: Sequence[ImageResult]) -> list[str]:
        """The cells of a row in `columns`."""
        further = ([result.further[n] if result.further else None for result in results] for n in range(self._further))
        return [_join_urls(results), *map(_join_urls, further), _join_errors(results)]

    def complete(self, cells: list[str], results: Sequence[str]) -> list[str]:
        """Adds the cells of `columns` to a row."""
        for column, text in zip(self.columns, results, strict=True):
            if column in self._result_indices:
                cells[self._result_indices[column]] = text
            else:
                cells.append(text)
        for index in reversed(self.deleted_indices):
            del cells[index]
        return cells


def _write_header(buffer: io.StringIO, names: list[str], format: CsvFormat) -> None:
    # A name that contains another delimiter could be read as several columns, unless all names are quoted.
    if ({*DELIMITERS} - {format.delimiter}).isdisjoint("".join(names)):
        writer = csv.writer(buffer, delimiter=format.delimiter, lineterminator="\r\n")
    else:
        writer = csv.writer(buffer, delimiter=format.delimiter, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    writer.writerow(names)
