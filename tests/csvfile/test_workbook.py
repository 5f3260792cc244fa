"""Workbooks: read as CSV files in a process of their own, and written with the types of their cells."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from gql_imgproc.csvfile import workbook, workbook_process
from gql_imgproc.csvfile.layout import CsvLayout, NamedColumns
from gql_imgproc.csvfile.limits import CsvLimits
from gql_imgproc.csvfile.results import ReportedResult
from gql_imgproc.csvfile.sheet_writer import SheetWriter
from gql_imgproc.csvfile.typed_cells import Value, format_cell, parse_cell, split_row
from gql_imgproc.csvfile.validation import CsvSummary, validate
from gql_imgproc.csvfile.writer import write_output
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy
from gql_imgproc.errors import CsvIssueCode, InvalidCsv
from gql_imgproc.storage.temporary_file import temporary_file
from tests.csvfile.csv_cases import only_example_hosts

LIMITS = CsvLimits(max_products=2_000, max_images=5_000, max_columns=50, max_field_chars=10_000)
MAX_BYTES = 1_000_000
RESULTS = "https://img.example/api/image/"
LAYOUT = CsvLayout(results_url=RESULTS)
MOMENT = datetime.fromisoformat("2026-01-02 03:04:05")
GENERIC: list[list[Value]] = [
    ["S. No.", "Product Name", "Input Image Urls", "Price"],
    [1, "=Lamp", "https://a.example/1.jpg,https://a.example/2.jpg", 5.5],
    [],
    [2, "Desk", "https://a.example/3.jpg"],
]
SHOPIFY: list[list[Value]] = [
    ["Handle", "Title", "Image Src", "Published", "Price", "EAN", "Day", "Moment", "Hours", "Note"],
    [
        *("oak", "Oak", "https://a.example/1.jpg, https://a.example/2.jpg", True, 19.99, 12345678901234),
        *(date(2026, 1, 2), MOMENT, timedelta(hours=27, minutes=30), "=1+1"),
    ],
    [],
    ["007", 7, "https://a.example/3.jpg", False, -1, "00045", "", "", "", ' 5" wide\nand "more"'],
]
#: A sheet "Old" with our own header and a row, in the format of Excel before 2007.
XLS = zlib.decompress(
    base64.b85decode(
        "c-rk)O=uHA6#izDv`I|Uq^3$Ml%-"
        "(RS`vyE5!zHiOF?7&LlHr@%~G{#64DgZgH~&fg5XK<Qs~7?)r&vqL2n*}iXH?(Nc8AQQ1Q@aee<%ZY4y-"
        "REh_UZ^XAQ)dGq(?&Fsvp*<fMnerpj+&<h7jmIrlJGC{#pNd!RomL=Ir?51ET{8R9_$&hs}JZX4YFKsC8U4({v&gVpd4-"
        "`%ygIGFc>Z^!d+y_I*KJ*Y3xJ?p2TDVtDOoy1RWqOxOK4sd+l50$RsBA$T$80p#x!qpH$Fz3N^F!AAkaga%q#Mn6Ay@IG>!MuNg`L?mM"
        ")L2>Xmk274YFImnKH9RvVag7a2j7N9r#l5)MvVqudZBx<lh&|>whD^p*evGSf_Y_=dlLg95Tm&{mH}}4wIe1fxPliSdXQ{J|Lb=C&q_z"
        "ddwI#$#(}*nem)HFlr2&`jKpMjB4C#jAqsYr*pZ?*p5iV2%G0fk~AaT;j@`xuiVAi>jR6tzJa~LM>K&(=7a1L0ovE+?tFf|Z!jJ`$&v}"
        ")>C5NAMmYpnxGXhD+0Qu|%EJIUncvFv3fH=U`BtVO8Xd(Q@n)OZGs$JHa&8B;vyJg4x~YoaOnm;+fk$omkI^l}&-52Bgl67Gr_fI4Q-"
        "bv6H;FFMC2rl6cpR<7!rnXHGi~{0A8~5|yYH5L=rv*<US@+#%PBcKVj-"
        "p3b0xLK677qcmt{eoWm#UZwqqeBwdE}KYE5{+Q`c8@>UyD|prD|jprD|juu>5A-@5!8b^g3<$V(-^>&#Oqsb`Y^76*~0FGm;C-"
        "AGZK#rc}n&pNn7r7p2doyvQm#8GNJixCWRKSpX^zjT`u)#F*VVqoQ5sMhvNwe<53xBmmN;nM8"
    )
)


def make_workbook(*sheets: tuple[str, Sequence[Sequence[Value]]], hidden: str = "") -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"strings_to_formulas": False, "strings_to_urls": False}) as book:
        formats = {
            date: book.add_format({"num_format": "dd/mm/yyyy"}),
            datetime: book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            time: book.add_format({"num_format": "hh:mm:ss"}),
            timedelta: book.add_format({"num_format": "[h]:mm:ss"}),
        }
        for name, rows in sheets:
            sheet = book.add_worksheet(name)
            for row, cells in enumerate(rows):
                for column, cell in enumerate(cells):
                    sheet.write(row, column, cell, formats.get(type(cell)))
            if name == hidden:
                sheet.hide()
            else:
                sheet.activate()
    return file.getvalue()


def make_ods(name: str, rows: Sequence[Sequence[str]]) -> bytes:
    cells = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{cell}</text:p></table:table-cell>' for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    namespaces = "".join(
        f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr(
            "content.xml",
            f"<office:document-content{namespaces}><office:body><office:spreadsheet>"
            f'<table:table table:name="{name}">{cells}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return file.getvalue()


def read(data: bytes, layout: CsvLayout = LAYOUT, max_bytes: int = MAX_BYTES) -> tuple[bytes, CsvLayout, list[str]]:
    """The CSV file of a workbook, how it is read, and the messages of its warnings."""
    with temporary_file() as out:
        table = workbook.open_table(io.BytesIO(data), out, layout, max_bytes)
        table.file.seek(0)
        return table.file.read(), table.layout, [warning.message for warning in table.warnings]


def refusal_of(data: bytes, layout: CsvLayout = LAYOUT, max_bytes: int = MAX_BYTES) -> tuple[str, str]:
    with pytest.raises(InvalidCsv) as caught:
        read(data, layout, max_bytes)
    (issue,) = caught.value.issues
    return issue.code.value, issue.message


def check(data: bytes, layout: CsvLayout = LAYOUT) -> CsvSummary:
    table, read_as, _ = read(data, layout)
    return validate(io.BytesIO(table), LIMITS, only_example_hosts, layout=read_as)


def outputs_of(data: bytes, results: list[ReportedResult]) -> tuple[bytes, bytes]:
    """The output CSV and the output workbook."""
    out, book = io.BytesIO(), io.BytesIO()
    write_output(
        io.BytesIO(read(data)[0]), out, io.BytesIO(), LIMITS, results, layout=check(data).layout, workbook=book
    )
    return out.getvalue(), book.getvalue()


def cells_of(data: bytes) -> list[list[object]]:
    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    (name,) = book.sheet_names
    return [[*cells] for cells in book.get_sheet_by_name(name).iter_rows()]


def done(number: int) -> ReportedResult:
    return ReportedResult(f"{RESULTS}{number}.jpg")


FAILED = ReportedResult(None, "FAILED", "HTTP_STATUS", "=The host returned 404.")


def test_cells_are_read_as_the_sheet_shows_them() -> None:
    table, read_as, warnings = read(make_workbook(("Products", SHOPIFY)))

    # Texts stand between quotation marks, and numbers, dates and truth values do not.
    assert table.decode("utf-8-sig") == (
        '"Handle","Title","Image Src","Published","Price","EAN","Day","Moment","Hours","Note"\r\n'
        '"oak","Oak","https://a.example/1.jpg, https://a.example/2.jpg",TRUE,19.99,12345678901234,2026-01-02,'
        '2026-01-02 03:04:05,27:30:00,"=1+1"\r\n'
        ",,,,,,,,,\r\n"
        '"007",7,"https://a.example/3.jpg",FALSE,-1,"00045",,,," 5"" wide\nand ""more"""\r\n'
    )
    assert (read_as, warnings) == (CsvLayout(results_url=RESULTS, sheet="Products"), [])


def make_formatted_workbook() -> bytes:
    """Numbers with leading zeros, errors, and a formula that was never calculated, below and right of empty cells."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    book.add_worksheet("Other")
    sheet = book.add_worksheet("Products")
    zeros, price = book.add_format({"num_format": "00000;-00000"}), book.add_format({"num_format": "0.00"})
    sheet.write_row(1, 1, ["Handle", "Title", "Image Src", "SKU", "Price"])
    sheet.write_row(2, 1, ["oak", "Oak", "https://a.example/1.jpg"])
    sheet.write_number(2, 4, 123, zeros)
    sheet.write_number(2, 5, 5, price)
    sheet.write_row(4, 1, ["elm", "Elm"])
    sheet.write_formula(4, 3, "=NA()", None, "#N/A")
    sheet.write_number(4, 4, -7, zeros)
    sheet.write_formula(5, 1, "=B5", None, "elm")
    sheet.write_formula(5, 3, '=CONCAT("https://a.example/",2)', None, "")
    sheet.write_number(5, 4, 1234567, zeros)
    book.close()
    result = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"<v></v>", b""))
    return result.getvalue()


def test_leading_zeros_and_errors_are_read_as_the_sheet_shows_them() -> None:
    source = make_formatted_workbook()
    layout = replace(LAYOUT, sheet="Products")

    table, *_ = read(source, layout)

    assert table.decode("utf-8-sig").splitlines() == [
        ",,,,",
        '"Handle","Title","Image Src","SKU","Price"',
        '"oak","Oak","https://a.example/1.jpg","00123",5',
        ",,,,",
        '"elm","Elm","#N/A",-7,',
        '"elm",,"=CONCAT(""https://a.example/"",2)",1234567,',
    ]
    # A cell that is no URL is a problem with a place, and not a row without an image.
    summary = check(source, layout)
    assert [(issue.row, issue.column) for issue in summary.warnings] == [(5, "Image Src"), (6, "Image Src")]


def test_percentages_are_read_as_the_sheet_shows_them() -> None:
    # Given numbers in the formats of percentages, and next to them a text and a plain number,
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    sheet = book.add_worksheet("Products")
    sheet.write_row(0, 0, ["Handle", "Title", "Image Src", "A", "B", "C", "D", "E", "F", "G"])
    sheet.write_row(1, 0, ["oak", "Oak", "https://a.example/1.jpg"])
    formats = ["0%", "0.00%", "0.0%", "0%", "#,##0%", "0 %"]
    for column, (format, value) in enumerate(zip(formats, [0.5, 0.5, 1, 0.123456, -12, 0.07], strict=True), start=3):
        sheet.write_number(1, column, value, book.add_format({"num_format": format}))
    sheet.write(1, 9, "50%")
    sheet.write(2, 3, 0.5)
    book.close()
    source = file.getvalue()

    # when it is read, then no digit is lost,
    row = read(source)[0].decode("utf-8-sig").splitlines()[1]
    assert row == '"oak","Oak","https://a.example/1.jpg",50%,50.00%,100.0%,12.3456%,-1200%,7%,"50%"'

    # and the output has the same numbers, as percentages.
    _, output = outputs_of(source, [done(1)])
    assert cells_of(output)[1][3:] == cells_of(source)[1][3:]
    assert read(output)[0].decode("utf-8-sig").splitlines()[1].endswith(row.split(".jpg")[1])


ODS_NAMES = "".join(
    f' xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{prefix}:1.0"' for prefix in ("office", "table", "text")
)
CALC_NAMES = ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'


def make_calc_sheet(rows: Sequence[Sequence[tuple[str, str, str]]]) -> bytes:
    """A sheet of LibreOffice Calc, below an empty row: the attributes of each cell, and the text that it shows."""
    cells = (
        "".join(
            f'<table:table-cell office:value-type="{kind}" {attributes}><text:p>{text}</text:p></table:table-cell>'
            for kind, attributes, text in row
        )
        for row in rows
    )
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in cells)
    content = (
        f"<office:document-content{ODS_NAMES}{CALC_NAMES}><office:body><office:spreadsheet>"
        '<table:table table:name="Products"><table:table-row><table:table-cell/></table:table-row>'
        f"{table}</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", content)
    return file.getvalue()


def test_cells_of_an_ods_are_read_as_the_sheet_shows_them() -> None:
    names = ["Handle", "Title", "Image Src", "Share", "Tax", "Hours", "Code", "Error", "Price"]
    source = make_calc_sheet(
        [
            [("string", "", name) for name in names],
            [
                *(("string", "", text) for text in ("oak", "Oak", "https://a.example/1.jpg")),
                ("percentage", 'office:value="0.5"', "50%"),
                ("percentage", 'office:value="0.125"', "12,50 %"),
                ("time", 'office:time-value="PT27H30M05S"', "27:30:05"),
                ("float", 'office:value="123"', "00123"),
                ("string", 'office:string-value="" calcext:value-type="error"', "#N/A"),
                ("float", 'office:value="19.5"', "19.50"),
            ],
        ]
    )

    table = read(source)[0].decode("utf-8-sig").splitlines()

    assert table[-1] == '"oak","Oak","https://a.example/1.jpg",50%,12.50%,27:30:05,"00123","#N/A",19.5'


def test_long_numbers_keep_their_digits() -> None:
    rows: list[list[Value]] = [
        ["Handle", "Title", "Image Src", "ID"],
        ["oak", "", "https://a.example/1.jpg", 1234567890123456],
    ]
    source = make_workbook(("Products", rows))

    _, book = outputs_of(source, [done(1)])

    assert b",1234567890123456\r\n" in read(source)[0]
    assert cells_of(book)[1][3] == 1234567890123456


def test_a_workbook_is_recognized_and_its_problems_have_the_rows_of_the_sheet() -> None:
    # Given a sheet with blank rows above the header and among the products, and an invalid row,
    rows = [[], [], *SHOPIFY, ["elm", "Elm", "ftp://a.example/4.jpg"]]

    summary = check(make_workbook(("Products", rows)))

    assert (summary.layout.profile, summary.products, summary.images) == (CsvProfile.SHOPIFY, 2, 3)
    assert [(issue.row, issue.column) for issue in summary.warnings] == [(7, "Image Src")]


def test_the_output_of_a_shop_is_its_sheet_with_other_image_urls() -> None:
    # Given results, one of which failed,
    source = make_workbook(("Products", SHOPIFY))

    output, book = outputs_of(source, [done(1), FAILED, done(3)])

    # then every other cell has its value and its type, and a CSV file is there too.
    expected = cells_of(source)
    expected[1][2] = f"{RESULTS}1.jpg, https://a.example/2.jpg"
    expected[3][2] = f"{RESULTS}3.jpg"
    assert cells_of(book) == expected
    assert CalamineWorkbook.from_filelike(io.BytesIO(book)).sheet_names == ["Products"]
    table = read(source)[0]
    for number in (1, 3):
        table = table.replace(b"https://a.example/%d.jpg" % number, f"{RESULTS}{number}.jpg".encode())
    assert output == table

    # When it is uploaded again, then only the failed image is left to do, and the output stays as it is.
    assert (check(book).images, check(outputs_of(book, [done(2)])[1]).images) == (1, 0)
    assert outputs_of(book, [FAILED])[0] == output
    assert cells_of(outputs_of(book, [FAILED])[1]) == expected


def test_the_output_of_our_own_format_has_two_more_columns() -> None:
    source = make_workbook(("Products", GENERIC))
    results = [done(1), FAILED, done(3)]

    output, book = outputs_of(source, results)

    # Text that looks like a formula is escaped in CSV only: in a workbook it is text.
    assert cells_of(book) == [
        ["S. No.", "Product Name", "Input Image Urls", "Price", "Output Image Urls", "Image Errors"],
        [1, "=Lamp", GENERIC[1][2], 5.5, f"{RESULTS}1.jpg,", "2: =The host returned 404."],
        [2, "Desk", "https://a.example/3.jpg", "", f"{RESULTS}3.jpg", ""],
    ]
    assert b"\r\n1,'=Lamp,\"https://a.example/1.jpg" in output
    # Uploaded again, it keeps its columns.
    assert cells_of(outputs_of(book, results)[1]) == cells_of(book)


def test_the_first_visible_sheet_is_read_unless_another_one_is_named() -> None:
    data = make_workbook(("Notes", [["x"]]), ("Products", GENERIC), ("More", GENERIC), hidden="Notes")

    _, first, warnings = read(data)
    _, named, silent = read(data, CsvLayout(sheet="More"))

    assert (first.sheet, named.sheet, silent) == ("Products", "More", [])
    assert warnings == [
        'Only the sheet "Products" was read. To read another one, name it with the option `sheet`: "More".'
    ]
    assert refusal_of(data, CsvLayout(sheet="Orders")) == (
        "SHEET",
        'The workbook has no sheet "Orders"; found: "Products", "More".',
    )


@pytest.mark.parametrize(
    ("data", "sheet", "profile"),
    [
        (XLS, "Old", CsvProfile.GENERIC),
        (
            make_ods("Feuille", [["Handle", "Title", "Image Src"], ["a", "A", "https://a.example/1.jpg"]]),
            "Feuille",
            None,
        ),
    ],
)
def test_other_workbooks(data: bytes, sheet: str, profile: CsvProfile | None) -> None:
    layout = check(data).layout

    assert (layout.sheet, layout.profile) == (sheet, profile or CsvProfile.SHOPIFY)
    # An encoding of CSV files does not apply.
    assert check(data, CsvLayout(encoding="windows-1251")).images == 1


@pytest.mark.parametrize(
    "data",
    [b"S. No.,Product Name\n", b"PK\x03\x04 is the name of a chair\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99)],
)
def test_other_files_are_left_as_they_are(data: bytes) -> None:
    assert read(data) == (data, LAYOUT, [])
    assert refusal_of(data, CsvLayout(sheet="Products"))[0] == "SHEET"


def test_a_workbook_with_a_password_is_refused() -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000) + "EncryptedPackage".encode("utf-16-le")

    assert refusal_of(data) == (
        "NOT_CSV",
        "The workbook has a password. Save it without a password, then upload that.",
    )


def test_a_damaged_workbook_is_refused() -> None:
    # Given a workbook whose sheet ends within a cell,
    damaged = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(make_workbook(("Products", GENERIC)))) as good,
        zipfile.ZipFile(damaged, "w") as archive,
    ):
        for name in good.namelist():
            content = good.read(name)
            archive.writestr(name, content[:-200] if "sheet1" in name else content)

    code, message = refusal_of(damaged.getvalue(), replace(LAYOUT, sheet="Products"))

    assert code == "NOT_CSV"
    assert message.startswith("The workbook is damaged")


def test_a_small_file_with_a_huge_content_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook_process, "MAX_UNPACKED_BYTES", 4_000)
    monkeypatch.setattr(workbook_process, "CalamineWorkbook", None)

    with pytest.raises(InvalidCsv, match="CSV file has 1 problem") as caught:
        workbook_process.convert(make_workbook(("Products", GENERIC)), io.BytesIO(), "", MAX_BYTES)

    assert caught.value.issues[0].code is CsvIssueCode.LIMIT_EXCEEDED
    assert "when it is unpacked; the limits are 10,000 and 4,000." in caught.value.issues[0].message


def test_a_content_that_is_larger_than_the_directory_says_is_refused() -> None:
    # Given a workbook of 4 KB with a sheet of 1 MB, whose directory declares 1 KB,
    source, file = zipfile.ZipFile(io.BytesIO(make_workbook(("Products", GENERIC)))), io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name).replace(b"<sheetData>", b"<sheetData>" + b" " * 1_000_000))
        archive.getinfo("xl/worksheets/sheet1.xml").file_size = 1_000

    code, message = refusal_of(file.getvalue())

    assert code == "NOT_CSV"
    assert "File is larger than its declared uncompressed size" in message


def test_a_sheet_that_claims_a_billion_cells_is_refused() -> None:
    # Given a sheet with one cell in the last row and column,
    rows: list[list[Value]] = [["x"]]
    data = make_workbook(("Products", rows))
    source, file = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in source.namelist():
            last = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
            archive.writestr(name, source.read(name).replace(b"</sheetData>", last))

    code, message = refusal_of(file.getvalue())

    assert code == "LIMIT_EXCEEDED"
    assert message.startswith("Reading the workbook takes too much memory or time.")


def test_a_workbook_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "TIMEOUT_S", 0.001)

    assert refusal_of(make_workbook(("Products", GENERIC)))[0] == "LIMIT_EXCEEDED"


def test_a_sheet_that_is_too_large_as_text_is_refused() -> None:
    data = make_workbook(("Products", GENERIC))

    assert refusal_of(data, max_bytes=100) == (
        "LIMIT_EXCEEDED",
        "The sheet is larger than the limit of 100 bytes as text. Split it.",
    )


def test_a_cell_that_no_workbook_can_hold_is_refused() -> None:
    data = make_ods("Products", [["Handle"], ["x" * 32_768]])

    assert refusal_of(data) == (
        "FIELD_TOO_LONG",
        "Row 2 has a cell of more than 32,767 characters, the limit of Excel. Shorten it.",
    )


@pytest.mark.parametrize(("rows", "words"), [([], "The file is empty."), (SHOPIFY[:1], "has a header but no data row")])
def test_an_empty_sheet_is_refused_as_an_empty_file(rows: list[list[Value]], words: str) -> None:
    with pytest.raises(InvalidCsv) as caught:
        check(make_workbook(("Products", rows)))

    (issue,) = caught.value.issues
    assert issue.code is CsvIssueCode.EMPTY_FILE
    assert words in issue.message


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (1.0, "1"),
        (0.1 + 0.2, "0.3"),
        (1e20, "1e+20"),
        (-1e19, "-10000000000000000000"),
        (999999999999999.0, "999999999999999"),
        (date(1850, 1, 1), '"1850-01-01"'),
        (time(3, 4, 5), "03:04:05"),
        (-timedelta(hours=3), "-03:00:00"),
        (timedelta(0), "00:00:00.000"),
        ("", ""),
        ('5" pipe', '"5"" pipe"'),
    ],
)
def test_text_of_a_cell(value: Value, cell: str) -> None:
    assert format_cell(value) == cell


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.booleans()
        | st.floats(-1e15, 1e15).map(lambda number: float(f"{number:.15g}"))
        | st.dates(date(1900, 1, 1))
        | st.datetimes(datetime.fromisoformat("1900-01-01"))
        | st.times()
        | st.integers(-(10**9), 10**9).map(lambda milliseconds: timedelta(milliseconds=milliseconds))
    )
)
def test_cells_of_a_row_are_read_as_they_were_written(values: list[Value]) -> None:
    line = ",".join(map(format_cell, values)) + "\r\n"

    assert list(map(parse_cell, split_row(line))) == (values or [""])


@pytest.mark.parametrize(
    ("name", "written"), [("a/b:c", "a_b_c"), ("x" * 40, "x" * 31), ("'n'", "_n_"), ("", "Sheet1")]
)
def test_the_name_of_a_sheet_is_one_that_excel_accepts(name: str, written: str) -> None:
    file = io.BytesIO()
    SheetWriter(file, name).close()

    assert CalamineWorkbook.from_filelike(io.BytesIO(file.getvalue())).sheet_names == [written]


@pytest.mark.parametrize(
    "layout",
    [
        CsvLayout(CsvProfile.SHOPIFY, sheet="Products"),
        CsvLayout(
            CsvProfile.CUSTOM,
            NamedColumns(("Photo", "More"), id="Code"),
            InvalidRowPolicy.SKIP_ROW,
            encoding="windows-1251",
            results_url=RESULTS,
            skipped_rows=frozenset((3, 7)),
        ),
    ],
)
def test_a_layout_is_the_same_after_it_was_stored(layout: CsvLayout) -> None:
    assert CsvLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_a_layout_of_an_earlier_version_can_be_read() -> None:
    stored = {"profile": "SHOPIFY", "columns": None, "on_invalid_row": None, "results_url": None, "skipped_rows": [2]}

    assert CsvLayout.from_json(stored) == CsvLayout(CsvProfile.SHOPIFY, skipped_rows=frozenset((2,)))
    assert CsvLayout.from_json(None) == CsvLayout(CsvProfile.GENERIC)
