"""Records of a CSV file: row numbers, quotation marks, block borders."""

from __future__ import annotations

import io

import pytest

from tests.csvfile.csv_cases import (
    HEADER,
    LIMITS,
    ROW,
    Problem,
    check,
    problems_of,
    refusal_of,
    rows_of,
)
from tests.support.csv_rows import read_rows


def test_blank_rows_are_skipped_and_counted() -> None:
    # Given blank rows before, between and after the rows, and a cell of two lines,
    content = f'\n,,\n{HEADER}\n1,"La\nmp",https://a.example/1.jpg\n , ,\n,,,,\n2,Chair,https://a.example/2.jpg\n,,\n'

    # when it is read,
    rows = rows_of(content)

    # then the row numbers are those of a spreadsheet.
    assert [(row.row, row.product_name) for row in rows] == [(5, "La\nmp"), (8, "Chair")]
    assert check(content).products == 2


def test_a_quotation_mark_inside_an_unquoted_cell_is_text() -> None:
    assert rows_of(f'{HEADER}1,Pipe 5" wide,https://a.example/1.jpg\n2{ROW[1:]}')[0].product_name == 'Pipe 5" wide'


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Text after a closing mark: the start of the next row is certain, so reading continues.
        (
            '1,"Lamp" tall,https://a.example/1.jpg\nx{row}',
            [("QUOTE_INVALID", 2, "Product Name"), ("SERIAL_NUMBER_INVALID", 3, "S. No.")],
        ),
        # The cell of an unclosed mark contains the rest of the file; earlier issues are reported.
        (
            'x{row}1,"Lamp,https://a.example/1.jpg\nx{row}',
            [("SERIAL_NUMBER_INVALID", 2, "S. No."), ("QUOTE_INVALID", 3, None)],
        ),
        # The mark of a later cell closes it: the rows in between are unknown.
        ('1,"Lamp{row}2,"Chair",x\nx{row}', [("QUOTE_INVALID", 2, None)]),
        # Row numbers are those of a spreadsheet, even with several lines in a cell.
        ('1,"La\n\nmp",https://a.example/1.jpg\n2,"a"b,c\n', [("QUOTE_INVALID", 3, "Product Name")]),
        ('1,Lamp,"https://a.example/1.jpg"x', [("QUOTE_INVALID", 2, "Input Image Urls")]),
        (
            '1,Lamp,"a"b\r\n1,"a"b,x\r\n',
            [("QUOTE_INVALID", 2, "Input Image Urls"), ("QUOTE_INVALID", 3, "Product Name")],
        ),
        ('1,Lamp,"', [("QUOTE_INVALID", 2, None)]),
    ],
)
def test_an_unpaired_quotation_mark_is_reported_in_the_row_where_it_opens(rows: str, expected: list[Problem]) -> None:
    assert problems_of(HEADER + rows.replace("{row}", ROW[1:])) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The mark that opens a cell of a later row seems to close it.
        ('1,Lamp,U\n2,"B,U\n3,"C",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
        ('1,Lamp,U\n2,"B,U\n3,C,U\n4,D,U\n5,"E",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
        ('1,"A\n\nB",U\n2,"B,U\n3,"C",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
    ],
)
def test_an_unclosed_quotation_mark_above_is_suspected_when_a_cell_has_several_lines(rows: str, expected: str) -> None:
    (issue,) = refusal_of(HEADER + rows.replace("U", "https://a.example/1.jpg")).issues
    assert (issue.code.value, issue.row) == ("QUOTE_INVALID", 3)
    assert issue.message == (
        "In row 3 text follows a closing quotation mark some lines below the opening one. "
        f"{expected}: close it, or write it twice if it is part of the text. The rest of the file was not read."
    )


def test_text_behind_a_quotation_mark_is_reported_with_its_cell() -> None:
    (issue,) = refusal_of(
        HEADER + '1,"a ""b"", c",https://a.example/1.jpg\n2,"5" pipe,https://a.example/2.jpg\n'
    ).issues

    assert (issue.row, issue.column) == (3, "Product Name")
    assert issue.message == (
        "In row 3 text follows a closing quotation mark in cell 2. Put the whole cell between quotation marks and "
        'write a quotation mark inside it twice, like "5"" pipe".'
    )


class SlowFile(io.BytesIO):
    """A file that returns a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, max_bytes: int) -> None:
        super().__init__(data)
        self.max_bytes = max_bytes

    def read(self, count: int | None = -1) -> bytes:
        return super().read(self.max_bytes if count is None or count < 0 else min(count, self.max_bytes))


@pytest.mark.parametrize("max_bytes", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_rows_do_not_depend_on_block_borders(encoding: str, max_bytes: int) -> None:
    # Given a file with line ends, quotes and characters of several bytes,
    content = (
        "sep=;\r\nS. No.;Product Name;Input Image Urls\r\n\r\n"
        '1;"Löf\r\n\rfel; ""ä""";"https://a.example,https://b.example"\r\n2;b;https://b.example\r3;c;https://c.example\r'
    ).encode(encoding)

    # when it is read in pieces of any size,
    rows = list(read_rows(SlowFile(content, max_bytes), LIMITS))

    # then the rows are the same.
    assert rows == rows_of(content)
    assert [(row.row, row.product_name) for row in rows] == [(3, 'Löf\r\n\rfel; "ä"'), (4, "b"), (5, "c")]
