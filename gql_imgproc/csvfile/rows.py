"""One row of the manifest: everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable

from gql_imgproc.csvfile.encoding import CONTROL
from gql_imgproc.csvfile.formula_injection import is_guarded
from gql_imgproc.csvfile.header import Header, control_issue, result_column, too_long_issue
from gql_imgproc.csvfile.image_urls import url_problem
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import plural, quote
from gql_imgproc.csvfile.serial_numbers import SerialNumbers, serial_number_problem
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: Asked about every address that looks like one: what is wrong with it, or None.
UrlCheck = Callable[[str], tuple[CsvIssueCode, str] | None]


class RowCheck:
    """Checks the rows of one file; it remembers their serial numbers."""

    __slots__ = (
        "check_url",
        "columns",
        "has_controls",
        "image_urls",
        "max_field_chars",
        "max_images",
        "max_name_chars",
        "product_name",
        "results",
        "seen",
        "serial_number",
    )

    def __init__(
        self,
        header: Header,
        columns: tuple[str, ...],
        limits: CsvLimits,
        has_controls: bool,
        check_url: UrlCheck | None,
    ) -> None:
        self.serial_number = header.serial_number
        self.product_name = header.product_name
        self.image_urls = header.image_urls
        self.results = {index for index, name in enumerate(header.names) if result_column(name)}
        self.columns = columns
        self.max_field_chars = limits.max_field_chars
        self.max_images = limits.max_images_per_product
        self.max_name_chars = limits.max_name_chars
        self.has_controls = has_controls
        self.check_url = check_url
        self.seen = SerialNumbers()

    def is_valid(self, row: int, cells: list[str], serial_number: str, addresses: list[str]) -> bool:
        """Whether nothing is wrong with a row whose addresses are plausible, quickly.

        The serial number comes last, since it is marked as seen only when all the rest is right.
        """
        return (
            not self.has_controls
            and max(map(len, cells)) <= self.max_field_chars
            and 0 < len(cells[self.product_name].strip()) <= self.max_name_chars
            and len(addresses) <= self.max_images
            and (self.check_url is None or not any(map(self.check_url, addresses)))
            and serial_number_problem(serial_number) is None
            and not self.seen.add(int(serial_number), row)
        )

    def issues(self, row: int, cells: list[str], serial_number: str, addresses: list[str]) -> list[CsvIssue]:
        """What is wrong with a row that has as many cells as the header, in the order of its columns."""
        unfit = self._unfit(row, cells)
        faults: list[tuple[int, CsvIssueCode, str]] = []
        if self.serial_number not in unfit:
            faults += self._serial_faults(row, serial_number)
        if self.product_name not in unfit:
            faults += self._name_faults(cells[self.product_name].strip())
        if self.image_urls not in unfit:
            faults += self._address_faults(addresses)
        found = [(index, CsvIssue(code, message, row, self.columns[index])) for index, code, message in faults]
        found += unfit.items()
        return [issue for _, issue in sorted(found, key=lambda pair: pair[0])]

    def _unfit(self, row: int, cells: list[str]) -> dict[int, CsvIssue]:
        """The cells that are not looked at further: too long, or with control characters."""
        unfit: dict[int, CsvIssue] = {}
        for index, cell in enumerate(cells):
            # Our own guard and our own results, in an output that is uploaded again, are not the file's fault.
            if len(cell) - is_guarded(cell) > self.max_field_chars and index not in self.results:
                unfit[index] = too_long_issue(cell, self.max_field_chars, row, self.columns[index])
            elif self.has_controls and CONTROL.search(cell):
                unfit[index] = control_issue(cell, row, self.columns[index])
        return unfit

    def _serial_faults(self, row: int, serial_number: str) -> list[tuple[int, CsvIssueCode, str]]:
        if fault := serial_number_problem(serial_number):
            return [(self.serial_number, CsvIssueCode.SERIAL_NUMBER_INVALID, fault)]
        if first := self.seen.add(int(serial_number), row):
            place = f"in row {first}" if first > 0 else "in an earlier row"
            message = f"The serial number {serial_number} was already used {place}. Give each product its own."
            return [(self.serial_number, CsvIssueCode.SERIAL_NUMBER_DUPLICATE, message)]
        return []

    def _name_faults(self, name: str) -> list[tuple[int, CsvIssueCode, str]]:
        if not name:
            message = "The product name is empty. Write a name, or remove the row."
            return [(self.product_name, CsvIssueCode.PRODUCT_NAME_EMPTY, message)]
        if len(name) - is_guarded(name) > self.max_name_chars:
            limit = f"the limit is {self.max_name_chars:,}"
            message = f"The product name has {len(name):,} characters; {limit}. Shorten it."
            return [(self.product_name, CsvIssueCode.FIELD_TOO_LONG, message)]
        return []

    def _address_faults(self, addresses: list[str]) -> list[tuple[int, CsvIssueCode, str]]:
        index = self.image_urls
        if not addresses:
            message = "The row has no image address. Write at least one, or remove the row."
            return [(index, CsvIssueCode.IMAGE_URL_MISSING, message)]
        faults: list[tuple[int, CsvIssueCode, str]] = []
        if len(addresses) > self.max_images:
            message = (
                f"The row has {plural(len(addresses), 'image')}; the limit is {self.max_images:,}. "
                "Divide them among several rows."
            )
            faults.append((index, CsvIssueCode.LIMIT_EXCEEDED, message))
        for address in addresses[: self.max_images]:
            problem: tuple[CsvIssueCode, str] | None = None
            if sentence := url_problem(address):
                problem = CsvIssueCode.IMAGE_URL_INVALID, sentence
            elif self.check_url:
                problem = self.check_url(address)
            if problem:
                faults.append((index, problem[0], f"{quote(address)}: {problem[1]}"))
        return faults


def count_issue(row: int, cells: list[str], expected: int) -> CsvIssue:
    """A row with too few or too many cells."""
    if len(cells) < expected:
        mend = "Add the missing ones, if need be as empty cells."
    elif any("://" in cell for cell in cells[expected:]):
        mend = "Put a cell with several addresses between quotation marks."
    else:
        mend = "Put a cell that contains the delimiter between quotation marks, or name the column in the header."
    return CsvIssue(
        CsvIssueCode.COLUMN_COUNT,
        f"Row {row} has {plural(len(cells), 'cell')}, but the header has {expected:,}. {mend}",
        row,
    )


def is_blank(cells: list[str]) -> bool:
    return not any(cell.strip() for cell in cells)
