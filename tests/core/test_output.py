"""Writing the output CSV: the manifest again, with its results."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.core.manifest import ManifestLimits, read_rows
from gql_imgproc.core.output import RowResult, as_text, write_output
from gql_imgproc.errors import ManifestRefused

LIMITS = ManifestLimits(max_products=2_000, max_images=5_000, max_columns=10, max_field_chars=10_000)
HEADER = "S. No.,Product Name,Input Image Urls\n"
FINE: RowResult = (["https://o.example/1.jpg"], [None])


def written(content: str | bytes, results: list[RowResult]) -> bytes:
    out = io.BytesIO()
    write_output(io.BytesIO(content.encode() if isinstance(content, str) else content), out, LIMITS, results)
    return out.getvalue()


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


def test_a_line_that_names_the_delimiter_is_not_written() -> None:
    content = f"sep=;\n{HEADER}1,Lamp,https://a.example\n".replace(",", ";")
    assert written(content, [FINE]).startswith(b"S. No.;Product Name;")


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
    assert as_text(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell",
    ["", "Lamp", "-5", "+3.2", "-.5", "-5.", "-1,000.00", "+49 170 1234567", "-1e-5", "-5%", "a=b", "1-2", "'=1"],
)
def test_numbers_and_plain_text_are_written_as_they_are(cell: str) -> None:
    assert as_text(cell) == cell


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
    with pytest.raises(ManifestRefused):
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
            as_text(note),
            str(number),
            as_text(name),
            "https://a.example/1,x,http://a.example",
            "https://o.example/a,b,",
            "2: No.",
        )
        for number, (name, note) in enumerate(cells, 1)
    ]
    # and the output of the output is the same.
    assert written(output, results) == output
