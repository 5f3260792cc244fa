"""Reading a CSV file (promise P8): rows, issues and limits."""

from __future__ import annotations

import io

import pytest

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.reader import InvalidRow, no_yield, open_csv
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv
from tests.csvfile.csv_cases import (
    HEADER,
    LIMITS,
    ROW,
    check,
    only_example_hosts,
    problems_of,
    refusal_of,
    rows_of,
)
from tests.support.csv_rows import ProductRow


def test_rows_are_read_as_written() -> None:
    # Given two products, one of them with two images,
    content = HEADER + ROW + '007,"Chair, blue","https://a.example/2.jpg,https://a.example/3.jpg"\n'

    # when the file is checked and read,
    summary, rows = check(content), rows_of(content)

    # then both are returned as written.
    assert summary == CsvSummary(products=2, images=3, warnings=())
    assert rows == [
        ProductRow(
            row=2,
            serial_number="1",
            product_name="Lamp",
            image_urls=("https://a.example/1.jpg",),
            cells=("1", "Lamp", "https://a.example/1.jpg"),
        ),
        ProductRow(
            row=3,
            serial_number="007",
            product_name="Chair, blue",
            image_urls=("https://a.example/2.jpg", "https://a.example/3.jpg"),
            cells=("007", "Chair, blue", "https://a.example/2.jpg,https://a.example/3.jpg"),
        ),
    ]


def test_empty_cells_beyond_the_header_are_ignored() -> None:
    content = f"S. No.,Product Name,Input Image Urls,,\n1,Lamp,https://a.example/1.jpg,, ,\n2{ROW[1:]}"
    assert [row.cells for row in rows_of(content)] == [
        ("1", "Lamp", "https://a.example/1.jpg"),
        ("2", "Lamp", "https://a.example/1.jpg"),
    ]
    assert check(content).products == 2


def test_iteration_yields_rows_and_issues_in_the_order_of_the_file() -> None:
    # Given an invalid row between two valid ones,
    content = f"{HEADER}{ROW}x,,https://a.example/1.jpg\n3{ROW[1:]}"

    # when the file is iterated,
    reader = open_csv(io.BytesIO(content.encode()), LIMITS)
    found = list(reader.iter_checked_rows(only_example_hosts, no_yield))

    # then the invalid row yields its issues.
    first, invalid, last = found
    assert isinstance(first, tuple)
    assert isinstance(invalid, InvalidRow)
    assert isinstance(last, tuple)
    assert (first[0], invalid.row, last[0]) == (2, 3, 4)
    assert [issue.code.value for issue in invalid.issues] == ["SERIAL_NUMBER_INVALID", "PRODUCT_NAME_EMPTY"]


@pytest.mark.parametrize(
    "content", ["", "\n\n", ",,,\n,,", ";;\n\t", "\ufeff", "sep=;\n", HEADER, HEADER.strip(), f"{HEADER}\n,,\n"]
)
def test_a_file_without_a_data_row_is_empty(content: str) -> None:
    assert problems_of(content) == [("EMPTY_FILE", None, None)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b,c," + HEADER, ("LIMIT_EXCEEDED", 1, None)),
        (f"a,{HEADER}x,{ROW}x,2,{'x' * 31},https://a.example\n", ("FIELD_TOO_LONG", 3, "Product Name")),
        (f"{HEADER}1,Lamp,https://a.example/{'x' * 14}\n", ("FIELD_TOO_LONG", 2, "Input Image Urls")),
        (HEADER + "".join(f"{n},Lamp,https://a.example\n" for n in range(1, 5)), ("LIMIT_EXCEEDED", 5, None)),
    ],
)
def test_each_limit_is_reported_with_row_and_column(content: str, expected: tuple[str, int, str | None]) -> None:
    assert problems_of(content, CsvLimits(3, 4, 5, 30)) == [expected]


def test_limits_of_the_whole_file_are_reported_once() -> None:
    # Given a limit of 3 products and 4 images, and a file with 6 rows of 2,
    limits = CsvLimits(max_products=3, max_images=4, max_columns=5, max_field_chars=1_000)
    content = HEADER + "".join(f'{n},Lamp,"https://a.example/1,https://a.example/2"\n' for n in range(1, 7))

    # when it is checked,
    error = refusal_of(content, limits)

    # then each limit is reported once, with the first row beyond it and a fix.
    assert [(issue.code.value, issue.row, issue.column) for issue in error.issues] == [
        ("LIMIT_EXCEEDED", 4, "Input Image Urls"),
        ("LIMIT_EXCEEDED", 5, None),
    ]
    assert all("Split the file." in issue.message for issue in error.issues)
    assert error.total == 2


def test_a_file_at_its_limits_is_accepted() -> None:
    limits = CsvLimits(max_products=2, max_images=2, max_columns=3, max_field_chars=17)
    content = f"{HEADER}1,Lamp,https://a.example\n2,{'x' * 17},https://a.example\n\n"
    assert check(content, limits) == CsvSummary(2, 2, ())


def test_the_first_issues_are_reported_and_all_are_counted() -> None:
    # Given 450 rows without a name, every second one also without a URL,
    content = HEADER + "".join(f"{n},,{'https://a.example' if n % 2 else ''}\n" for n in range(1, 451))

    # when it is checked,
    error = refusal_of(content)

    # then the first 100 issues are reported in order, and all are counted.
    assert error.total == 450 + 225
    assert len(error.issues) == 100
    assert [issue.row for issue in error.issues[:4]] == [2, 3, 3, 4]


def test_control_is_yielded_every_200_rows() -> None:
    content = HEADER + "".join(f"{n}{ROW[1:]}" for n in range(1, 1_000))
    yields: list[None] = []
    validate(io.BytesIO(content.encode()), LIMITS, only_example_hosts, lambda: yields.append(None))
    assert len(yields) == 5


def test_a_file_that_changed_after_its_validation_is_refused() -> None:
    with pytest.raises(InvalidCsv):
        rows_of(f"{HEADER}1,Lamp\n")
    with pytest.raises(InvalidCsv):
        rows_of(f'{HEADER}1,"Lamp')


def test_issues_are_values() -> None:
    issue = refusal_of("").issues[0]
    assert issue == CsvIssue(CsvIssueCode.EMPTY_FILE, issue.message)
