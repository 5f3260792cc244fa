"""The manifest: the uploaded CSV file, read as products, and every problem in it with its place.

Files are read as a stream, any number of times; nothing grows with the file but the set of its serial numbers.
Bytes become text in `csv_text`, text becomes cells in `csv_records`, the columns are found in `csv_header`, each row
is checked in `csv_rows`.
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
from gql_imgproc.csvfile.records import cut_off_issue, iter_records
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

YieldControl = Callable[[], None]

#: Rows between two calls of `pause`: about half a millisecond of work.
ROWS_PER_PAUSE = 200


@dataclass(frozen=True, slots=True)
class ProductRow:
    """One product as the file has it."""

    #: Data rows before this one.
    position: int
    #: As a spreadsheet counts, the header being row 1; blank rows count, a record of many lines is one row.
    row: int
    serial_number: str
    product_name: str
    image_urls: tuple[str, ...]
    #: The cells as they stand in the file, one per column of the header.
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CsvFormat:
    """What the file looks like."""

    encoding: str
    delimiter: str
    header: tuple[str, ...]
    header_row: int
    #: Indices of the three columns.
    serial_number: int
    product_name: int
    image_urls: int
    has_bom: bool
    #: A line `sep=;` stands before the header.
    declares_delimiter: bool
    warnings: tuple[CsvIssue, ...]


@dataclass(frozen=True, slots=True)
class CsvSummary:
    """What an accepted file contains."""

    products: int
    images: int
    warnings: tuple[CsvIssue, ...]


def no_yield() -> None:
    """For callers that have nothing else to do."""


def open_csv(file: BinaryIO, limits: CsvLimits) -> CsvReader:
    """Tells encoding, delimiter and columns; InvalidCsv when they cannot be told."""
    text = open_text(file, limits.longest_row_chars)
    header = read_header(text, limits.max_columns, limits.max_field_chars, limits.longest_row_chars)
    return CsvReader(text, header, limits)


def validate(file: BinaryIO, limits: CsvLimits, check_url: UrlCheck, pause: YieldControl = no_yield) -> CsvSummary:
    """Checks every row; InvalidCsv with the first issues in the order of the file and their count.

    `pause` is called between rows, so that other threads may run.
    """
    manifest = open_csv(file, limits)
    told: list[CsvIssue] = []
    total = products = images = 0
    for found in manifest.examine(check_url, pause):
        if isinstance(found, CsvIssue):
            total += 1
            if len(told) < limits.max_issues:
                told.append(found)
        else:
            products += 1
            images += len(found[3])
    if total:
        raise InvalidCsv(tuple(told), total)
    return CsvSummary(products, images, manifest.layout.warnings)


def read_rows(file: BinaryIO, limits: CsvLimits) -> Iterator[ProductRow]:
    """The rows of a file that was accepted before; InvalidCsv if it has since become unreadable."""
    return open_csv(file, limits).data()


#: A product that was read: its position, its row, its cells and its addresses.
_Found = tuple[int, int, list[str], list[str]]


class CsvReader:
    """A file whose header was understood; iterating yields its rows, and the issues of the rows that are none."""

    def __init__(self, text: DecodedFile, header: Header, limits: CsvLimits) -> None:
        self._text = text
        self._header = header
        self._limits = limits
        self._columns = tuple(excerpt(name.strip()) for name in header.names)
        self.layout = CsvFormat(
            encoding=text.encoding,
            delimiter=header.dialect.delimiter,
            header=header.names,
            header_row=header.row,
            serial_number=header.serial_number,
            product_name=header.product_name,
            image_urls=header.image_urls,
            has_bom=text.bom_bytes > 0,
            declares_delimiter=header.dialect.preamble_chars > 0,
            warnings=text.warnings,
        )

    def __iter__(self) -> Iterator[ProductRow | CsvIssue]:
        for found in self.examine():
            yield found if isinstance(found, CsvIssue) else self._as_row(*found)

    def data(self) -> Iterator[ProductRow]:
        """The rows of a file that was accepted before, unchecked."""
        address_column = self._header.image_urls
        for position, (row, cells) in enumerate(self.cells()):
            yield self._as_row(position, row, cells, split_urls(cells[address_column]))

    def cells(self) -> Iterator[tuple[int, list[str]]]:
        """The rows of a file that was accepted before as they stand in it, blank ones left out."""
        width = len(self._columns)
        serial_column = self._header.serial_number
        for record in self._records():
            if isinstance(record, CsvIssue):
                raise InvalidCsv((record,), 1)
            row, cells = record
            if len(cells) != width or not cells[serial_column].strip():
                if is_blank(cells):
                    continue
                if len(cells) < width or not is_blank(cells[width:]):
                    raise InvalidCsv((count_issue(row, cells, width),), 1)
                del cells[width:]
            yield row, cells

    def examine(self, check_url: UrlCheck | None = None, pause: YieldControl = no_yield) -> Iterator[_Found | CsvIssue]:
        """Every product, or what is wrong with it, in the order of the file."""
        width = len(self._columns)
        address_column, serial_column = self._header.image_urls, self._header.serial_number
        max_products, max_images = self._limits.max_products, self._limits.max_images
        check = RowCheck(self._header, self._columns, self._limits, self._text.has_controls, check_url)
        position, images = -1, 0
        anything = False
        for record in self._records():
            if isinstance(record, CsvIssue):
                anything = True
                yield record
                continue
            row, cells = record
            if not row % ROWS_PER_PAUSE:
                pause()
            serial_number = cells[serial_column].strip() if len(cells) == width else ""
            if not serial_number and is_blank(cells):
                continue
            position += 1
            if position == max_products:
                yield CsvIssue(
                    CsvIssueCode.LIMIT_EXCEEDED,
                    f"The file has more than {plural(max_products, 'product')}, which is the limit; row {row} is the "
                    "first beyond it, and later rows were not checked. Split the file.",
                    row,
                )
                return
            if len(cells) != width:
                if len(cells) < width or not is_blank(cells[width:]):
                    cut = len(cells) < width and self._is_cut_off(cells[-1:])
                    yield cut_off_issue(row) if cut else count_issue(row, cells, width)
                    continue
                del cells[width:]
                serial_number = cells[serial_column].strip()
            ordinary = match_plain_urls(cell := cells[address_column])
            addresses = cell.split(",") if ordinary else split_urls(cell)
            issues: list[CsvIssue] = []
            if not ordinary and self._is_cut_off(cells[address_column:]):
                yield cut_off_issue(row)
                continue
            if not ordinary or not check.is_valid(row, cells, serial_number, addresses):
                issues = check.issues(row, cells, serial_number, addresses)
                yield from issues
            if images <= max_images < images + len(addresses):
                issues.append(
                    CsvIssue(
                        CsvIssueCode.LIMIT_EXCEEDED,
                        f"Up to row {row} the file has more than {plural(max_images, 'image')}, which is the limit. "
                        "Split the file.",
                        row,
                        self._columns[address_column],
                    )
                )
                yield issues[-1]
            images += len(addresses)
            if not issues:
                yield position, row, cells, addresses
        if position < 0 and not anything:
            yield CsvIssue(
                CsvIssueCode.EMPTY_FILE, "The file has a header but no data row. Add a row for each product."
            )

    def _is_cut_off(self, last_cells: list[str]) -> bool:
        """Whether the file ends within a character in these cells, where no row and no address can end."""
        return self._text.ends_in_doubt and len(last_cells) == 1 and not last_cells[0].isascii()

    def _records(self) -> Iterator[tuple[int, list[str]] | CsvIssue]:
        """What follows the header."""
        found = iter_records(self._text, self._header.dialect, self._limits.longest_row_chars)
        return islice(found, self._header.row, None)

    def _as_row(self, position: int, row: int, cells: list[str], addresses: list[str]) -> ProductRow:
        return ProductRow(
            position,
            row,
            cells[self._header.serial_number].strip(),
            cells[self._header.product_name].strip(),
            tuple(addresses),
            tuple(cells),
        )
