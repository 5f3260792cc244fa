"""Detection of the encoding, and of files that are not CSV."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from gql_imgproc.csvfile.encoding import charset_of, find_codec
from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.csvfile.reader import RowKind, open_csv
from gql_imgproc.csvfile.validation import validate
from gql_imgproc.errors import CsvIssueCode, InvalidCsv
from gql_imgproc.storage.paths import output_charset, output_name
from tests.csvfile.csv_cases import (
    HEADER,
    LIMITS,
    ROW,
    check,
    problems_of,
    refusal_of,
    rows_of,
)

# ruff: noqa: RUF001 (the files of other languages have such characters)


@pytest.mark.parametrize(
    ("encoding", "detected", "has_bom"),
    [
        ("utf-8", "utf-8", False),
        ("utf-8-sig", "utf-8", True),
        ("utf-16-le", "utf-16-le", True),
        ("utf-16-be", "utf-16-be", True),
    ],
)
def test_utf8_and_byte_order_marks_are_read_without_warning(encoding: str, detected: str, has_bom: bool) -> None:
    # Given a file in Excel's format "Unicode text", or in CSV UTF-8,
    content = (HEADER + "1,Löffel 木 🥄,https://a.example/1.jpg\n").replace(",", "\t")
    data = (("\ufeff" if "16" in encoding else "") + content).encode(encoding)

    # when it is opened,
    reader = open_csv(io.BytesIO(data), LIMITS)

    # then the encoding is detected without a warning, and the text is complete.
    assert (reader.text.encoding, reader.text.bom_bytes > 0) == (detected, has_bom)
    assert reader.text.warnings == ()
    assert [row.product_name for row in rows_of(data)] == ["Löffel 木 🥄"]


@pytest.mark.parametrize("name", ["Löffel €", "Caf\xe9"])
def test_windows_1252_is_read_with_a_warning(name: str) -> None:
    # Given a file of an older spreadsheet program, whose last byte may be the only one that is not UTF-8,
    data = f"Input Image Urls,S. No.,Product Name\nhttps://a.example/1.jpg,1,{name}".encode("cp1252")

    # when it is checked,
    summary = check(data)

    # then it is accepted with a warning that says how to save it as UTF-8.
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
def test_a_file_truncated_within_its_only_non_ascii_character_is_refused(row: str, letter: str) -> None:
    # Given a file in which only the last character shows that it is not Windows-1252,
    whole = (HEADER + ROW + row + letter).encode()

    for missing in range(1, len(letter.encode())):
        # when it is truncated within that character, where no row can end,
        error = refusal_of(whole[:-missing])

        # then the truncation is reported, not a missing column.
        assert [(issue.code.value, issue.row) for issue in error.issues] == [("ENCODING", 3)]
        assert error.issues[0].message == (
            "The file ends in the middle of a character in row 3, so it is truncated. Export or transfer it again."
        )


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00\x08\x00[Content_Types].xml", "damaged Excel workbook (.xlsx)"),
        (b"PK\x03\x04mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "damaged OpenDocument spreadsheet"),
        (b"PK\x03\x04something", "ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "damaged file of an old Office program (.xls)"),
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
def test_a_binary_file_is_refused_with_its_type(data: bytes, kind: str) -> None:
    error = refusal_of(data)
    assert [(issue.code.value, issue.row) for issue in error.issues] == [("NOT_CSV", None)]
    assert kind in error.issues[0].message
    assert "CSV UTF-8" in error.issues[0].message


def zipped(*names: str, first: tuple[str, bytes] | None = None) -> bytes:
    """Returns an archive with these entries, as office programs write it."""
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
            "a damaged Excel workbook (.xlsx)",
        ),
        (zipped("xl/workbook.bin", "[Content_Types].xml"), "a damaged Excel workbook (.xlsx)"),
        (zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"), "a Word document (.docx)"),
        (zipped("content.xml", first=ODS), "a damaged OpenDocument spreadsheet (.ods)"),
        (zipped("content.xml", first=ODT), "an OpenDocument file"),
        (zipped("Index/Document.iwa", "Index/Tables/Tile.iwa"), "an Apple Numbers, Pages or Keynote document"),
        (zipped("products.csv"), "a ZIP archive"),
        (zipped(), "an empty ZIP archive"),
        (gzip.compress(HEADER.encode(), mtime=0), "a gzip archive"),
        (HEADER.encode() + bytes(200), "an unknown binary file"),
    ],
)
def test_a_spreadsheet_is_refused_with_how_to_save_it_as_csv(data: bytes, kind: str) -> None:
    (issue,) = refusal_of(data).issues

    assert (issue.code.value, issue.row, issue.column) == ("NOT_CSV", None, None)
    assert issue.message == (
        f'The file is {kind}, not a CSV file. Open it in a spreadsheet program, choose "Save as" or "Download" and'
        ' the type "CSV UTF-8", then upload that.'
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((HEADER + ROW).encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ((HEADER + ROW).encode("utf-16-be"), "UTF-16 without a byte order mark"),
        ((HEADER + ROW).encode("utf-32"), "UTF-32"),
        ((HEADER + ROW + "2,").encode() + b"\x81", "Line 3 contains bytes that are neither"),
        (b"\xef\xbb\xbf" + (HEADER + ROW).encode() + b"\xe9 ", "marked as UTF-8, but line 3"),
        ((HEADER + ROW).encode("utf-16") + b"\x00\xdcx\x00", "marked as UTF-16-LE"),
        # A file that ends within a character is truncated, if it is in the encoding at all:
        ((HEADER + "1,Löffel,").encode() + b"\xc3", "ends in the middle of a character in line 2"),
        (b"\xef\xbb\xbf" + (HEADER + ROW).encode() + b"\xe9", "ends in the middle of a character in line 3"),
        ((HEADER + ROW).encode("utf-16") + b"x", "ends in the middle of a character in line 3"),
        # it has a byte order mark, or other non-ASCII letters, or is not Windows-1252.
        ((HEADER + "1,").encode() + "あ".encode()[:2], "ends in the middle of a character in line 2"),
    ],
)
def test_an_unknown_or_broken_encoding_is_refused(data: bytes, words: str) -> None:
    error = refusal_of(data)
    assert [(issue.code.value, issue.row) for issue in error.issues] == [("ENCODING", None)]
    assert words in error.issues[0].message


def test_a_byte_that_is_not_utf8_is_refused_in_a_utf8_file() -> None:
    # Given a UTF-8 file with one row that was pasted from another encoding,
    data = (
        HEADER.encode()
        + "1,Café Stühle,https://a.example/1.jpg\n2,Größe L,https://a.example/2.jpg\n".encode()
        + b"3,Bro\xe9,https://a.example/3.jpg\n4,Lamp,https://a.example/4.jpg\n"
    )

    # when it is checked, then it is not read as another encoding: the line is named.
    (issue,) = refusal_of(data).issues
    assert (issue.code.value, issue.row) == ("ENCODING", None)
    assert issue.message.startswith("Line 4 contains a byte that is not UTF-8, but the text before it is. Type")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("cp1251", "Стул дубовый"),
        ("cp1251", "дуб"),
        ("koi8-r", "Стул"),
        ("gbk", "木椅"),
        ("gbk", "红色 chair"),
        ("big5", "椅子"),
        ("shift_jis", "木の椅子"),
        ("euc-kr", "의자"),
        ("cp1250", "Židle dřevěná"),
        ("cp1250", "Stůl"),
        ("cp1250", "stół"),
        ("cp1250", "Szőlő"),
        ("cp1250", "gyűrű"),
        ("cp1250", "pătrat"),
        ("cp1250", "kuća žuta"),
        ("iso-8859-2", "Židle"),
        ("cp1253", "φως"),
        ("cp1253", "Τραπέζι"),
        ("cp1254", "Işıklı çerçeve"),
        ("cp1254", "ahşap"),
        ("cp1257", "krēsls"),
        ("cp1255", "כיסא"),
        ("cp1256", "كرسي"),
        ("cp874", "เก้าอี้"),
        ("mac_roman", "Café"),
        ("mac_roman", "Löffel"),
        ("mac_roman", "España"),
        ("mac_roman", "María"),
        ("mac_roman", "salón"),
        ("mac_roman", "Größe"),
        ("mac_roman", "blå bøg"),
        ("mac_roman", "Tisch 20 °C"),
        ("cp850", "Löffel"),
        ("cp437", "Café"),
    ],
)
def test_text_in_another_encoding_is_never_read_as_windows_1252(encoding: str, name: str) -> None:
    # Given a file without any sign of its encoding,
    data = f"{HEADER}1,Lamp,https://a.example/1.jpg\n2,{name},https://a.example/2.jpg\n".encode(encoding)

    # when it is checked, then it is refused with its line, rather than read as garbage.
    (issue,) = refusal_of(data).issues
    assert (issue.code.value, issue.row) == ("ENCODING", None)
    assert issue.message.startswith(("Line 3 contains bytes that are neither UTF-8 nor", "Line 3 contains a byte that"))


@pytest.mark.parametrize(
    "names",
    [
        "Café Stühle,Größe 20 m² – weiß,Löffel €",
        "Crème brûlée aux œufs,jusqu’à 20 °C,l’été à l’hôtel « Noël »,aujourd’hui",
        "don’t,we’ve,kids’ “quotes”,5 × 3 cm ±1,¼ pint £5 §3",
        "Silla española nº 5,¿Sí? ¡Olé!,cafetería jamón cigüeña",
        "opções põe mãe manhã coração,irmãs",
        "città perché virtù lunedì,dell’arte,un’altra,quest’anno",
        "smørrebrød på træ,sänky pöytä kääntö,strøelse,Ångström Øl",
        "Íþróttaskór,borð nýr þægilegur dýna",
        "història col·lecció lluç qüestió",
        "Nescafé® Brand™,10–20 cm,Paris–Lyon,wait… done",
        "ÉCLAIR GRÖSSE ÜBER,„Wort“ ‚Wort‘,m³ ft²",
    ],
)
def test_western_languages_are_read_as_windows_1252(names: str) -> None:
    content = HEADER + "".join(
        f"{number},{name},https://a.example/1.jpg\n" for number, name in enumerate(names.split(","), start=1)
    )
    assert [row.product_name for row in rows_of(content.encode("cp1252"))] == names.split(",")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("marks", ["\x1a", "\x1a\x1a"])
def test_end_marks_of_dos_are_ignored(encoding: str, marks: str) -> None:
    summary = check((HEADER + ROW + marks).encode(encoding))
    assert (summary.products, summary.warnings) == (1, ())


def test_a_file_of_end_marks_is_empty() -> None:
    assert problems_of(b"\x1a\x1a") == [("EMPTY_FILE", None, None)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_second_byte_order_mark_is_ignored_with_a_warning(encoding: str) -> None:
    # Given a file with two marks before a quoted name,
    data = ('\ufeff\ufeff"S. No.","Product Name","Input Image Urls"\n' + ROW).encode(encoding)

    # when it is checked, then its header is read, and the warning says why.
    (warning,) = check(data).warnings
    assert warning.message == "The file starts with more than one byte order mark. Only the first one was used."


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("windows-1251", "Стул дубовый"),
        ("Shift_JIS", "木の椅子"),
        ("GBK", "木椅"),
        ("macintosh", "Größe"),
        ("UTF-16LE", "木"),
        ("UTF-8", "Größe"),
        ("ISO-8859-2", "Židle dřevěná"),
    ],
)
def test_a_given_encoding_decides(encoding: str, name: str) -> None:
    # Given a file without a byte order mark, and the encoding that its user names,
    content = f"{HEADER}1,{name},https://a.example/1.jpg\n"
    data = content.encode("mac_roman" if encoding == "macintosh" else encoding)

    # when it is opened, then the text is complete, without a warning.
    reader = open_csv(io.BytesIO(data), LIMITS, CsvLayout(encoding=encoding))
    assert [cells[1] for _, cells, kind in reader.iter_records() if kind is RowKind.DATA] == [name]
    assert reader.text.warnings == ()


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (
            (HEADER + "1,Größe,").encode("cp1252"),
            "UTF-8",
            "The encoding was given as UTF-8, but line 2 is not valid in it.",
        ),
        ((HEADER + ROW).encode("utf-16"), "windows-1251", "marked as UTF-16-LE, but the given encoding is cp1251"),
    ],
)
def test_a_wrong_encoding_is_refused(data: bytes, encoding: str, words: str) -> None:
    with pytest.raises(InvalidCsv) as caught:
        open_csv(io.BytesIO(data), LIMITS, CsvLayout(encoding=encoding))
    (issue,) = caught.value.issues
    assert issue.code is CsvIssueCode.ENCODING
    assert words in issue.message


def test_a_shops_file_that_its_encoding_would_write_with_other_bytes_is_refused() -> None:
    # Given the two codes of Windows-31J for the same sign, of which one is written,
    written, other = (
        b"Handle,Title,Image Src\r\noak,%b,https://a.example/1.jpg\r\n" % code for code in (b"\x81\xe0", b"\x87\x90")
    )
    layout = CsvLayout(encoding="cp932")

    # when they are uploaded, then only the file that comes back unchanged is accepted.
    assert validate(io.BytesIO(written), LIMITS, lambda url: None, layout=layout).images == 1
    with pytest.raises(InvalidCsv) as caught:
        validate(io.BytesIO(other), LIMITS, lambda url: None, layout=layout)
    assert [issue.code for issue in caught.value.issues] == [CsvIssueCode.ENCODING]


@pytest.mark.parametrize(
    "name", ["", "utf-99", "utf-7", "cp037", "idna", "unicode_escape", "rot13", "base64", "\0", "hz"]
)
def test_only_encodings_of_text_that_contain_ascii_are_known(name: str) -> None:
    assert find_codec(name) is None


@pytest.mark.parametrize(
    ("codec", "charset"),
    [
        ("utf-8", "utf-8"),
        ("cp1252", "windows-1252"),
        ("utf-16-le", "utf-16"),
        ("iso8859-2", "iso-8859-2"),
        ("gbk", "gbk"),
    ],
)
def test_media_types_name_the_charset(codec: str, charset: str) -> None:
    assert charset_of(codec) == charset
    assert output_charset(output_name(1, charset)) == charset
