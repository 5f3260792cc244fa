"""CSV content and assertions that the tests of this folder share."""

from __future__ import annotations

import io

import pytest

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.errors import CsvIssueCode, InvalidCsv
from tests.support.csv_rows import ProductRow, read_rows

LIMITS = CsvLimits(max_products=1_000, max_images=5_000, max_columns=10, max_field_chars=10_000)
HEADER = "S. No.,Product Name,Input Image Urls\n"
ROW = "1,Lamp,https://a.example/1.jpg\n"
Problem = tuple[str, int | None, str | None]


def only_example_hosts(url: str) -> tuple[CsvIssueCode, str] | None:
    if not url.lower().startswith(("http://", "https://")):
        return CsvIssueCode.IMAGE_URL_INVALID, "Use http or https."
    if "private" in url:
        return CsvIssueCode.IMAGE_URL_FORBIDDEN, "The URL is private."
    return None


def check(content: str | bytes, limits: CsvLimits = LIMITS) -> CsvSummary:
    data = content.encode() if isinstance(content, str) else content
    return validate(io.BytesIO(data), limits, only_example_hosts)


def rows_of(content: str | bytes, limits: CsvLimits = LIMITS) -> list[ProductRow]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_rows(io.BytesIO(data), limits))


def refusal_of(content: str | bytes, limits: CsvLimits = LIMITS) -> InvalidCsv:
    with pytest.raises(InvalidCsv) as caught:
        check(content, limits)
    for issue in caught.value.issues:
        assert issue.message.isprintable()
        assert issue.message.endswith(".")
    return caught.value


def problems_of(content: str | bytes, limits: CsvLimits = LIMITS) -> list[Problem]:
    error = refusal_of(content, limits)
    assert error.total == len(error.issues)
    return [(issue.code.value, issue.row, issue.column) for issue in error.issues]


def outcome(data: bytes, limits: CsvLimits = LIMITS) -> CsvSummary | InvalidCsv:
    try:
        return check(data, limits)
    except InvalidCsv as error:
        return error
