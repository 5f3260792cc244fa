"""Checks an uploaded CSV file, and reports every problem with its row and column."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from gql_imgproc.csvfile.encoding import SAVE_AS_UTF8
from gql_imgproc.csvfile.layout import RECOGNIZED, CsvLayout
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.messages import csv_error, join_quoted
from gql_imgproc.csvfile.products import group_rows
from gql_imgproc.csvfile.reader import CsvReader, ValidRow, YieldControl, no_yield, open_csv
from gql_imgproc.csvfile.records import InvalidRow
from gql_imgproc.csvfile.rows import UrlCheck
from gql_imgproc.csvfile.unread_columns import UnreadColumns
from gql_imgproc.enums import CsvProfile
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

_LOSSY = (
    "The file has characters that the given encoding would write with other bytes, and a shop's file must not change."
)


@dataclass(frozen=True, slots=True)
class CsvSummary:
    """The number of products and images in a valid file."""

    products: int
    images: int
    warnings: tuple[CsvIssue, ...]
    #: How to read the file again.
    layout: CsvLayout = field(default=CsvLayout(CsvProfile.GENERIC), compare=False)


def validate(
    file: BinaryIO,
    limits: CsvLimits,
    check_url: UrlCheck,
    yield_control: YieldControl = no_yield,
    layout: CsvLayout = RECOGNIZED,
    on_urls: Callable[[list[str]], None] | None = None,
) -> CsvSummary:
    """Checks every row, and calls `on_urls` with the URLs of each valid one.

    Raises InvalidCsv with the first issues in the order of the file, and their total.
    """
    reader = open_csv(file, limits, layout)
    if layout.encoding and not reader.is_generic and not reader.text.is_lossless():
        raise csv_error(CsvIssueCode.ENCODING, f"{_LOSSY} {SAVE_AS_UTF8}")
    problems, warnings, skipped, images = _Issues(limits.max_issues), _Issues(limits.max_issues), list[int](), 0
    unread = UnreadColumns(reader.header.names, reader.header.columns)

    def valid_rows() -> Iterator[ValidRow]:
        nonlocal images
        for found in reader.iter_checked_rows(check_url, yield_control):
            if isinstance(found, tuple):
                _, cells, urls = found
                images += len(urls)
                if on_urls:
                    on_urls(urls)
                if unread.watched:
                    unread.check(cells)
                yield found
            elif isinstance(found, InvalidRow) and reader.skips_invalid_rows:
                skipped.append(found.row)
                warnings.add(found.issues)
            else:
                problems.add(found.issues if isinstance(found, InvalidRow) else [found])

    columns = reader.header.columns
    products = sum(1 for _ in (valid_rows() if reader.is_generic else group_rows(valid_rows(), columns, limits)))
    if problems.total:
        raise InvalidCsv(tuple(problems.first), problems.total)
    if not images and not reader.results:
        raise InvalidCsv(tuple(warnings.first), len(skipped)) if skipped else _no_images_error(reader)
    accepted = replace(reader.layout, profile=columns.profile.name, skipped_rows=frozenset(skipped))
    return CsvSummary(products, images, (*reader.text.warnings, *unread.warnings(), *warnings.first), accepted)


class _Issues:
    """The first issues of a file, and how many there are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.first: list[CsvIssue] = []
        self.total = 0

    def add(self, issues: list[CsvIssue]) -> None:
        self.total += len(issues)
        self.first += issues[: self._limit - len(self.first)]


def _no_images_error(reader: CsvReader) -> InvalidCsv:
    """The error of a shop's file without any image URL."""
    columns = join_quoted([reader.column_names[index] for index in reader.header.columns.images])
    message = f"The file has no image URL in {columns}. Enter URLs that start with http:// or https://."
    return csv_error(CsvIssueCode.IMAGE_URL_MISSING, message)
