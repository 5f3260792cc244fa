"""Writing the output CSV: the manifest again, with its results."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gql_imgproc.csvfile.formula_injection import escape_formula
from gql_imgproc.csvfile.reader import CsvLimits, read_rows, validate
from gql_imgproc.csvfile.writer import RowResult, write_output
from gql_imgproc.errors import InvalidCsv

LIMITS = CsvLimits(max_products=2_000, max_images=5_000, max_columns=10, max_field_chars=10_000)
HEADER = "S. No.,Product Name,Input Image Urls\n"
FINE: RowResult = (["https://o.example/1.jpg"], [None])


def written(content: str | bytes, results: list[RowResult]) -> bytes:
    out = io.BytesIO()
    write_output(io.BytesIO(content.encode() if isinstance(content, str) else content), out, LIMITS, results)
    return out.getvalue()


def no_fault(url: str) -> None:
    """Any address may be fetched."""


def table(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))


def test_rows_come_back_in_order_with_their_results() -> None:
    # Given three products: one done, one with a failed picture in the middle, one cancelled,
    content = (
        f"{HEADER}7,Lamp,https://a.example/1.jpg\n\n"
        '3,"Chair, ""red""","https://a.example/2,https://a.example/w_1,h_1,https://a.example/4"\n'
        "5,Desk,https://a.example/5.jpg\n"
    )
    results: list[RowResult] = [
        FINE,
        (["https://o.example/2", None, "https://o.example/4"], [None, "The host does not answer.", None]),
        ([None], [None]),
    ]

    # when the output is written,
    data = written(content, results)

    # then it is the input, without the blank row, and with two columns more.
    assert data == (
        b"S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\r\n"
        b"7,Lamp,https://a.example/1.jpg,https://o.example/1.jpg,\r\n"
        b'3,"Chair, ""red""","https://a.example/2,https://a.example/w_1,h_1,https://a.example/4",'
        b'"https://o.example/2,,https://o.example/4",2: The host does not answer.\r\n'
        b"5,Desk,https://a.example/5.jpg,,\r\n"
    )


def test_several_errors_are_numbered() -> None:
    content = f'{HEADER}1,Lamp,"https://a.example/1,https://a.example/2,https://a.example/3"\n'
    rows = table(written(content, [([None, "https://o.example/2", None], ["Not found.", None, "Not a picture."])]))
    assert rows[1][3:] == [",https://o.example/2,", "1: Not found. | 3: Not a picture."]


@pytest.mark.parametrize(
    ("encoding", "has_bom"), [("utf-8", False), ("utf-8-sig", True), ("utf-16", True), ("cp1252", True)]
)
def test_a_mark_is_written_for_those_whose_spreadsheet_needs_it(encoding: str, has_bom: bool) -> None:
    data = written(f"{HEADER}1,Löffel,https://a.example\n".encode(encoding), [FINE])
    assert data.startswith(b"\xef\xbb\xbf") is has_bom
    assert table(data)[1][1] == "Löffel"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_that_of_the_input(delimiter: str) -> None:
    content = f"{HEADER}1,Lamp,https://a.example\n".replace(",", delimiter)
    assert table(written(content, [FINE]), delimiter) == [
        ["S. No.", "Product Name", "Input Image Urls", "Output Image Urls", "Image Errors"],
        ["1", "Lamp", "https://a.example", "https://o.example/1.jpg", ""],
    ]


@pytest.mark.parametrize("line", ["sep=^\n", '"SEP=^"\r\n', "sep=^,,,\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_line_that_names_the_delimiter_is_written_again(line: str, encoding: str) -> None:
    # Given a file whose delimiter nobody would guess,
    content = line + f"{HEADER}1,Lamp,https://a.example\n".replace(",", "^")

    # when the output is written,
    data = written(content.encode(encoding), [FINE])

    # then it names the delimiter too, or no spreadsheet would find its columns, nor would we.
    assert data.removeprefix(b"\xef\xbb\xbf") == (
        b"sep=^\r\n"
        b"S. No.^Product Name^Input Image Urls^Output Image Urls^Image Errors\r\n"
        b"1^Lamp^https://a.example^https://o.example/1.jpg^\r\n"
    )
    assert [row.product_name for row in read_rows(io.BytesIO(data), LIMITS)] == ["Lamp"]


def test_a_header_that_could_be_split_otherwise_is_quoted() -> None:
    # Given a file of tabs, one of whose columns has a name that is a header of its own,
    names = '"S. No.,Product Name,Input Image Urls,a,b,c"\tS. No.\tProduct Name\tInput Image Urls\n'
    content = f"{names}note\t1\tLamp\thttps://a.example\n"

    # when the output is written, then its header can be read in one way only.
    data = written(content, [FINE])
    assert data.startswith(b'"S. No.,Product Name,Input Image Urls,a,b,c"\t"S. No."\t')
    assert [row.product_name for row in read_rows(io.BytesIO(data), LIMITS)] == ["Lamp"]


def test_an_output_is_a_manifest_again_up_to_the_limits() -> None:
    # Given as many columns as allowed, and cells that are as long as allowed before they are guarded,
    limits = CsvLimits(max_products=1, max_images=1, max_columns=4, max_field_chars=30, max_name_chars=20)
    content = f"Note,{HEADER}={'n' * 29},1,={'n' * 19},https://a.example\n"
    result: RowResult = (["https://o.example/" + "x" * 50], [None])
    assert validate(io.BytesIO(content.encode()), limits, no_fault).products == 1

    # when the output is written, then it is accepted in its turn, and so is its own output.
    out, again = io.BytesIO(), io.BytesIO()
    write_output(io.BytesIO(content.encode()), out, limits, [result])
    assert validate(out, limits, no_fault).products == 1
    write_output(out, again, limits, [result])
    assert again.getvalue() == out.getvalue()


@pytest.mark.parametrize("before", ["\t", "\n", "\r", "\n\t "])
def test_white_space_before_a_number_or_an_address_is_not_guarded(before: str) -> None:
    # Given white space that a spreadsheet would skip to find a formula,
    content = f'{HEADER}"{before}1",Lamp,"{before}https://a.example"\n'.replace("S. No.", f'"{before}-S. No."')

    # when the output is written,
    data = written(content, [FINE])

    # then the number and the address are the same still, and the column is found again.
    assert table(data) == [
        ["'-S. No.", "Product Name", "Input Image Urls", "Output Image Urls", "Image Errors"],
        ["1", "Lamp", "https://a.example", "https://o.example/1.jpg", ""],
    ]
    assert [row.serial_number for row in read_rows(io.BytesIO(data), LIMITS)] == ["1"]


def test_an_output_that_is_uploaded_again_is_filled_anew() -> None:
    # Given the output of an earlier request, with a column behind it,
    content = (
        "S. No.,Output image URLs,Product Name,Image Errors,Input Image Urls,Note,image_errors\n"
        "1,https://old.example,Lamp,1: Old.,https://a.example,'=1+1,1: Older.\n"
    )

    # when the new output is written,
    rows = table(written(content, [([None], ["New."])]))

    # then its columns hold the new results, where they stood, and are named as always, and nothing is guarded twice.
    assert rows == [
        ["S. No.", "Output Image Urls", "Product Name", "Image Errors", "Input Image Urls", "Note"],
        ["1", "", "Lamp", "1: New.", "https://a.example", "'=1+1"],
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        "+x",
        "-x",
        "-",
        "+",
        "-1+cmd|' /C calc'!A0",
        "+1(2)",
        "--1",
        "\uff1d1",
        "-5 -",
    ],
)
def test_a_formula_is_written_as_text(cell: str) -> None:
    assert escape_formula(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["", "Lamp", "-5", "+3.2", "-.5", "-5.", "-1,000.00", "+49 170 1234567", "-1e-5", "-5%", "a=b", "1-2", "'=1"],
)
def test_numbers_and_plain_text_are_written_as_they_are(cell: str) -> None:
    assert escape_formula(cell) == cell


def test_no_cell_of_the_output_is_a_formula() -> None:
    # Given formulas in the header and in a row,
    content = 'S. No.,Product Name,Input Image Urls,=A1\n1,=cmd(),https://a.example,-5\n2,"\t@x",https://a.example,+x\n'

    # when the output is written, then they are text, and numbers stay numbers.
    rows = table(written(content, [FINE, FINE]))
    assert rows[0][3] == "'=A1"
    assert [(row[1], row[3]) for row in rows[1:]] == [("'=cmd()", "-5"), ("'\t@x", "'+x")]


@pytest.mark.parametrize("results", [[], [FINE, FINE]])
def test_as_many_results_as_rows_are_needed(results: list[RowResult]) -> None:
    with pytest.raises(ValueError, match="argument 2 is"):
        written(f"{HEADER}1,Lamp,https://a.example\n", results)


def test_a_manifest_that_became_unreadable_is_refused() -> None:
    with pytest.raises(InvalidCsv):
        written(f'{HEADER}1,"Lamp', [FINE])


def test_it_is_written_in_pieces_and_others_get_their_turn() -> None:
    # Given a file of 1,000 rows and a sink that notes what it is given,
    content = HEADER + "".join(f"{n},Lamp,https://a.example\n" for n in range(1, 1_001))
    pieces: list[bytes] = []
    pauses: list[None] = []

    class Sink:
        def write(self, data: bytes) -> None:
            pieces.append(data)

    # when the output is written,
    write_output(
        io.BytesIO(content.encode()), Sink(), LIMITS, (FINE for _ in range(1_000)), lambda: pauses.append(None)
    )

    # then it came in pieces, with a pause after each.
    assert (len(pieces), len(pauses)) == (6, 5)
    assert len(table(b"".join(pieces))) == 1_001


cell = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n\r\t ",;=+-@'), max_size=20)


@settings(max_examples=200, deadline=2_000)
@given(st.lists(st.tuples(cell.filter(str.strip), cell), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_an_output_is_a_manifest_again(cells: list[tuple[str, str]], delimiter: str) -> None:
    # Given any table,
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["Note", "S. No.", "Product Name", "Input Image Urls"])
    writer.writerows(
        [note, number, name, "https://a.example/1,x,http://a.example"] for number, (name, note) in enumerate(cells, 1)
    )
    results: list[RowResult] = [(["https://o.example/a,b", None], [None, "No."])] * len(cells)

    # when its output is read,
    output = written(text.getvalue(), results)
    rows = list(read_rows(io.BytesIO(output), LIMITS))

    # then the cells are those of the input, guarded, and the results stand behind them;
    assert [row.cells for row in rows] == [
        (
            escape_formula(note),
            str(number),
            escape_formula(name),
            "https://a.example/1,x,http://a.example",
            "https://o.example/a,b,",
            "2: No.",
        )
        for number, (name, note) in enumerate(cells, 1)
    ]
    # and the output of the output is the same.
    assert written(output, results) == output


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Files as spreadsheets and people write them, most of which are accepted."""
    delimiter = draw(st.sampled_from(",;\t|:^~"))
    columns = ["S. No.", "Product Name", "Input Image Urls"]
    columns = [draw(st.sampled_from(["", "", "", "-", "\n", "\t", " "])) + name for name in columns]
    others = st.one_of(cell, st.sampled_from(["Image Errors", "output_image_urls", "a,b", "x;y;z", "sep=;"]))
    columns = draw(st.permutations(columns + draw(st.lists(others, max_size=4))))
    where = {name.strip("\n\t -"): index for index, name in enumerate(columns)}
    rows = draw(st.lists(st.lists(cell, min_size=len(columns), max_size=len(columns)), min_size=1, max_size=5))
    for number, row in enumerate(rows, start=1):
        space = draw(st.sampled_from(["", "", "", " ", "\n", "\t"]))
        row[where["S. No."]] = f"{space}{number}"
        row[where["Input Image Urls"]] = space + draw(st.sampled_from([",", "\n", " ; "])).join(
            ["https://a.example/ä?x=a,b:c", "http://b.example"]
        )
    text = io.StringIO(newline="")
    if draw(st.booleans()) or delimiter in ":^~":
        text.write(f"sep={delimiter}\n")
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=quoting).writerows([columns, *rows])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    return text.getvalue().encode(encoding, errors="replace")


@settings(max_examples=150, deadline=2_000)
@given(manifests())
def test_whatever_is_accepted_gives_an_output_that_is_accepted(content: bytes) -> None:
    # Given a file that is accepted,
    try:
        summary = validate(io.BytesIO(content), LIMITS, no_fault)
    except InvalidCsv:
        assume(False)
    before = list(read_rows(io.BytesIO(content), LIMITS))

    # when its output is read,
    results: list[RowResult] = [(["https://o.example/a,b", None], [None, "No."])] * summary.products
    output = written(content, results)
    again = validate(io.BytesIO(output), LIMITS, no_fault)
    after = list(read_rows(io.BytesIO(output), LIMITS))

    # then it is accepted, has the same products, and is its own output.
    assert (again.products, again.images) == (summary.products, summary.images)
    assert [(row.serial_number, row.image_urls) for row in after] == [
        (row.serial_number, row.image_urls) for row in before
    ]
    assert written(output, results) == output
