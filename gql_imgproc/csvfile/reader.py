"""Reads an uploaded CSV file as products, and reports every problem with its row and column.

The file is read as a stream, and can be read several times. Only the set of its serial numbers grows with the file.
`encoding` turns bytes into text, `records` text into cells, `header` finds the columns, `rows` checks each row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import DecodedFile, open_text
from gql_imgproc.csvfile.header import Header, read_header
from gql_imgproc.csvfile.image_urls import match_plain_urls, split_urls
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import excerpt, plural
from gql_imgproc.csvfile.records import iter_records, truncated_issue
from gql_imgproc.csvfile.rows import RowCheck, UrlCheck, count_issue, is_blank
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

__all__ = [
    "CsvFormat",
    "CsvLimits",
    "CsvReader",
    "CsvSummary",
    "ProductRow",
    "UrlCheck",
    "YieldControl",
    "open_csv",
    "read_rows",
    "validate",
]

#: Called between rows, so that other threads can run.
YieldControl = Callable[[], None]

#: Rows between two calls of `yield_control`: about half a millisecond of work.
ROWS_PER_YIELD = 200


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product of the file."""

    #: Number of data rows before this one.
    position: int
    #: Row number in a spreadsheet: blank rows count, and a record of several lines is one row.
    row: int
    serial_number: str
    product_name: str
    image_urls: tuple[str, ...]
    #: The unchanged cells, one per column of the header.
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CsvFormat:
    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_row: int
    #: Indices of the three columns.
    serial_number: int
    product_name: int
    image_urls: int
    has_bom: bool
    #: The file has a line such as `sep=;` before the header.
    has_separator_line: bool
    warnings: tuple[CsvIssue, ...]


@dataclass(frozen=True, slots=True)
class CsvSummary:
    """The number of products and images in a valid file."""

    products: int
    images: int
    warnings: tuple[CsvIssue, ...]


def no_yield() -> None:
    """For callers without other threads."""


def open_csv(file: BinaryIO, limits: CsvLimits) -> CsvReader:
    """Detects encoding, delimiter and columns. Raises InvalidCsv."""
    text = open_text(file, limits.longest_row_chars)
    header = read_header(text, limits.max_columns, limits.max_field_chars, limits.longest_row_chars)
    return CsvReader(text, header, limits)


def validate(
    file: BinaryIO, limits: CsvLimits, check_url: UrlCheck, yield_control: YieldControl = no_yield
) -> CsvSummary:
    """Checks every row. Raises InvalidCsv with the first issues in the order of the file, and their total."""
    reader = open_csv(file, limits)
    issues: list[CsvIssue] = []
    total = products = images = 0
    for found in reader.iter_checked_rows(check_url, yield_control):
        if isinstance(found, CsvIssue):
            total += 1
            if len(issues) < limits.max_issues:
                issues.append(found)
        else:
            products += 1
            images += len(found[3])
    if total:
        raise InvalidCsv(tuple(issues), total)
    return CsvSummary(products, images, reader.format.warnings)


def read_rows(file: BinaryIO, limits: CsvLimits) -> Iterator[ProductRow]:
    """Yields the rows of a file that was validated before. Raises InvalidCsv if it can no longer be read."""
    return open_csv(file, limits).iter_rows()


#: Position, row number, cells and URLs of a valid row. A plain tuple is faster than a dataclass.
_CheckedRow = tuple[int, int, list[str], list[str]]


class CsvReader:
    """A file with a valid header. Iteration yields its valid rows, and the issues of its invalid rows."""

    def __init__(self, text: DecodedFile, header: Header, limits: CsvLimits) -> None:
        self._text = text
        self._header = header
        self._limits = limits
        self._columns = tuple(excerpt(name.strip()) for name in header.names)
        self.format = CsvFormat(
            encoding=text.encoding,
            delimiter=header.dialect.delimiter,
            header=header.names,
            header_row=header.row,
            serial_number=header.serial_number,
            product_name=header.product_name,
            image_urls=header.image_urls,
            has_bom=text.bom_bytes > 0,
            has_separator_line=header.dialect.preamble_chars > 0,
            warnings=text.warnings,
        )

    def __iter__(self) -> Iterator[ProductRow | CsvIssue]:
        for found in self.iter_checked_rows():
            yield found if isinstance(found, CsvIssue) else self._to_product_row(*found)

    def iter_rows(self) -> Iterator[ProductRow]:
        """Yields the rows of a file that was validated before, unchecked."""
        url_column = self._header.image_urls
        for position, (row, cells) in enumerate(self.iter_cells()):
            yield self._to_product_row(position, row, cells, split_urls(cells[url_column]))

    def iter_cells(self) -> Iterator[tuple[int, list[str]]]:
        """Yields row number and cells of the rows of a file that was validated before, without blank rows."""
        width = len(self._columns)
        serial_column = self._header.serial_number
        for record in self._records():
            if isinstance(record, CsvIssue):
                raise InvalidCsv((record,), 1)
            row, cells = record
            if len(cells) != width or not cells[serial_column].strip():
                if is_blank(cells):
                    continue
                if issue := self._cell_count_issue(row, cells):
                    raise InvalidCsv((issue,), 1)
                del cells[width:]
            yield row, cells

    def iter_checked_rows(
        self, check_url: UrlCheck | None = None, yield_control: YieldControl = no_yield
    ) -> Iterator[_CheckedRow | CsvIssue]:
        """Yields every product, or the issues of its row, in the order of the file."""
        width, url_column, serial_column = len(self._columns), self._header.image_urls, self._header.serial_number
        max_products, max_images = self._limits.max_products, self._limits.max_images
        check = RowCheck(self._header, self._columns, self._limits, check_url, has_controls=self._text.has_controls)
        position, images, has_issue = -1, 0, False
        for record in self._records():
            if isinstance(record, CsvIssue):
                has_issue = True
                yield record
                continue
            row, cells = record
            if not row % ROWS_PER_YIELD:
                yield_control()
            serial_number = cells[serial_column].strip() if len(cells) == width else ""
            if not serial_number and is_blank(cells):
                continue
            position += 1
            if position == max_products:
                yield self._too_many_products_issue(row)
                return
            if len(cells) != width:
                if issue := self._cell_count_issue(row, cells):
                    yield issue
                    continue
                del cells[width:]
                serial_number = cells[serial_column].strip()
            is_plain = match_plain_urls(cell := cells[url_column])
            urls = cell.split(",") if is_plain else split_urls(cell)
            if not is_plain and self._is_truncated(cells[url_column:]):
                yield truncated_issue(row)
                continue
            is_valid = is_plain and check.is_valid(row, cells, serial_number, urls)
            issues = [] if is_valid else check.issues(row, cells, serial_number, urls)
            if images <= max_images < images + len(urls):
                issues.append(self._too_many_images_issue(row))
            images += len(urls)
            if issues:
                yield from issues
            else:
                yield position, row, cells, urls
        if position < 0 and not has_issue:
            yield self._empty_file_issue()

    def _empty_file_issue(self) -> CsvIssue:
        return CsvIssue(CsvIssueCode.EMPTY_FILE, "The file has a header but no data row. Add a row for each product.")

    def _cell_count_issue(self, row: int, cells: list[str]) -> CsvIssue | None:
        width = len(self._columns)
        if len(cells) < width:
            return truncated_issue(row) if self._is_truncated(cells[-1:]) else count_issue(row, cells, width)
        return None if is_blank(cells[width:]) else count_issue(row, cells, width)

    def _too_many_products_issue(self, row: int) -> CsvIssue:
        return CsvIssue(
            CsvIssueCode.LIMIT_EXCEEDED,
            f"The file has more than {plural(self._limits.max_products, 'product')}, which is the limit. Row {row} is "
            "the first beyond it; later rows were not checked. Split the file.",
            row,
        )

    def _too_many_images_issue(self, row: int) -> CsvIssue:
        return CsvIssue(
            CsvIssueCode.LIMIT_EXCEEDED,
            f"Up to row {row} the file has more than {plural(self._limits.max_images, 'image')}, which is the limit. "
            "Split the file.",
            row,
            self._columns[self._header.image_urls],
        )

    def _is_truncated(self, last_cells: list[str]) -> bool:
        """Whether the file ends within a character in these cells, where neither a row nor a URL can end."""
        return self._text.may_be_truncated and len(last_cells) == 1 and not last_cells[0].isascii()

    def _records(self) -> Iterator[tuple[int, list[str]] | CsvIssue]:
        """Yields the records after the header."""
        records = iter_records(self._text, self._header.dialect, self._limits.longest_row_chars)
        return islice(records, self._header.row, None)

    def _to_product_row(self, position: int, row: int, cells: list[str], urls: list[str]) -> ProductRow:
        return ProductRow(
            position,
            row,
            cells[self._header.serial_number].strip(),
            cells[self._header.product_name].strip(),
            tuple(urls),
            tuple(cells),
        )
