"""Checks of one row: every problem, with row and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.serial_numbers import DENSE, SerialNumbers
from tests.csvfile.csv_cases import (
    HEADER,
    ROW,
    Problem,
    check,
    problems_of,
    refusal_of,
    rows_of,
)


@pytest.mark.parametrize(
    "serial_number",
    ["", " ", "0", "000", "-1", "+1", "0.0", "1.", "1,000", "1.5", "A1", "1e3", "\N{FULLWIDTH DIGIT ONE}", "9" * 31],
)
def test_a_serial_number_is_a_positive_whole_number(serial_number: str) -> None:
    content = f'{HEADER}"{serial_number}",Lamp,https://a.example/1.jpg\n'
    assert problems_of(content) == [("SERIAL_NUMBER_INVALID", 2, "S. No.")]


@pytest.mark.parametrize(("written", "meant"), [("1.000", "1000"), ("1,000", "1000"), ("12 345", "12345"), ("5.", "5")])
def test_the_message_has_the_corrected_serial_number(written: str, meant: str) -> None:
    error = refusal_of(f'{HEADER}"{written}",Lamp,https://a.example/1.jpg\n')
    assert error.issues[0].message.endswith(f'digits only: "{meant}".')


def test_serial_numbers_of_equal_value_are_duplicates() -> None:
    # Given small and large numbers, some of equal value,
    large = str(DENSE * 10)
    serials = ["7", "8", "007", " 8 ", large, f"0{large}", str(DENSE - 1), str(DENSE - 1)]
    content = HEADER + "".join(f"{serial},Lamp,https://a.example/1.jpg\n" for serial in serials)

    # when the file is checked,
    error = refusal_of(content)

    # then each repetition is reported, with the earlier row where it is known.
    assert [(issue.code.value, issue.row) for issue in error.issues] == [
        ("SERIAL_NUMBER_DUPLICATE", row) for row in (4, 5, 7, 9)
    ]
    assert ["row 2" in error.issues[0].message, "row 3" in error.issues[1].message] == [True, True]
    assert "in an earlier row" in error.issues[2].message
    assert "row 8" in error.issues[3].message


@given(st.lists(st.one_of(st.integers(1, 5_000), st.integers(DENSE - 3, DENSE + 3), st.integers(1, 10**30))))
def test_used_serial_numbers_are_remembered_exactly(numbers: list[int]) -> None:
    seen, model = SerialNumbers(), dict[int, int]()
    for row, number in enumerate(numbers, start=2):
        first = model.setdefault(number, row)
        expected = 0 if first == row else first if number < DENSE else -1
        assert seen.add(number, row) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1,,https://a.example/1.jpg", [("PRODUCT_NAME_EMPTY", 2, "Product Name")]),
        ("1, ,https://a.example/1.jpg", [("PRODUCT_NAME_EMPTY", 2, "Product Name")]),
        ("1,Lamp,", [("IMAGE_URL_MISSING", 2, "Input Image Urls")]),
        ('1,Lamp," , ;"', [("IMAGE_URL_MISSING", 2, "Input Image Urls")]),
        ("1,Lamp,lamp.jpg", [("IMAGE_URL_INVALID", 2, "Input Image Urls")]),
        ("1,Lamp,://a", [("IMAGE_URL_INVALID", 2, "Input Image Urls")]),
        ("1,Lamp,ftp://a.example/1.jpg", [("IMAGE_URL_INVALID", 2, "Input Image Urls")]),
        ("1,Lamp,https://private.example/", [("IMAGE_URL_FORBIDDEN", 2, "Input Image Urls")]),
        ('1,Lamp,"https://a.example/1.jpg, b.jpg"', [("IMAGE_URL_INVALID", 2, "Input Image Urls")]),
        ("1,Lamp,https://a.example/<b>", [("IMAGE_URL_INVALID", 2, "Input Image Urls")]),
        (
            '1,Lamp,"x, http://a.example/, https://private.example/,gopher://y"',
            [
                ("IMAGE_URL_INVALID", 2, "Input Image Urls"),
                ("IMAGE_URL_FORBIDDEN", 2, "Input Image Urls"),
                ("IMAGE_URL_INVALID", 2, "Input Image Urls"),
            ],
        ),
        (
            "x,,",
            [
                ("SERIAL_NUMBER_INVALID", 2, "S. No."),
                ("PRODUCT_NAME_EMPTY", 2, "Product Name"),
                ("IMAGE_URL_MISSING", 2, "Input Image Urls"),
            ],
        ),
        ("1,Lamp", [("COLUMN_COUNT", 2, None)]),
        ("1,Lamp,https://a.example/1.jpg,https://a.example/2.jpg", [("COLUMN_COUNT", 2, None)]),
        ("1,La\x00mp,https://a.example/1.jpg", [("CHARACTER_INVALID", 2, "Product Name")]),
        ("1,La\x85mp,https://a.example/1.jpg", [("CHARACTER_INVALID", 2, "Product Name")]),
        (
            "\x011,\x7f,https://a.example/\x1b[31m",
            [
                ("CHARACTER_INVALID", 2, "S. No."),
                ("CHARACTER_INVALID", 2, "Product Name"),
                ("CHARACTER_INVALID", 2, "Input Image Urls"),
            ],
        ),
        (f"1,{'x' * 2_001},https://a.example/1.jpg", [("FIELD_TOO_LONG", 2, "Product Name")]),
        (f"1,Lamp,https://a.example/{'x' * 10_000}", [("FIELD_TOO_LONG", 2, "Input Image Urls")]),
        (
            f"{'1' * 10_001},,https://a.example/",
            [("FIELD_TOO_LONG", 2, "S. No."), ("PRODUCT_NAME_EMPTY", 2, "Product Name")],
        ),
    ],
)
def test_every_problem_of_a_row_is_reported_in_the_order_of_its_columns(rows: str, expected: list[Problem]) -> None:
    # Given an invalid row, then a valid row and another invalid one,
    content = f"{HEADER}{rows}\n77{ROW[1:]}x{ROW[1:]}"

    # when the file is checked, then the valid row has no issue, and the file was read to its end.
    assert problems_of(content) == [*expected, ("SERIAL_NUMBER_INVALID", 4, "S. No.")]


def test_problems_name_their_columns_in_any_order() -> None:
    content = "Input Image Urls,Note,Product Name,S. No.\nx,\x07,,0\n"
    assert problems_of(content) == [
        ("IMAGE_URL_INVALID", 2, "Input Image Urls"),
        ("CHARACTER_INVALID", 2, "Note"),
        ("PRODUCT_NAME_EMPTY", 2, "Product Name"),
        ("SERIAL_NUMBER_INVALID", 2, "S. No."),
    ]


def test_a_message_quotes_the_url_shortened_and_without_its_password() -> None:
    url = f"https://me:secret@private.example/{'x' * 500}/end.jpg"
    message = refusal_of(f"{HEADER}1,Lamp,{url}\n").issues[0].message
    assert message.startswith('"https://...@private.example/xxx')
    assert message.endswith('xxx/end.jpg": The URL is private.')
    assert "secret" not in message
    assert len(message) < 150


def test_the_images_of_a_row_are_limited() -> None:
    # Given a row with three URLs of at most two, and the second one forbidden,
    limits = CsvLimits(10, 100, 5, 1_000, max_images_per_product=2)
    content = f'{HEADER}1,Lamp,"https://a.example,https://private.example,https://private.example"\n'

    # when it is checked, then the limit and the forbidden URL within it are reported.
    assert problems_of(content, limits) == [
        ("LIMIT_EXCEEDED", 2, "Input Image Urls"),
        ("IMAGE_URL_FORBIDDEN", 2, "Input Image Urls"),
    ]


@pytest.mark.parametrize(("cell", "number"), [("1.0", "1"), ("2,00", "2"), (" 7.0 ", "7"), ("007", "007")])
def test_a_serial_number_with_decimals_of_a_spreadsheet_is_whole(cell: str, number: str) -> None:
    # Given a file whose numbers a spreadsheet wrote with decimals,
    content = f'{HEADER}"{cell}",Lamp,https://a.example/1.jpg\n'

    # when it is read, then the number is whole, and the cell is unchanged.
    (row,) = rows_of(content)
    assert check(content).products == 1
    assert (row.serial_number, row.cells[0]) == (number, cell)


def test_serial_numbers_with_and_without_decimals_are_the_same() -> None:
    assert problems_of(f"{HEADER}{ROW}1.0,Desk,https://a.example/2.jpg\n") == [("SERIAL_NUMBER_DUPLICATE", 3, "S. No.")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("Total:,1,\n", ("SERIAL_NUMBER_INVALID", 3, "S. No.")),
        (",Grand total,3 images\n", ("SERIAL_NUMBER_INVALID", 3, "Product Name")),
        ("Summe,,\n", ("SERIAL_NUMBER_INVALID", 3, "S. No.")),
        ("TOTAL,1\n", ("COLUMN_COUNT", 3, None)),
    ],
)
def test_a_row_of_totals_is_told(row: str, problem: Problem) -> None:
    (issue,) = refusal_of(HEADER + ROW + row).issues
    assert (issue.code.value, issue.row, issue.column) == problem
    assert issue.message == "Row 3 seems to be a total, not a product. Remove it."


def test_a_row_that_is_one_quoted_cell_is_told() -> None:
    (issue,) = refusal_of(f'{HEADER}"1,Lamp,https://a.example/1.jpg"\n').issues
    assert (issue.code.value, issue.row) == ("COLUMN_COUNT", 2)
    assert issue.message.startswith("Row 2 is a single cell that contains all columns, between quotation marks.")


def test_a_byte_order_mark_between_joined_files_is_told() -> None:
    (issue,) = refusal_of(f"{HEADER}{ROW}\ufeff2,Desk,https://a.example/2.jpg\n").issues
    assert (issue.code.value, issue.row, issue.column) == ("SERIAL_NUMBER_INVALID", 3, "S. No.")
    assert "byte order mark (U+FEFF)" in issue.message
