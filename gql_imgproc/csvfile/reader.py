"""Reads an uploaded CSV file as products.

The file is read as a stream, and can be read several times. Only the set of its serial numbers grows with the file.
`encoding` turns bytes into text, `records` text into cells, `header` finds the columns, `rows` checks each row,
`products` puts the rows of a product together. A `CsvLayout` says how an accepted file is read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from enum import Enum
from itertools import islice
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import DecodedFile, open_text
from gql_imgproc.csvfile.header import Header, read_header
from gql_imgproc.csvfile.image_urls import match_plain_urls, split_urls
from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import excerpt, plural
from gql_imgproc.csvfile.products import CsvProduct, group_rows
from gql_imgproc.csvfile.records import InvalidRow, iter_records, truncated_issue
from gql_imgproc.csvfile.rows import RowCheck, UrlCheck, count_issue, is_blank
from gql_imgproc.enums import InvalidRowPolicy
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

#: Called between rows, so that other threads can run.
YieldControl = Callable[[], None]

#: Paths on the shop's own server behind a URL, which may have commas of its own.
_FILE_NAMES = re.compile(r"[,|]\s*/(?!/).*", re.DOTALL)
#: Rows between two calls of `yield_control`: about half a millisecond of work.
ROWS_PER_YIELD = 200


class RowKind(Enum):
    DATA = "a row that is read"
    SKIPPED = "an invalid row, which is only copied"
    OTHER = "the header, a row before it, or a blank row"


#: Row number, cells and URLs. A plain tuple is faster than a dataclass.
ValidRow = tuple[int, list[str], list[str]]
#: Row number, cells and kind.
Record = tuple[int, list[str], RowKind]


def no_yield() -> None:
    """For callers without other threads."""


def open_csv(file: BinaryIO, limits: CsvLimits, layout: CsvLayout = RECOGNIZED) -> CsvReader:
    """Detects encoding, delimiter, profile and columns. Raises InvalidCsv."""
    text = open_text(file, limits.longest_row_chars, layout.encoding)
    return CsvReader(text, read_header(text, limits, layout), limits, layout)


def read_products(file: BinaryIO, limits: CsvLimits, layout: CsvLayout) -> Iterator[CsvProduct]:
    """Yields the products of a file that was validated before. Raises InvalidCsv if it can no longer be read."""
    reader = open_csv(file, limits, layout)
    data = ((row, cells) for row, cells, kind in reader.iter_records() if kind is RowKind.DATA)
    return group_rows(((row, cells, reader.urls(cells)) for row, cells in data), reader.header.columns, limits)


class CsvReader:
    """A file with a valid header."""

    def __init__(self, text: DecodedFile, header: Header, limits: CsvLimits, layout: CsvLayout) -> None:
        self.text = text
        self.layout = layout
        #: Cells that hold results of earlier requests, which are kept.
        self.results = 0
        #: Why the last row without cells was skipped.
        self._unreadable: list[CsvIssue] = []
        self.header = header
        self._limits = limits
        self.column_names = tuple(excerpt(name.strip()) for name in header.names)
        self._images = header.columns.images
        # The cell that tells most quickly that a row is not blank.
        self._probe = (*header.columns.ids, *self._images)[0]
        #: Each row is a product.
        self.is_generic = header.columns.profile.is_complete
        self._results_url = None if self.is_generic else layout.results_url

    @property
    def skips_invalid_rows(self) -> bool:
        default = InvalidRowPolicy.REFUSE_FILE if self.is_generic else InvalidRowPolicy.SKIP_ROW
        return (self.layout.on_invalid_row or default) is InvalidRowPolicy.SKIP_ROW

    def urls(self, cells: list[str]) -> list[str]:
        """Returns the URLs of a row in the order of its columns."""
        if len(self._images) == 1:
            return self._split_cell(cells[self._images[0]])
        return [url for index in self._images if (cell := cells[index]) for url in self._split_cell(cell)]

    def _split_cell(self, cell: str) -> list[str]:
        urls = split_urls(cell)
        if self._results_url and self._results_url in cell:
            count, urls = len(urls), [url for url in urls if not url.startswith(self._results_url)]
            self.results += count - len(urls)
        if self.header.columns.profile.has_file_names:
            # Their names may stand before and after URLs.
            return [_FILE_NAMES.sub("", url) for url in urls if "://" in url]
        return urls

    def iter_records(self, raw_lines: list[str] | None = None) -> Iterator[Record]:
        """Yields every record of a file that was validated before, as `records.iter_records`."""
        width, probe, header_row = len(self.column_names), self._probe, self.header.row
        skipped_rows = self.layout.skipped_rows
        for record in iter_records(self.text, self.header.dialect, self._limits.longest_row_chars, raw_lines):
            if isinstance(record, InvalidRow) and record.row in skipped_rows:
                self._unreadable = self._name_column(record).issues
                yield record.row, [], RowKind.SKIPPED
                continue
            if not isinstance(record, tuple):
                raise InvalidCsv((record if isinstance(record, CsvIssue) else record.issues[0],), 1)
            row, cells = record
            if row <= header_row:
                yield row, cells, RowKind.OTHER
            elif row in skipped_rows:
                yield row, cells, RowKind.SKIPPED
            elif (len(cells) != width or not cells[probe].strip()) and is_blank(cells):
                yield row, cells, RowKind.OTHER
            else:
                if len(cells) != width:
                    if issue := self._cell_count_issue(row, cells):
                        raise InvalidCsv((issue,), 1)
                    del cells[width:]
                yield row, cells, RowKind.DATA

    def issues_of_skipped(self, check: RowCheck, row: int, cells: list[str]) -> list[CsvIssue]:
        """Why a row was skipped; in general terms if that is not known any more, since settings have changed."""
        if not cells:
            return self._unreadable
        if len(cells) != len(self.column_names) and (issue := self._cell_count_issue(row, cells)):
            return [issue]
        problem = CsvIssue(CsvIssueCode.IMAGE_URL_FORBIDDEN, "The row was not allowed when the file was uploaded.", row)
        return check.issues(row, cells) or [problem]

    def check(self, check_url: UrlCheck | None) -> RowCheck:
        return RowCheck(
            self.header,
            self.column_names,
            self._limits,
            check_url,
            self._split_cell,
            has_controls=self.text.has_controls,
        )

    def iter_checked_rows(
        self, check_url: UrlCheck, yield_control: YieldControl
    ) -> Iterator[ValidRow | InvalidRow | CsvIssue]:
        """Yields every row, or what is wrong with it, in the order of the file.

        An issue that is not of an `InvalidRow` concerns the whole file.
        """
        width, probe = len(self.column_names), self._probe
        max_products, max_images = self._limits.max_products, self._limits.max_images
        check = self.check(check_url)
        products = images = 0
        has_issue = False
        for record in self._records():
            if not isinstance(record, tuple):
                has_issue = True
                yield record
                continue
            row, cells = record
            if not row % ROWS_PER_YIELD:
                yield_control()
            if (len(cells) != width or not cells[probe].strip()) and is_blank(cells):
                continue
            products += 1
            if products > max_products:
                yield self._too_many_products_issue(row)
                return
            urls, problem = self._check_row(check, row, cells)
            if problem:
                yield problem
            if images <= max_images < images + len(urls):
                yield self._too_many_images_issue(row)
            elif not problem:
                yield row, cells, urls
            images += len(urls)
        if not products and not has_issue:
            yield CsvIssue(
                CsvIssueCode.EMPTY_FILE, "The file has a header but no data row. Add a row for each product."
            )

    def _check_row(self, check: RowCheck, row: int, cells: list[str]) -> tuple[list[str], InvalidRow | CsvIssue | None]:
        if len(cells) != len(self.column_names):
            if issue := self._cell_count_issue(row, cells):
                return [], issue if issue.code is CsvIssueCode.ENCODING else InvalidRow(row, [issue])
            del cells[len(self.column_names) :]
        is_plain = all(not (cell := cells[index]) or match_plain_urls(cell) for index in self._images)
        if not is_plain and self._is_truncated(cells[self._images[-1] :]):
            return [], truncated_issue(row)
        urls = self.urls(cells)
        issues = [] if is_plain and check.is_valid(row, cells, urls) else check.issues(row, cells)
        return urls, InvalidRow(row, issues) if issues else None

    def _cell_count_issue(self, row: int, cells: list[str]) -> CsvIssue | None:
        width = len(self.column_names)
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
            self.column_names[self._images[0]],
        )

    def _is_truncated(self, last_cells: list[str]) -> bool:
        """Whether the file ends within a character in these cells, where neither a row nor a URL can end."""
        return self.text.may_be_truncated and len(last_cells) == 1 and not last_cells[0].isascii()

    def _records(self) -> Iterator[tuple[int, list[str]] | InvalidRow | CsvIssue]:
        """Yields the records after the header. Our own format has no rows that are copied unread."""
        records = iter_records(self.text, self.header.dialect, self._limits.longest_row_chars)
        for record in islice(records, self.header.row, None):
            if isinstance(record, InvalidRow):
                named = self._name_column(record)
                yield named.issues[0] if self.is_generic else named
            else:
                yield record

    def _name_column(self, invalid: InvalidRow) -> InvalidRow:
        index = invalid.cell
        column = self.column_names[index] if index is not None and index < len(self.column_names) else None
        return replace(invalid, issues=[replace(issue, column=column) for issue in invalid.issues])
