"""Checks one row of a CSV file and reports every problem of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gql_imgproc.csvfile.encoding import CONTROL
from gql_imgproc.csvfile.formula_injection import is_escaped
from gql_imgproc.csvfile.header import Header, control_issue, match_result_column, too_long_issue
from gql_imgproc.csvfile.image_urls import url_problem
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import plural, quote
from gql_imgproc.csvfile.serial_numbers import SerialNumbers, serial_number_problem
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: Returns what is wrong with a plausible URL; None if it is allowed.
UrlCheck = Callable[[str], tuple[CsvIssueCode, str] | None]

_Problem = tuple[CsvIssueCode, str]


class RowCheck:
    """Checks the rows of one file, and remembers their serial numbers."""

    __slots__ = (
        "check_url",
        "columns",
        "has_controls",
        "image_urls",
        "max_field_chars",
        "max_images",
        "max_name_chars",
        "product_name",
        "result_columns",
        "serial_number",
        "used_serial_numbers",
    )

    def __init__(
        self,
        header: Header,
        columns: tuple[str, ...],
        limits: CsvLimits,
        check_url: UrlCheck | None,
        *,
        has_controls: bool,
    ) -> None:
        self.serial_number = header.serial_number
        self.product_name = header.product_name
        self.image_urls = header.image_urls
        self.result_columns = {index for index, name in enumerate(header.names) if match_result_column(name)}
        self.columns = columns
        self.max_field_chars = limits.max_field_chars
        self.max_images = limits.max_images_per_product
        self.max_name_chars = limits.max_name_chars
        self.has_controls = has_controls
        self.check_url = check_url
        self.used_serial_numbers = SerialNumbers()

    def is_valid(self, row: int, cells: list[str], serial_number: str, urls: list[str]) -> bool:
        """Fast check of a row whose URLs are plausible.

        The serial number comes last: a valid one is recorded as used only if the rest of the row is valid.
        """
        return (
            not self.has_controls
            and max(map(len, cells)) <= self.max_field_chars
            and 0 < len(cells[self.product_name].strip()) <= self.max_name_chars
            and len(urls) <= self.max_images
            and (self.check_url is None or not any(map(self.check_url, urls)))
            and serial_number_problem(serial_number) is None
            and not self.used_serial_numbers.add(int(serial_number), row)
        )

    def issues(self, row: int, cells: list[str], serial_number: str, urls: list[str]) -> list[CsvIssue]:
        """Returns the problems of a row with the right number of cells, in the order of its columns."""
        issues = self._invalid_cells(row, cells)
        # A cell that is too long or has control characters is not checked further.
        checks: dict[int, Iterator[_Problem]] = {
            self.serial_number: self._serial_number_problems(row, serial_number),
            self.product_name: self._name_problems(cells[self.product_name].strip()),
            self.image_urls: self._url_problems(urls),
        }
        for index, problems in checks.items():
            if index not in issues:
                issues[index] = [CsvIssue(code, message, row, self.columns[index]) for code, message in problems]
        return [issue for index in sorted(issues) for issue in issues[index]]

    def _invalid_cells(self, row: int, cells: list[str]) -> dict[int, list[CsvIssue]]:
        """Returns the cells that are too long or contain control characters."""
        invalid: dict[int, list[CsvIssue]] = {}
        for index, cell in enumerate(cells):
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

    def _url_problems(self, urls: list[str]) -> Iterator[_Problem]:
        if not urls:
            yield CsvIssueCode.IMAGE_URL_MISSING, "The row has no image URL. Enter at least one, or remove the row."
        if len(urls) > self.max_images:
            yield (
                CsvIssueCode.LIMIT_EXCEEDED,
                f"The row has {plural(len(urls), 'image')}; the limit is {self.max_images:,}. "
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


def is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
