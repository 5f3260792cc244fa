"""Checks one row of a CSV file and reports every problem of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from gql_imgproc.csvfile.encoding import CONTROL
from gql_imgproc.csvfile.formula_injection import is_escaped
from gql_imgproc.csvfile.header import (
    DELIMITERS,
    REMOVE_QUOTES,
    Header,
    control_issue,
    too_long_issue,
)
from gql_imgproc.csvfile.image_urls import url_problem
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import plural, quote
from gql_imgproc.csvfile.results import match_result_column
from gql_imgproc.csvfile.serial_numbers import SerialNumbers, read_serial_number, serial_number_problem
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: Returns what is wrong with a plausible URL; None if it is allowed.
UrlCheck = Callable[[str], tuple[CsvIssueCode, str] | None]

#: The first cell of a row of totals.
_TOTAL = re.compile(
    r"(?:(?:grand|sub)[ -]?)?totals?\b|(?:sum|summe|gesamt|somme|suma|totale|итого)\s*:?\s*$", re.IGNORECASE
)

_Problem = tuple[CsvIssueCode, str]


class RowCheck:
    """Checks the rows of one file, and remembers their serial numbers.

    A shop's row is only checked where it is used: the rest is copied.
    """

    def __init__(
        self,
        header: Header,
        columns: tuple[str, ...],
        limits: CsvLimits,
        check_url: UrlCheck | None,
        split_cell: Callable[[str], list[str]],
        *,
        has_controls: bool,
    ) -> None:
        found = header.columns
        self.ids, self.names, self.images = found.ids, found.names, found.images
        self.is_complete = found.profile.is_complete
        self.checked = range(len(columns)) if self.is_complete else sorted(found.used)
        self.result_columns = {index for index, name in enumerate(header.names) if match_result_column(name)}
        self.columns = columns
        self.max_field_chars = limits.max_field_chars
        self.max_images = limits.max_images_per_product
        self.max_name_chars = limits.max_name_chars
        self.has_controls = has_controls
        self.check_url = check_url
        self.split_cell = split_cell
        self.used_serial_numbers = SerialNumbers()

    def is_valid(self, row: int, cells: list[str], urls: list[str]) -> bool:
        """Fast check of a row whose URLs are plausible.

        The serial number comes last: a valid one is recorded as used only if the rest of the row is valid.
        """
        if (
            self.has_controls
            or len(urls) > self.max_images
            or (self.check_url is not None and any(map(self.check_url, urls)))
        ):
            return False
        if not self.is_complete:
            return max(len(cells[index]) for index in self.checked) <= self.max_field_chars
        serial_number = read_serial_number(cells[self.ids[0]])
        return (
            len(urls) > 0
            and max(map(len, cells)) <= self.max_field_chars
            and 0 < len(cells[self.names[0]].strip()) <= self.max_name_chars
            and serial_number_problem(serial_number) is None
            and not self.used_serial_numbers.add(int(serial_number), row)
        )

    def issues(self, row: int, cells: list[str]) -> list[CsvIssue]:
        """Returns the problems of a row with the right number of cells, in the order of its columns."""
        if self.is_complete and (index := find_total(cells)) is not None:
            return [CsvIssue(CsvIssueCode.SERIAL_NUMBER_INVALID, total_message(row), row, self.columns[index])]
        issues = self._invalid_cells(row, cells)
        # A cell that is too long or has control characters is not checked further.
        checks: dict[int, Iterator[_Problem]] = {}
        if self.is_complete:
            checks[self.ids[0]] = self._serial_number_problems(row, read_serial_number(cells[self.ids[0]]))
            checks[self.names[0]] = self._name_problems(cells[self.names[0]].strip())
        urls = {index: self.split_cell(cells[index]) for index in self.images}
        count = sum(map(len, urls.values()))
        for index in self.images:
            checks[index] = self._url_problems(urls[index], count if index == self.images[0] else None)
        for index, problems in checks.items():
            if index not in issues:
                issues[index] = [CsvIssue(code, message, row, self.columns[index]) for code, message in problems]
        return [issue for index in sorted(issues) for issue in issues[index]]

    def _invalid_cells(self, row: int, cells: list[str]) -> dict[int, list[CsvIssue]]:
        """Returns the cells that are too long or contain control characters."""
        invalid: dict[int, list[CsvIssue]] = {}
        for index in self.checked:
            cell = cells[index]
            # If an output CSV is uploaded again, its escaping apostrophe and its result columns do not count.
            if len(cell) - is_escaped(cell) > self.max_field_chars and index not in self.result_columns:
                invalid[index] = [too_long_issue(cell, self.max_field_chars, row, self.columns[index])]
            elif self.has_controls and CONTROL.search(cell):
                invalid[index] = [control_issue(cell, row, self.columns[index])]
        return invalid

    def _serial_number_problems(self, row: int, serial_number: str) -> Iterator[_Problem]:
        if problem := serial_number_problem(serial_number):
            yield CsvIssueCode.SERIAL_NUMBER_INVALID, problem
        elif first := self.used_serial_numbers.add(int(serial_number), row):
            place = f"in row {first}" if first > 0 else "in an earlier row"
            yield (
                CsvIssueCode.SERIAL_NUMBER_DUPLICATE,
                f"The serial number {serial_number} was already used {place}. Give each product its own number.",
            )

    def _name_problems(self, name: str) -> Iterator[_Problem]:
        if not name:
            yield CsvIssueCode.PRODUCT_NAME_EMPTY, "The product name is empty. Enter a name, or remove the row."
        elif len(name) - is_escaped(name) > self.max_name_chars:
            limit = f"the limit is {self.max_name_chars:,}"
            yield CsvIssueCode.FIELD_TOO_LONG, f"The product name has {len(name):,} characters; {limit}. Shorten it."

    def _url_problems(self, urls: list[str], row_count: int | None) -> Iterator[_Problem]:
        """`row_count` is the number of images in the row, for the first of its image columns."""
        if row_count == 0 and self.is_complete:
            yield CsvIssueCode.IMAGE_URL_MISSING, "The row has no image URL. Enter at least one, or remove the row."
        if row_count and row_count > self.max_images:
            yield (
                CsvIssueCode.LIMIT_EXCEEDED,
                f"The row has {plural(row_count, 'image')}; the limit is {self.max_images:,}. "
                "Divide them among several rows.",
            )
        for url in urls[: self.max_images]:
            problem: _Problem | None = None
            if message := url_problem(url):
                problem = CsvIssueCode.IMAGE_URL_INVALID, message
            elif self.check_url:
                problem = self.check_url(url)
            if problem:
                yield problem[0], f"{quote(url)}: {problem[1]}"


def count_issue(row: int, cells: list[str], expected: int) -> CsvIssue:
    """Returns the issue for a row with too few or too many cells."""
    if find_total(cells) is not None:
        return CsvIssue(CsvIssueCode.COLUMN_COUNT, total_message(row), row)
    if len(cells) == 1 and any(cells[0].count(delimiter) >= expected - 1 for delimiter in DELIMITERS):
        return CsvIssue(
            CsvIssueCode.COLUMN_COUNT,
            f"Row {row} is a single cell that contains all columns, between quotation marks. {REMOVE_QUOTES}",
            row,
        )
    if len(cells) < expected:
        fix = "Add the missing cells; they may be empty."
    elif any("://" in cell for cell in cells[expected:]):
        fix = "Put a cell with several URLs between quotation marks."
    else:
        fix = "Put a cell that contains the delimiter between quotation marks, or name the column in the header."
    return CsvIssue(
        CsvIssueCode.COLUMN_COUNT,
        f"Row {row} has {plural(len(cells), 'cell')}, but the header has {expected:,}. {fix}",
        row,
    )


def find_total(cells: list[str]) -> int | None:
    """Returns the cell that begins a row of totals, as spreadsheets have it below the products."""
    index = next((index for index, cell in enumerate(cells) if cell.strip()), None)
    if index is None or not _TOTAL.match(cells[index].strip()) or any("://" in cell for cell in cells):
        return None
    return index


def total_message(row: int) -> str:
    return f"Row {row} seems to be a total, not a product. Remove it."


def is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
