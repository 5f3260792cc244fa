"""Reading a manifest (promise P8): what is understood, and every problem of what is not, with its place."""

from __future__ import annotations

import csv
import gzip
import io
import resource
import time
import tracemalloc
import zipfile
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.csvfile.header import match_field
from gql_imgproc.csvfile.reader import CsvLimits, CsvSummary, ProductRow, open_csv, read_rows, validate
from gql_imgproc.csvfile.serial_numbers import DENSE, SerialNumbers
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

LIMITS = CsvLimits(max_products=1_000, max_images=5_000, max_columns=10, max_field_chars=10_000)
HEADER = "S. No.,Product Name,Input Image Urls\n"
ROW = "1,Lamp,https://a.example/1.jpg\n"

Problem = tuple[str, int | None, str | None]


def only_example_hosts(url: str) -> tuple[CsvIssueCode, str] | None:
    if not url.lower().startswith(("http://", "https://")):
        return CsvIssueCode.IMAGE_URL_INVALID, "Use http or https."
    if "private" in url:
        return CsvIssueCode.IMAGE_URL_FORBIDDEN, "The address is private."
    return None


def check(content: str | bytes, limits: CsvLimits = LIMITS) -> CsvSummary:
    data = content.encode() if isinstance(content, str) else content
    return validate(io.BytesIO(data), limits, only_example_hosts)


def rows_of(content: str | bytes, limits: CsvLimits = LIMITS) -> list[ProductRow]:
    data = content.encode() if isinstance(content, str) else content
    return list(read_rows(io.BytesIO(data), limits))


def refused(content: str | bytes, limits: CsvLimits = LIMITS) -> InvalidCsv:
    with pytest.raises(InvalidCsv) as caught:
        check(content, limits)
    for issue in caught.value.issues:
        assert issue.message.isprintable()
        assert issue.message.endswith(".")
    return caught.value


def problems(content: str | bytes, limits: CsvLimits = LIMITS) -> list[Problem]:
    refusal = refused(content, limits)
    assert refusal.total == len(refusal.issues)
    return [(issue.code.value, issue.row, issue.column) for issue in refusal.issues]


def outcome(data: bytes, limits: CsvLimits = LIMITS) -> CsvSummary | InvalidCsv:
    try:
        return check(data, limits)
    except InvalidCsv as refusal:
        return refusal


class Generated(io.RawIOBase):
    """A file that is never anywhere as a whole: `head`, then `body(index)` as long as it gives bytes."""

    def __init__(self, head: bytes, size: int, body: bytes) -> None:
        super().__init__()
        self.head, self.size, self.body = head, size, body
        self.place = self.furthest = 0

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        assert whence == 0
        self.place = offset
        return offset

    def read(self, count: int = -1) -> bytes:
        count = max(0, min(count, self.size - self.place))
        data = self.head[self.place : self.place + count]
        missing = count - len(data)
        if missing:
            start = (self.place + len(data) - len(self.head)) % len(self.body)
            data += (self.body * (missing // len(self.body) + 2))[start : start + missing]
        self.place += count
        self.furthest = max(self.furthest, self.place)
        return data


# What is understood.


def test_a_plain_file_is_read_as_its_rows() -> None:
    # Given two products, one of them with two pictures,
    content = HEADER + ROW + '007,"Chair, blue","https://a.example/2.jpg,https://a.example/3.jpg"\n'

    # when the file is checked and read,
    summary, rows = check(content), rows_of(content)

    # then both are there as they were written.
    assert summary == CsvSummary(products=2, images=3, warnings=())
    assert rows == [
        ProductRow(
            position=0,
            row=2,
            serial_number="1",
            product_name="Lamp",
            image_urls=("https://a.example/1.jpg",),
            cells=("1", "Lamp", "https://a.example/1.jpg"),
        ),
        ProductRow(
            position=1,
            row=3,
            serial_number="007",
            product_name="Chair, blue",
            image_urls=("https://a.example/2.jpg", "https://a.example/3.jpg"),
            cells=("007", "Chair, blue", "https://a.example/2.jpg,https://a.example/3.jpg"),
        ),
    ]


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
def test_columns_go_by_several_names(header: str) -> None:
    assert check(f"{header}\n{ROW}") == CsvSummary(1, 1, ())


@pytest.mark.parametrize("name", ["Name", "#", "Output Image Urls", "Image", "Serial", "Product", "", "Number"])
def test_other_columns_are_not_taken_for_ours(name: str) -> None:
    assert match_field(name) is None


def test_columns_stand_in_any_order_and_others_are_kept() -> None:
    # Given our columns backwards, with two others of the same name between them,
    content = "Note,Input Image Urls,Note,Product Name,S. No.\nx, https://a.example/1.jpg ,y, Lamp , 1 \n"

    # when it is read,
    (row,) = rows_of(content)

    # then ours are found and stripped, and all cells stay as they are.
    assert (row.serial_number, row.product_name, row.image_urls) == ("1", "Lamp", ("https://a.example/1.jpg",))
    assert row.cells == ("x", " https://a.example/1.jpg ", "y", " Lamp ", " 1 ")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_the_delimiter_is_told_from_the_header(delimiter: str, line_end: str) -> None:
    # Given a file whose cells contain the other delimiters,
    other = ";" if delimiter == "," else ","
    lines = [
        ["S. No.", f'"Product Name"{delimiter}"A{delimiter}B"', "Input Image Urls"],
        ["1", f'"Lamp{other} tall"{delimiter}x', '"https://a.example/1.jpg"'],
    ]
    content = line_end.join(delimiter.join(cells) for cells in lines)

    # when it is opened,
    reader = open_csv(io.BytesIO(content.encode()), LIMITS)

    # then its delimiter is told, and quoted ones are text.
    assert reader.format.delimiter == delimiter
    assert reader.format.header == ("S. No.", "Product Name", f"A{delimiter}B", "Input Image Urls")
    assert [row.product_name for row in rows_of(content)] == [f"Lamp{other} tall"]


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_line_that_names_the_delimiter_is_no_row(line: str) -> None:
    content = f"{line}\r\nS. No.;Product Name, long;Product Name;Input Image Urls\r\n1;a;;https://a.example/1.jpg\r\n"
    assert problems(content) == [("PRODUCT_NAME_EMPTY", 2, "Product Name")]


def test_the_delimiter_named_may_be_one_that_is_not_guessed() -> None:
    content = "sep=^\nS. No.^Product Name^Input Image Urls\n1^Lamp^https://a.example/1.jpg\n"
    assert open_csv(io.BytesIO(content.encode()), LIMITS).format.delimiter == "^"
    assert check(content).products == 1


def test_spaces_after_delimiters_are_skipped_when_the_header_has_them() -> None:
    content = 'S. No., Product Name, Input Image Urls\n1, "Lamp, tall", "https://a.example/1.jpg"\n'
    assert [row.cells for row in rows_of(content)] == [("1", "Lamp, tall", "https://a.example/1.jpg")]


@pytest.mark.parametrize(
    ("encoded_as", "told_as", "has_bom"),
    [
        ("utf-8", "utf-8", False),
        ("utf-8-sig", "utf-8", True),
        ("utf-16-le", "utf-16-le", True),
        ("utf-16-be", "utf-16-be", True),
    ],
)
def test_encodings_with_a_mark_and_utf8_are_read_silently(encoded_as: str, told_as: str, has_bom: bool) -> None:
    # Given a file as Excel's "Unicode text", or as CSV UTF-8,
    content = (HEADER + "1,Löffel 木 🥄,https://a.example/1.jpg\n").replace(",", "\t")
    data = (("\ufeff" if "16" in encoded_as else "") + content).encode(encoded_as)

    # when it is opened,
    reader = open_csv(io.BytesIO(data), LIMITS)

    # then nothing is guessed and nothing is lost.
    assert (reader.format.encoding, reader.format.has_bom) == (told_as, has_bom)
    assert reader.format.warnings == ()
    assert [row.product_name for row in rows_of(data)] == ["Löffel 木 🥄"]


@pytest.mark.parametrize("name", ["Löffel €", "Caf\xe9"])
def test_windows_1252_is_read_with_a_warning(name: str) -> None:
    # Given a file as older spreadsheet programs write it, its last byte perhaps the first that is not UTF-8,
    data = f"Input Image Urls,S. No.,Product Name\nhttps://a.example/1.jpg,1,{name}".encode("cp1252")

    # when it is checked,
    summary = check(data)

    # then it is accepted with a warning that tells how to do better.
    (warning,) = summary.warnings
    assert (warning.code, warning.row, warning.column) == (CsvIssueCode.ENCODING, None, None)
    assert "CSV UTF-8" in warning.message
    assert "line 2" in warning.message
    assert [row.product_name for row in rows_of(data)] == [name]


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        ("2,L", "ö"),
        ("2,", "木"),
        ("2,Spoon ", "🥄"),
        ('2,"L', "ö"),
        ('2,"Spoon, ', "🥄"),
        ("2,Spoon,https://a.example/l", "ö"),
        ('2,Spoon,"https://a.example/2.jpg,https://a.example/l', "ö"),
    ],
)
def test_a_file_cut_off_within_its_first_foreign_letter_is_told_so(row: str, letter: str) -> None:
    # Given a file of which nothing but the very end tells that it is no Windows-1252,
    whole = (HEADER + ROW + row + letter).encode()

    for missing in range(1, len(letter.encode())):
        # when it was cut off within that letter, where no row can end,
        refusal = refused(whole[:-missing])

        # then it is the end that is missing, not a column.
        assert [(issue.code.value, issue.row) for issue in refusal.issues] == [("ENCODING", 3)]
        assert refusal.issues[0].message == (
            "The file ends in the middle of a character in row 3, so it is truncated. Export or transfer it again."
        )


def test_blank_rows_are_skipped_and_counted() -> None:
    # Given blank rows before, between and after the rows, and a cell of two lines,
    content = f'\n,,\n{HEADER}\n1,"La\nmp",https://a.example/1.jpg\n , ,\n,,,,\n2,Chair,https://a.example/2.jpg\n,,\n'

    # when it is read,
    rows = rows_of(content)

    # then the rows are those of a spreadsheet.
    assert [(row.position, row.row, row.product_name) for row in rows] == [(0, 5, "La\nmp"), (1, 8, "Chair")]
    assert check(content).products == 2


def test_empty_cells_beyond_the_header_are_tolerated() -> None:
    content = f"S. No.,Product Name,Input Image Urls,,\n1,Lamp,https://a.example/1.jpg,, ,\n2{ROW[1:]}"
    assert [row.cells for row in rows_of(content)] == [
        ("1", "Lamp", "https://a.example/1.jpg"),
        ("2", "Lamp", "https://a.example/1.jpg"),
    ]
    assert check(content).products == 2


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ("https://a.example/1.jpg", ["https://a.example/1.jpg"]),
        ("http://a.example/1,http://a.example/2", ["http://a.example/1", "http://a.example/2"]),
        (" http://a.example/1 , http://a.example/2 ,", ["http://a.example/1", "http://a.example/2"]),
        (
            "http://a.example/1\nhttp://a.example/2;\r\nhttp://b.example/",
            ["http://a.example/1", "http://a.example/2", "http://b.example/"],
        ),
        ("http://a.example/w_1,h_2/x.jpg,HTTPS://b.example", ["http://a.example/w_1,h_2/x.jpg", "HTTPS://b.example"]),
        ("http://a.example/?from=http://b.example/c", ["http://a.example/?from=http://b.example/c"]),
        ("http://a.example/;v=1;x,http://b.example/;", ["http://a.example/;v=1;x", "http://b.example/"]),
        (",,http://a.example/1,, ,;http://a.example/1", ["http://a.example/1", "http://a.example/1"]),
        ("http://a.example/ä", ["http://a.example/ä"]),
    ],
)
def test_addresses_are_split_only_before_a_scheme(cell: str, urls: list[str]) -> None:
    (row,) = rows_of(f'{HEADER}1,Lamp,"{cell}"\n')
    assert list(row.image_urls) == urls
    assert check(f'{HEADER}1,Lamp,"{cell}"\n').images == len(urls)


def test_a_quotation_mark_inside_an_unquoted_cell_is_text() -> None:
    assert rows_of(f'{HEADER}1,Pipe 5" wide,https://a.example/1.jpg\n2{ROW[1:]}')[0].product_name == 'Pipe 5" wide'


def test_iterating_gives_rows_and_issues_in_the_order_of_the_file() -> None:
    # Given a bad row between two good ones,
    content = f"{HEADER}{ROW}x,,https://a.example/1.jpg\n3{ROW[1:]}"

    # when the manifest is iterated,
    found = list(open_csv(io.BytesIO(content.encode()), LIMITS))

    # then the bad row gives its issues, and keeps its position.
    places = [(item.position, item.row) if isinstance(item, ProductRow) else item.code.value for item in found]
    assert places == [(0, 2), "SERIAL_NUMBER_INVALID", "PRODUCT_NAME_EMPTY", (2, 4)]


# What is refused as a whole.


@pytest.mark.parametrize(
    "content", ["", "\n\n", ",,,\n,,", ";;\n\t", "\ufeff", "sep=;\n", HEADER, HEADER.strip(), f"{HEADER}\n,,\n"]
)
def test_a_file_without_a_data_row_is_empty(content: str) -> None:
    assert problems(content) == [("EMPTY_FILE", None, None)]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00[Content_Types].xml", "Excel workbook (.xlsx)"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "OpenDocument spreadsheet"),
        (b"PK\x03\x04something", "ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "old Excel workbook (.xls)"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(10), "PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(10), "JPEG image"),
        (b"GIF89a", "GIF image"),
        (b"RIFF\x01\x02\x03\x04WEBPVP8 ", "WebP image"),
        (b"\x00\x00\x00\x1cftypavif", "AVIF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"SQLite format 3\x00" + bytes(50), "SQLite"),
        (bytes(range(256)) * 8, "unknown binary file"),
        (bytes(5000), "unknown binary file"),
    ],
)
def test_a_binary_file_is_named(data: bytes, kind: str) -> None:
    refusal = refused(data)
    assert [(issue.code.value, issue.row) for issue in refusal.issues] == [("NOT_CSV", None)]
    assert kind in refusal.issues[0].message
    assert "CSV UTF-8" in refusal.issues[0].message


def zipped(*names: str, first: tuple[str, bytes] | None = None) -> bytes:
    """An archive with such entries, as office programs write it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if first:
            archive.writestr(zipfile.ZipInfo(first[0]), first[1])
        for name in names:
            archive.writestr(name, b"<xml/>" * 50)
    return file.getvalue()


ODS = ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet")
ODT = ("mimetype", b"application/vnd.oasis.opendocument.text")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (
            zipped("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "xl/worksheets/sheet1.xml"),
            "an Excel workbook (.xlsx)",
        ),
        (zipped("xl/workbook.bin", "[Content_Types].xml"), "an Excel workbook (.xlsx)"),
        (zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"), "a Word document (.docx)"),
        (zipped("content.xml", first=ODS), "an OpenDocument spreadsheet (.ods)"),
        (zipped("content.xml", first=ODT), "an OpenDocument file"),
        (zipped("Index/Document.iwa", "Index/Tables/Tile.iwa"), "an Apple Numbers, Pages or Keynote document"),
        (zipped("products.csv"), "a ZIP archive, perhaps an Excel workbook (.xlsx)"),
        (zipped(), "an empty ZIP archive"),
        (gzip.compress(HEADER.encode(), mtime=0), "a gzip archive"),
        (HEADER.encode() + bytes(200), "an unknown binary file"),
    ],
)
def test_a_spreadsheet_named_csv_hears_how_to_become_one(data: bytes, kind: str) -> None:
    (issue,) = refused(data).issues

    assert (issue.code.value, issue.row, issue.column) == ("NOT_CSV", None, None)
    assert issue.message == (
        f'The file is {kind}, not a CSV file. Open it in a spreadsheet program, choose "Save as" or "Download" and'
        ' the type "CSV UTF-8", then upload that.'
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a,b,c," + HEADER, ("LIMIT_EXCEEDED", 1, None)),
        (f"a,{HEADER}x,{ROW}x,2,{'x' * 31},https://a.example\n", ("FIELD_TOO_LONG", 3, "Product Name")),
        (f"{HEADER}1,Lamp,https://a.example/{'x' * 14}\n", ("FIELD_TOO_LONG", 2, "Input Image Urls")),
        (HEADER + "".join(f"{n},Lamp,https://a.example\n" for n in range(1, 5)), ("LIMIT_EXCEEDED", 5, None)),
    ],
)
def test_each_limit_is_told_with_its_place(content: str, expected: tuple[str, int, str | None]) -> None:
    assert problems(content, CsvLimits(3, 4, 5, 30)) == [expected]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((HEADER + ROW).encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ((HEADER + ROW).encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ((HEADER + ROW).encode("utf-32"), "UTF-32"),
        ((HEADER + ROW + "2,").encode() + b"\x81", "Line 3 contains bytes that are neither"),
        (b"\xef\xbb\xbf" + (HEADER + ROW).encode() + b"\xe9 ", "marked as UTF-8, but line 3"),
        ((HEADER + ROW).encode("utf-16") + b"\x00\xdcx\x00", "marked as UTF-16-LE"),
        # What ends within a character was cut off, if it is in the encoding at all:
        ((HEADER + "1,Löffel,").encode() + b"\xc3", "ends in the middle of a character in line 2"),
        (b"\xef\xbb\xbf" + (HEADER + ROW).encode() + b"\xe9", "ends in the middle of a character in line 3"),
        ((HEADER + ROW).encode("utf-16") + b"x", "ends in the middle of a character in line 3"),
        # a mark says so, other letters say so, and so does what is no Windows-1252.
        ((HEADER + "1,").encode() + "あ".encode()[:2], "ends in the middle of a character in line 2"),
    ],
)
def test_an_encoding_that_cannot_be_told_is_said_so(data: bytes, words: str) -> None:
    refusal = refused(data)
    assert [(issue.code.value, issue.row) for issue in refusal.issues] == [("ENCODING", None)]
    assert words in refusal.issues[0].message


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
        ("S. No.,Product Name\n1,a\n", 1, 'The column is missing: "Input Image Urls"'),
        ("S. No.,Prodct Name,Input Image Urls\n", 1, 'rename "Prodct Name" to "Product Name"'),
        ("No,Name,Images\n", 1, 'rename "Images" to "Input Image Urls"'),
        ("\n\nfoo,bar\n", 3, 'found: "foo", "bar"'),
        ("S. No.:Product Name:Input Image Urls\n", 1, 'found: "S. No.:Product Name:Input Image Urls"'),
    ],
)
def test_a_header_that_is_none_is_explained(content: str, row: int | None, words: str) -> None:
    refusal = refused(content)
    assert [(issue.code.value, issue.row, issue.column) for issue in refusal.issues] == [("HEADER", row, None)]
    assert words in refusal.issues[0].message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("S. No.,Serial Number,Product Name,Input Image Urls", [("COLUMN_DUPLICATE", 1, "Serial Number")]),
        ("S. No.,Product Name,Product Name,Input Image Urls", [("COLUMN_DUPLICATE", 1, "Product Name")]),
        (
            "Image Urls,Product Name,Input Image Urls",
            [("HEADER", 1, None), ("COLUMN_DUPLICATE", 1, "Input Image Urls")],
        ),
        ("S. No.,Product Name,Input Image Urls,a,b,c,d,e,f,g,h", [("LIMIT_EXCEEDED", 1, None)]),
        ("S. No.,Product Name,Input Image Urls,a\x07b", [("CHARACTER_INVALID", 1, "a\N{MIDDLE DOT}b")]),
        ('"S. No."x,Product Name,Input Image Urls', [("QUOTE_INVALID", 1, None)]),
        ('S. No.,Product Name,"Input Image Urls', [("QUOTE_INVALID", 1, None)]),
        ("S. No.,Product Name,Input Image Urls,,,,,,,,,,,,", [("EMPTY_FILE", None, None)]),
    ],
)
def test_everything_that_is_wrong_in_the_header_is_told(header: str, expected: list[Problem]) -> None:
    assert problems(f"{header}\n") == expected


# What is refused in a row.


@pytest.mark.parametrize(
    "serial_number",
    ["", " ", "0", "000", "-1", "+1", "1.0", "1.", "1,000", "A1", "1e3", "\N{FULLWIDTH DIGIT ONE}", "9" * 31],
)
def test_a_serial_number_is_a_positive_whole_number(serial_number: str) -> None:
    content = f'{HEADER}"{serial_number}",Lamp,https://a.example/1.jpg\n'
    assert problems(content) == [("SERIAL_NUMBER_INVALID", 2, "S. No.")]


@pytest.mark.parametrize(("written", "meant"), [("1.0", "1"), ("1,000", "1000"), ("12 345", "12345"), ("5.", "5")])
def test_a_serial_number_as_spreadsheets_write_it_is_mended_in_the_message(written: str, meant: str) -> None:
    refusal = refused(f'{HEADER}"{written}",Lamp,https://a.example/1.jpg\n')
    assert refusal.issues[0].message.endswith(f'digits only: "{meant}".')


def test_a_serial_number_is_used_once_however_it_is_written() -> None:
    # Given numbers that are equal in value, small and large,
    large = str(DENSE * 10)
    serials = ["7", "8", "007", " 8 ", large, f"0{large}", str(DENSE - 1), str(DENSE - 1)]
    content = HEADER + "".join(f"{serial},Lamp,https://a.example/1.jpg\n" for serial in serials)

    # when the file is checked,
    refusal = refused(content)

    # then each repetition is told, with the row it repeats where that is known.
    assert [(issue.code.value, issue.row) for issue in refusal.issues] == [
        ("SERIAL_NUMBER_DUPLICATE", row) for row in (4, 5, 7, 9)
    ]
    assert ["row 2" in refusal.issues[0].message, "row 3" in refusal.issues[1].message] == [True, True]
    assert "in an earlier row" in refusal.issues[2].message
    assert "row 8" in refusal.issues[3].message


@given(st.lists(st.one_of(st.integers(1, 5_000), st.integers(DENSE - 3, DENSE + 3), st.integers(1, 10**30))))
def test_seen_serial_numbers_are_remembered_exactly(numbers: list[int]) -> None:
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
def test_every_problem_of_a_row_is_told_in_the_order_of_its_columns(rows: str, expected: list[Problem]) -> None:
    # Given a bad row, and after it a good one and another bad one,
    content = f"{HEADER}{rows}\n77{ROW[1:]}x{ROW[1:]}"

    # when the file is checked, then the good row is silent, and reading went on to the end.
    assert problems(content) == [*expected, ("SERIAL_NUMBER_INVALID", 4, "S. No.")]


def test_problems_are_placed_in_columns_of_any_order() -> None:
    content = "Input Image Urls,Note,Product Name,S. No.\nx,\x07,,0\n"
    assert problems(content) == [
        ("IMAGE_URL_INVALID", 2, "Input Image Urls"),
        ("CHARACTER_INVALID", 2, "Note"),
        ("PRODUCT_NAME_EMPTY", 2, "Product Name"),
        ("SERIAL_NUMBER_INVALID", 2, "S. No."),
    ]


def test_a_message_names_the_address_shortened_and_without_its_password() -> None:
    url = f"https://me:secret@private.example/{'x' * 500}/end.jpg"
    message = refused(f"{HEADER}1,Lamp,{url}\n").issues[0].message
    assert message.startswith('"https://...@private.example/xxx')
    assert message.endswith('xxx/end.jpg": The address is private.')
    assert "secret" not in message
    assert len(message) < 150


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Text after a closing mark: the next row is certain, so reading goes on.
        (
            '1,"Lamp" tall,https://a.example/1.jpg\nx{row}',
            [("QUOTE_INVALID", 2, None), ("SERIAL_NUMBER_INVALID", 3, "S. No.")],
        ),
        # A mark that is never closed swallows all the rest; what came before is told.
        (
            'x{row}1,"Lamp,https://a.example/1.jpg\nx{row}',
            [("SERIAL_NUMBER_INVALID", 2, "S. No."), ("QUOTE_INVALID", 3, None)],
        ),
        # One that is closed by the next cell's: nobody can tell the rows in between.
        ('1,"Lamp{row}2,"Chair",x\nx{row}', [("QUOTE_INVALID", 2, None)]),
        # Rows count as in a spreadsheet, many lines in a cell or not.
        ('1,"La\n\nmp",https://a.example/1.jpg\n2,"a"b,c\n', [("QUOTE_INVALID", 3, None)]),
        ('1,Lamp,"', [("QUOTE_INVALID", 2, None)]),
    ],
)
def test_quotation_marks_that_do_not_pair_are_placed_where_they_open(rows: str, expected: list[Problem]) -> None:
    assert problems(HEADER + rows.replace("{row}", ROW[1:])) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Closed, as it seems, by the mark that opens a cell of the next row, or of one much later.
        ('1,Lamp,U\n2,"B,U\n3,"C",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
        ('1,Lamp,U\n2,"B,U\n3,C,U\n4,D,U\n5,"E",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
        ('1,"A\n\nB",U\n2,"B,U\n3,"C",U\n', "Perhaps the one that opens a cell in row 3 is not closed"),
    ],
)
def test_an_earlier_quotation_mark_is_suspected_where_lines_lie_between(rows: str, expected: str) -> None:
    (issue,) = refused(HEADER + rows.replace("U", "https://a.example/1.jpg")).issues
    assert (issue.code.value, issue.row) == ("QUOTE_INVALID", 3)
    assert issue.message == (
        "In row 3 text follows a closing quotation mark some lines below the opening one. "
        f"{expected}: close it, or write it twice if it is part of the text. The rest of the file was not read."
    )


def test_limits_on_the_whole_file_are_told_once() -> None:
    # Given a limit of 3 products and 4 images, and a file with 6 rows of 2,
    limits = CsvLimits(max_products=3, max_images=4, max_columns=5, max_field_chars=1_000)
    content = HEADER + "".join(f'{n},Lamp,"https://a.example/1,https://a.example/2"\n' for n in range(1, 7))

    # when it is checked,
    refusal = refused(content, limits)

    # then each limit is told with the first row beyond it, and what to do.
    assert [(issue.code.value, issue.row, issue.column) for issue in refusal.issues] == [
        ("LIMIT_EXCEEDED", 4, "Input Image Urls"),
        ("LIMIT_EXCEEDED", 5, None),
    ]
    assert all("Split the file." in issue.message for issue in refusal.issues)
    assert refusal.total == 2


def test_as_much_as_the_limits_allow_is_accepted() -> None:
    limits = CsvLimits(max_products=2, max_images=2, max_columns=3, max_field_chars=17)
    content = f"{HEADER}1,Lamp,https://a.example\n2,{'x' * 17},https://a.example\n\n"
    assert check(content, limits) == CsvSummary(2, 2, ())


def test_a_row_has_at_most_so_many_images() -> None:
    # Given a row with one address too many, the last of the allowed ones forbidden,
    limits = CsvLimits(10, 100, 5, 1_000, max_images_per_product=2)
    content = f'{HEADER}1,Lamp,"https://a.example,https://private.example,https://private.example"\n'

    # when it is checked, then the limit and the address within it are told.
    assert problems(content, limits) == [
        ("LIMIT_EXCEEDED", 2, "Input Image Urls"),
        ("IMAGE_URL_FORBIDDEN", 2, "Input Image Urls"),
    ]


def test_the_first_issues_are_told_and_all_are_counted() -> None:
    # Given 450 rows without a name, every other one without an address too,
    content = HEADER + "".join(f"{n},,{'https://a.example' if n % 2 else ''}\n" for n in range(1, 451))

    # when it is checked,
    refusal = refused(content)

    # then the first 100 are there in order, and all are counted.
    assert refusal.total == 450 + 225
    assert len(refusal.issues) == 100
    assert [issue.row for issue in refusal.issues[:4]] == [2, 3, 3, 4]


def test_other_threads_get_their_turn() -> None:
    content = HEADER + "".join(f"{n}{ROW[1:]}" for n in range(1, 1_000))
    pauses: list[None] = []
    validate(io.BytesIO(content.encode()), LIMITS, only_example_hosts, lambda: pauses.append(None))
    assert len(pauses) == 5


def test_a_file_that_changed_since_it_was_accepted_is_refused_when_read() -> None:
    with pytest.raises(InvalidCsv):
        rows_of(f"{HEADER}1,Lamp\n")
    with pytest.raises(InvalidCsv):
        rows_of(f'{HEADER}1,"Lamp')


# Size.


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        (b"", b"x", ("FIELD_TOO_LONG", 1)),
        (b"", b"x,", ("FIELD_TOO_LONG", 1)),
        (HEADER.encode(), b"x", ("FIELD_TOO_LONG", 2)),
        (HEADER.encode() + b'1,"', b"x", ("FIELD_TOO_LONG", 2)),
        (HEADER.encode() + ROW.encode() + b'2,"', b"3,b,c\n", ("QUOTE_INVALID", 3)),
        (HEADER.encode() + ROW.encode() + b'2,"', b'x\n""', ("FIELD_TOO_LONG", 3)),
    ],
)
def test_a_gigabyte_without_a_row_is_refused_in_little_memory(
    head: bytes, body: bytes, expected: tuple[str, int]
) -> None:
    # Given a row of a gigabyte (a tenth of it where all of it must be read to know that no mark closes the cell),
    size = 10**8 if b"\n" in body else 10**9
    file = Generated(head, size, body)

    # when it is checked,
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(InvalidCsv) as caught:
        validate(file, CsvLimits(1_000_000, 5_000_000, 100, 250_000), only_example_hosts)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # then it is given up early, having kept little.
    assert [(issue.code.value, issue.row) for issue in caught.value.issues] == [expected]
    assert peak < 100 * 1024 * 1024
    assert seconds < 20
    if b"\n" not in body:
        assert file.furthest < 20 * 1024 * 1024


def lines(count: int) -> Iterator[bytes]:
    yield HEADER.encode()
    for number in range(1, count + 1):
        yield b'%d,Product %d,"https://a.example/%d.jpg,https://b.example/%d.jpg"\n' % (number, number, number, number)


def test_memory_does_not_grow_with_the_file() -> None:
    # Given a file of 200,000 rows,
    count = 200_000
    file = io.BytesIO(b"".join(lines(count)))
    limits = CsvLimits(1_000_000, 5_000_000, 100, 250_000)

    # when it is checked and read,
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    summary = validate(file, limits, only_example_hosts)
    read = sum(1 for _ in read_rows(file, limits))
    seconds = time.process_time() - started
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    # then it is quick, and little more than its serial numbers is kept.
    assert (summary, read) == (CsvSummary(count, 2 * count, ()), count)
    assert grown_kib < 20 * 1024
    assert seconds < 10


@pytest.mark.parametrize(
    "cell", ["," * 9_999, ", ; " * 2_499, "http:/" * 1_666, "a://" * 2_499, " " * 9_999, "+" * 9_999, "a," * 4_999]
)
def test_no_cell_takes_long(cell: str) -> None:
    content = HEADER + "".join(f'"{cell}","{cell}","{cell}"\n' for _ in range(20))
    started = time.process_time()
    refused(content)
    assert time.process_time() - started < 2


# Whatever comes.


@settings(max_examples=300, deadline=2_000)
@given(
    st.binary(max_size=3_000),
    st.sampled_from([b"", HEADER.encode(), b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"sep=;\n"]),
)
def test_any_bytes_are_accepted_or_refused_with_reasons(data: bytes, before: bytes) -> None:
    found = outcome(before + data)
    if isinstance(found, InvalidCsv):
        assert found.total >= len(found.issues) >= 1
        for issue in found.issues:
            assert issue.message.isprintable()
            assert issue.column is None or issue.column.isprintable()


@settings(max_examples=300, deadline=2_000)
@given(
    st.lists(
        st.sampled_from(
            [
                '"',
                ",",
                ";",
                "\n",
                "\r",
                "\r\n",
                "1",
                "2",
                " ",
                "Lamp",
                "https://a.example",
                "\x00",
                "é",
                "=",
                "\t",
                "x" * 60,
            ]
        ),
        max_size=60,
    ),
    st.sampled_from(["utf-8", "cp1252", "utf-16"]),
)
def test_any_mix_of_what_csv_is_made_of_is_accepted_or_refused(pieces: list[str], encoding: str) -> None:
    limits = CsvLimits(3, 4, 5, 50, max_row_chars=200)
    data = (HEADER + "".join(pieces)).encode(encoding)
    found = outcome(data, limits)
    if isinstance(found, InvalidCsv):
        rows = [issue.row for issue in found.issues if issue.row is not None]
        assert rows == sorted(rows)
    else:
        read = rows_of(data, limits)
        assert (len(read), sum(len(row.image_urls) for row in read)) == (found.products, found.images)


class Dripping(io.BytesIO):
    """A file that gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, count: int | None = -1) -> bytes:
        return super().read(self.most if count is None or count < 0 else min(count, self.most))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_it_does_not_matter_where_the_blocks_end(encoding: str, most: int) -> None:
    # Given a file with everything that a border can fall into,
    content = (
        "sep=;\r\nS. No.;Product Name;Input Image Urls\r\n\r\n"
        '1;"Löf\r\n\rfel; ""ä""";"https://a.example,https://b.example"\r\n2;b;https://b.example\r3;c;https://c.example\r'
    ).encode(encoding)

    # when it comes in pieces of any size,
    rows = list(read_rows(Dripping(content, most), LIMITS))

    # then it is the same file.
    assert rows == rows_of(content)
    assert [(row.row, row.product_name) for row in rows] == [(3, 'Löf\r\n\rfel; "ä"'), (4, "b"), (5, "c")]


@pytest.mark.parametrize("header", ["\N{NO-BREAK SPACE},\N{NO-BREAK SPACE}", ",\N{ZERO WIDTH NO-BREAK SPACE}", "|,;"])
def test_a_header_of_nothing_visible_is_none(header: str) -> None:
    assert problems(f"{header}\n1,2\n") in ([("HEADER", 1, None)], [("HEADER", 2, None)])


cell_text = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n\r\t ",;|'), max_size=30)
address = st.builds(
    "{}://{}.example/{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.text("abc", min_size=1, max_size=5),
    st.text("abc/?=%&,;:@é", max_size=10).map(lambda path: path.rstrip(",;")).filter(lambda path: "://" not in path),
)
product = st.tuples(cell_text.filter(str.strip), st.lists(address, min_size=1, max_size=4), cell_text)


@settings(max_examples=200, deadline=2_000)
@given(
    st.lists(product, min_size=1, max_size=8),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\r\n", "\n"]),
    st.permutations(range(4)),
)
def test_what_a_spreadsheet_writes_is_read_as_it_was(
    products: list[tuple[str, list[str], str]], delimiter: str, encoding: str, line_end: str, order: list[int]
) -> None:
    # Given a table, written in any of the usual ways,
    table = [("S. No.", "Product Name", "Input Image Urls", "Note")]
    table += [(str(n), name, ",".join(urls), note) for n, (name, urls, note) in enumerate(products, start=1)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([cells[index] for index in order] for cells in table)
    data = text.getvalue().encode(encoding)

    # when it is checked and read,
    summary, rows = check(data), rows_of(data)

    # then nothing was changed.
    assert summary == CsvSummary(len(products), sum(len(urls) for _, urls, _ in products), ())
    assert [(row.product_name, list(row.image_urls)) for row in rows] == [
        (name.strip(), urls) for name, urls, _ in products
    ]
    assert [row.cells for row in rows] == [tuple(cells[index] for index in order) for cells in table[1:]]


def test_issues_are_values() -> None:
    issue = refused("").issues[0]
    assert issue == CsvIssue(CsvIssueCode.EMPTY_FILE, issue.message)
