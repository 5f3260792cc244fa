"""The header of a CSV file: delimiter and columns, and every problem of it."""

from __future__ import annotations

import io

import pytest

from gql_imgproc.csvfile.header import match_field
from gql_imgproc.csvfile.reader import open_csv
from gql_imgproc.csvfile.validation import CsvSummary
from tests.csvfile.csv_cases import (
    LIMITS,
    ROW,
    Problem,
    check,
    problems_of,
    refusal_of,
    rows_of,
)


@pytest.mark.parametrize(
    "header",
    [
        "S. No.,Product Name,Input Image Urls",
        "Serial Number,Product Name,Input Image URLs",
        "s.no,PRODUCT_NAME,input-image-urls",
        "SNo,product name,Image Url",
        "Sr. No.,ProductName,Image URLs",
        "Serial No., Product Name ,Input Image Url",
        '"Sl. No.","Product\nName","Input Image Urls"',
    ],
)
def test_columns_have_several_accepted_names(header: str) -> None:
    assert check(f"{header}\n{ROW}") == CsvSummary(1, 1, ())


@pytest.mark.parametrize("name", ["Name", "#", "Output Image Urls", "Image", "Serial", "Product", "", "Number"])
def test_similar_names_are_not_accepted(name: str) -> None:
    assert match_field(name) is None


def test_columns_can_be_in_any_order_between_others() -> None:
    # Given the three columns in reverse order, between two other columns of the same name,
    content = "Note,Input Image Urls,Note,Product Name,S. No.\nx, https://a.example/1.jpg ,y, Lamp , 1 \n"

    # when it is read,
    (row,) = rows_of(content)

    # then the three columns are found and stripped, and all cells are unchanged.
    assert (row.serial_number, row.product_name, row.image_urls) == ("1", "Lamp", ("https://a.example/1.jpg",))
    assert row.cells == ("x", " https://a.example/1.jpg ", "y", " Lamp ", " 1 ")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_detected_from_the_header(delimiter: str, line_end: str) -> None:
    # Given a file whose cells contain the other delimiters,
    other = ";" if delimiter == "," else ","
    lines = [
        ["S. No.", f'"Product Name"{delimiter}"A{delimiter}B"', "Input Image Urls"],
        ["1", f'"Lamp{other} tall"{delimiter}x', '"https://a.example/1.jpg"'],
    ]
    content = line_end.join(delimiter.join(cells) for cells in lines)

    # when it is opened,
    reader = open_csv(io.BytesIO(content.encode()), LIMITS)

    # then its delimiter is detected, and quoted delimiters are text.
    assert reader.header.dialect.delimiter == delimiter
    assert reader.header.names == ("S. No.", "Product Name", f"A{delimiter}B", "Input Image Urls")
    assert [row.product_name for row in rows_of(content)] == [f"Lamp{other} tall"]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_separator_line_is_not_a_row(line: str) -> None:
    content = f"{line}\r\nS. No.;Product Name, long;Product Name;Input Image Urls\r\n1;a;;https://a.example/1.jpg\r\n"
    assert problems_of(content) == [("PRODUCT_NAME_EMPTY", 2, "Product Name")]


def test_a_separator_line_can_name_an_unusual_delimiter() -> None:
    content = "sep=^\nS. No.^Product Name^Input Image Urls\n1^Lamp^https://a.example/1.jpg\n"
    assert open_csv(io.BytesIO(content.encode()), LIMITS).header.dialect.delimiter == "^"
    assert check(content).products == 1


def test_spaces_after_delimiters_are_skipped_when_the_header_has_them() -> None:
    content = 'S. No., Product Name, Input Image Urls\n1, "Lamp, tall", "https://a.example/1.jpg"\n'
    assert [row.cells for row in rows_of(content)] == [("1", "Lamp, tall", "https://a.example/1.jpg")]


@pytest.mark.parametrize(
    ("content", "row", "words"),
    [
        ("<!DOCTYPE html>\n<html><head>", None, "web page (HTML)"),
        ('<?xml version="1.0"?><a/>', None, "XML"),
        ('{"products": [1, "2"]}', None, "JSON"),
        ('["a", "b"]', None, "JSON"),
        ("<html>" + "x" * 3_000_000, None, "HTML"),
        ("{\\rtf1 hello", None, "RTF"),
        (ROW + ROW, 1, "no header row"),
        ("No,Name,Images\n", 1, 'rename "Images" to "Input Image Urls"'),
        ("\n\nfoo,bar\n", 3, 'found: "foo", "bar"'),
        ("S. No.:Product Name:Input Image Urls\n", 1, 'found: "S. No.:Product Name:Input Image Urls"'),
    ],
)
def test_an_invalid_header_is_refused_with_a_fix(content: str, row: int | None, words: str) -> None:
    error = refusal_of(content)
    assert [(issue.code.value, issue.row, issue.column) for issue in error.issues] == [("HEADER", row, None)]
    assert words in error.issues[0].message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("S. No.,Serial Number,Product Name,Input Image Urls", [("COLUMN_DUPLICATE", 1, "Serial Number")]),
        ("S. No.,Product Name,Product Name,Input Image Urls", [("COLUMN_DUPLICATE", 1, "Product Name")]),
        (
            "Image Urls,Product Name,Input Image Urls",
            [("HEADER", 1, "S. No."), ("COLUMN_DUPLICATE", 1, "Input Image Urls")],
        ),
        ("S. No.,Product Name,Input Image Urls,a,b,c,d,e,f,g,h", [("LIMIT_EXCEEDED", 1, None)]),
        ("S. No.,Product Name,Input Image Urls,a\x07b", [("CHARACTER_INVALID", 1, "a\N{MIDDLE DOT}b")]),
        ('"S. No."x,Product Name,Input Image Urls', [("QUOTE_INVALID", 1, None)]),
        ('S. No.,Product Name,"Input Image Urls', [("QUOTE_INVALID", 1, None)]),
        ("S. No.,Product Name,Input Image Urls,,,,,,,,,,,,", [("EMPTY_FILE", None, None)]),
    ],
)
def test_every_problem_of_the_header_is_reported(header: str, expected: list[Problem]) -> None:
    assert problems_of(f"{header}\n") == expected


@pytest.mark.parametrize("header", ["\N{NO-BREAK SPACE},\N{NO-BREAK SPACE}", ",\N{ZERO WIDTH NO-BREAK SPACE}", "|,;"])
def test_a_header_without_visible_characters_is_invalid(header: str) -> None:
    assert problems_of(f"{header}\n1,2\n") in ([("HEADER", 1, None)], [("HEADER", 2, None)])


@pytest.mark.parametrize(
    ("content", "column", "words"),
    [
        ("S. No.,Product Name\n1,a\n", "Input Image Urls", 'The column is missing: "Input Image Urls"'),
        ("S. No.,Prodct Name,Input Image Urls\n", "Product Name", 'rename "Prodct Name" to "Product Name"'),
    ],
)
def test_a_single_missing_column_is_named(content: str, column: str, words: str) -> None:
    (issue,) = refusal_of(content).issues
    assert (issue.code.value, issue.row, issue.column) == ("HEADER", 1, column)
    assert words in issue.message


@pytest.mark.parametrize(
    ("title", "below"),
    [("Products 2026\n", 2), ("Image URLs of autumn,,\n\nSheet 1\n", 4), ("sep=,\nProducts\n", 2)],
)
@pytest.mark.parametrize("header", ["S. No.,Product Name,Input Image Urls", "Handle,Title,Image Src,Variant SKU"])
def test_a_title_above_the_header_is_told(title: str, below: int, header: str) -> None:
    (issue,) = refusal_of(f"{title}{header}\n{ROW}").issues
    assert (issue.code.value, issue.row, issue.column) == ("HEADER", 1, None)
    assert issue.message == (
        f"Row 1 does not name the columns, but row {below} does. Delete what is above row {below}, such as a title."
    )


@pytest.mark.parametrize("header", ["S. No.,Product Name,Input Image Urls", "Handle;Title;Image Src;Vendor"])
def test_a_header_that_is_one_quoted_cell_is_told(header: str) -> None:
    (issue,) = refusal_of(f'"{header}"\n"1,Lamp,https://a.example/1.jpg"\n').issues
    assert (issue.code.value, issue.row) == ("HEADER", 1)
    assert issue.message.startswith("The header is a single cell that contains all columns, between quotation marks.")
