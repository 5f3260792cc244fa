"""Writing the output CSV: the uploaded rows with their results."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gql_imgproc.csvfile.formula_injection import escape_formula
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.validation import validate
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.errors import InvalidCsv
from tests.support.csv_rows import read_rows

LIMITS = CsvLimits(max_products=2_000, max_images=5_000, max_columns=10, max_field_chars=10_000)
HEADER = "S. No.,Product Name,Input Image Urls\n"
#: URLs and errors of the images of one row.
RowResult = tuple[list[str | None], list[str | None]]
ONE_RESULT: RowResult = (["https://o.example/1.jpg"], [None])


def output_of(content: str | bytes, results: list[RowResult]) -> bytes:
    out = io.BytesIO()
    file = io.BytesIO(content.encode() if isinstance(content, str) else content)
    write_output(file, out, io.BytesIO(), LIMITS, flatten(results))
    return out.getvalue()


def flatten(results: list[RowResult]) -> list[ReportedResult]:
    return [
        ReportedResult(url, error=error) for urls, errors in results for url, error in zip(urls, errors, strict=True)
    ]


def allow_any(url: str) -> None:
    """Allows every URL."""


def parse_table(data: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=delimiter, strict=True))


def test_rows_come_back_in_order_with_their_results() -> None:
    # Given three products: one completed, one with a failed image in the middle, one cancelled,
    content = (
        f"{HEADER}7,Lamp,https://a.example/1.jpg\n\n"
        '3,"Chair, ""red""","https://a.example/2,https://a.example/w_1,h_1,https://a.example/4"\n'
        "5,Desk,https://a.example/5.jpg\n"
    )
    results: list[RowResult] = [
        ONE_RESULT,
        (["https://o.example/2", None, "https://o.example/4"], [None, "The host does not answer.", None]),
        ([None], [None]),
    ]

    # when the output is written,
    data = output_of(content, results)

    # then it is the input without the blank row and with two more columns.
    assert data == (
        b"S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\r\n"
        b"7,Lamp,https://a.example/1.jpg,https://o.example/1.jpg,\r\n"
        b'3,"Chair, ""red""","https://a.example/2,https://a.example/w_1,h_1,https://a.example/4",'
        b'"https://o.example/2,,https://o.example/4",2: The host does not answer.\r\n'
        b"5,Desk,https://a.example/5.jpg,,\r\n"
    )


def test_several_errors_are_numbered() -> None:
    content = f'{HEADER}1,Lamp,"https://a.example/1,https://a.example/2,https://a.example/3"\n'
    result: RowResult = ([None, "https://o.example/2", None], ["Not found.", None, "Not an image."])

    rows = parse_table(output_of(content, [result]))

    assert rows[1][3:] == [",https://o.example/2,", "1: Not found. | 3: Not an image."]


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("cp1252", "cp1252")]
)
def test_the_output_has_the_encoding_of_the_input(encoding: str, written: str) -> None:
    # Given a file in one of the detected encodings,
    content = f"{HEADER}1,Löffel,https://a.example\n".encode(encoding)

    # when the output is written,
    out = io.BytesIO()
    encoding_of_output = write_output(io.BytesIO(content), out, io.BytesIO(), LIMITS, flatten([ONE_RESULT]))

    # then it is in the same encoding, byte order mark included.
    assert encoding_of_output == written
    assert out.getvalue() == (
        "S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\r\n"
        "1,Löffel,https://a.example,https://o.example/1.jpg,\r\n"
    ).encode(encoding)


def test_an_error_message_that_the_encoding_lacks_needs_another_one() -> None:
    # Given a Windows-1252 file, and an error message with another letter,
    content = f"{HEADER}1,Löffel,https://a.example\n".encode("cp1252")
    results = [ReportedResult(None, error="椅.example responded with status 404.")]

    # when the output is written, then nothing is replaced: the caller chooses UTF-8 with a mark.
    with pytest.raises(UnicodeEncodeError):
        write_output(io.BytesIO(content), io.BytesIO(), io.BytesIO(), LIMITS, results)
    out = io.BytesIO()
    write_output(io.BytesIO(content), out, io.BytesIO(), LIMITS, results, encoding="utf-8")
    assert out.getvalue().startswith(b"\xef\xbb\xbf")
    assert parse_table(out.getvalue())[1][1:] == [
        "Löffel",
        "https://a.example",
        "",
        "1: 椅.example responded with status 404.",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_output_has_the_delimiter_of_the_input(delimiter: str) -> None:
    content = f"{HEADER}1,Lamp,https://a.example\n".replace(",", delimiter)
    assert parse_table(output_of(content, [ONE_RESULT]), delimiter) == [
        ["S. No.", "Product Name", "Input Image Urls", "Output Image Urls", "Image Errors"],
        ["1", "Lamp", "https://a.example", "https://o.example/1.jpg", ""],
    ]


@pytest.mark.parametrize("line", ["sep=^\n", '"SEP=^"\r\n', "sep=^,,,\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_separator_line_is_written_again(line: str, encoding: str) -> None:
    # Given a file whose delimiter cannot be detected,
    content = line + f"{HEADER}1,Lamp,https://a.example\n".replace(",", "^")

    # when the output is written,
    data = output_of(content.encode(encoding), [ONE_RESULT])

    # then it names the delimiter too; otherwise its columns could not be found.
    assert data == (
        "sep=^\r\n"
        "S. No.^Product Name^Input Image Urls^Output Image Urls^Image Errors\r\n"
        "1^Lamp^https://a.example^https://o.example/1.jpg^\r\n"
    ).encode(encoding)
    assert [row.product_name for row in read_rows(io.BytesIO(data), LIMITS)] == ["Lamp"]


def test_an_ambiguous_header_is_quoted() -> None:
    # Given a tab-separated file with a column name that contains a comma-separated header,
    names = '"S. No.,Product Name,Input Image Urls,a,b,c"\tS. No.\tProduct Name\tInput Image Urls\n'
    content = f"{names}note\t1\tLamp\thttps://a.example\n"

    # when the output is written, then its header is unambiguous.
    data = output_of(content, [ONE_RESULT])
    assert data.startswith(b'"S. No.,Product Name,Input Image Urls,a,b,c"\t"S. No."\t')
    assert [row.product_name for row in read_rows(io.BytesIO(data), LIMITS)] == ["Lamp"]


def test_the_output_of_a_file_at_its_limits_can_be_uploaded() -> None:
    # Given the maximum number of columns, and cells of the maximum length before they are escaped,
    limits = CsvLimits(max_products=1, max_images=1, max_columns=4, max_field_chars=30, max_name_chars=20)
    content = f"Note,{HEADER}={'n' * 29},1,={'n' * 19},https://a.example\n"
    result: RowResult = (["https://o.example/" + "x" * 50], [None])
    assert validate(io.BytesIO(content.encode()), limits, allow_any).products == 1

    # when the output is written, then it is accepted, and so is its own output.
    out, again = io.BytesIO(), io.BytesIO()
    write_output(io.BytesIO(content.encode()), out, io.BytesIO(), limits, flatten([result]))
    assert validate(out, limits, allow_any).products == 1
    write_output(out, again, io.BytesIO(), limits, flatten([result]))
    assert again.getvalue() == out.getvalue()


@pytest.mark.parametrize("before", ["\t", "\n", "\r", "\n\t "])
def test_white_space_before_a_number_or_a_url_is_removed(before: str) -> None:
    # Given white space that a spreadsheet skips before a formula,
    content = f'{HEADER}"{before}1",Lamp,"{before}https://a.example"\n'.replace("S. No.", f'"{before}-S. No."')

    # when the output is written,
    data = output_of(content, [ONE_RESULT])

    # then the number and the URL are not escaped, and the column is still found.
    assert parse_table(data) == [
        ["'-S. No.", "Product Name", "Input Image Urls", "Output Image Urls", "Image Errors"],
        ["1", "Lamp", "https://a.example", "https://o.example/1.jpg", ""],
    ]
    assert [row.serial_number for row in read_rows(io.BytesIO(data), LIMITS)] == ["1"]


def test_results_of_an_uploaded_output_are_replaced() -> None:
    # Given the output of an earlier request, with other columns between and after its own,
    content = (
        "S. No.,Output image URLs,Product Name,Image Errors,Input Image Urls,Note,image_errors\n"
        "1,https://old.example,Lamp,1: Old.,https://a.example,'=1+1,1: Older.\n"
    )

    # when the new output is written,
    rows = parse_table(output_of(content, [([None], ["New."])]))

    # then its columns stay in place, with the new results and the usual names, and nothing is escaped twice.
    assert rows == [
        ["S. No.", "Output Image Urls", "Product Name", "Image Errors", "Input Image Urls", "Note"],
        ["1", "", "Lamp", "1: New.", "https://a.example", "'=1+1"],
    ]


def test_formulas_are_escaped_in_the_output() -> None:
    # Given formulas in the header and in a row,
    content = 'S. No.,Product Name,Input Image Urls,=A1\n1,=cmd(),https://a.example,-5\n2,"\t@x",https://a.example,+x\n'

    # when the output is written, then they are escaped, and numbers are not.
    rows = parse_table(output_of(content, [ONE_RESULT, ONE_RESULT]))
    assert rows[0][3] == "'=A1"
    assert [(row[1], row[3]) for row in rows[1:]] == [("'=cmd()", "-5"), ("'\t@x", "'+x")]


@pytest.mark.parametrize("results", [[], [ONE_RESULT, ONE_RESULT]])
def test_a_different_number_of_results_and_rows_is_an_error(results: list[RowResult]) -> None:
    with pytest.raises(ValueError, match="results"):
        output_of(f"{HEADER}1,Lamp,https://a.example\n", results)


def test_a_file_that_can_no_longer_be_read_is_refused() -> None:
    with pytest.raises(InvalidCsv):
        output_of(f'{HEADER}1,"Lamp', [ONE_RESULT])


def test_the_output_is_written_row_by_row_and_yields_control() -> None:
    # Given a file of 1,000 rows and a writer that records its pieces,
    content = HEADER + "".join(f"{n},Lamp,https://a.example\n" for n in range(1, 1_001))
    pieces: list[bytes] = []
    yields: list[None] = []

    class Writer:
        def write(self, data: bytes) -> None:
            pieces.append(data)

    # when the output is written,
    results = flatten([ONE_RESULT] * 1_000)
    write_output(io.BytesIO(content.encode()), Writer(), io.BytesIO(), LIMITS, results, lambda: yields.append(None))

    # then each row is written at once, and control is yielded after 200 of them.
    assert (len(pieces), len(yields)) == (1_001, 5)
    assert len(parse_table(b"".join(pieces))) == 1_001


cell = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n\r\t ",;=+-@'), max_size=20)


@settings(max_examples=200, deadline=2_000)
@given(st.lists(st.tuples(cell.filter(str.strip), cell), min_size=1, max_size=6), st.sampled_from(",;\t"))
def test_an_output_can_be_uploaded_again(cells: list[tuple[str, str]], delimiter: str) -> None:
    # Given a table with any text,
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(["Note", "S. No.", "Product Name", "Input Image Urls"])
    writer.writerows(
        [note, number, name, "https://a.example/1,x,http://a.example"] for number, (name, note) in enumerate(cells, 1)
    )
    results: list[RowResult] = [(["https://o.example/a,b", None], [None, "No."])] * len(cells)

    # when its output is read,
    output = output_of(text.getvalue(), results)
    rows = list(read_rows(io.BytesIO(output), LIMITS))

    # then the cells are those of the input, escaped, followed by the results,
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
    assert output_of(output, results) == output


@st.composite
def csv_files(draw: st.DrawFn) -> bytes:
    """Files as spreadsheets and users write them; most of them are accepted."""
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
@given(csv_files())
def test_the_output_of_an_accepted_file_is_accepted(content: bytes) -> None:
    # Given a file that is accepted,
    try:
        summary = validate(io.BytesIO(content), LIMITS, allow_any)
    except InvalidCsv:
        assume(False)
    before = list(read_rows(io.BytesIO(content), LIMITS))

    # when its output is read,
    results: list[RowResult] = [(["https://o.example/a,b", None], [None, "No."])] * summary.products
    output = output_of(content, results)
    again = validate(io.BytesIO(output), LIMITS, allow_any)
    after = list(read_rows(io.BytesIO(output), LIMITS))

    # then it is accepted, has the same products, and is its own output.
    assert (again.products, again.images) == (summary.products, summary.images)
    assert [(row.serial_number, row.image_urls) for row in after] == [
        (row.serial_number, row.image_urls) for row in before
    ]
    assert output_of(output, results) == output
