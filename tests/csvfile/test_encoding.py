"""Detection of the encoding, and of files that are not CSV."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from gql_imgproc.csvfile.reader import open_csv
from gql_imgproc.errors import CsvIssueCode
from tests.csvfile.csv_cases import (
    HEADER,
    LIMITS,
    ROW,
    check,
    refusal_of,
    rows_of,
)


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
    assert (reader.format.encoding, reader.format.has_bom) == (detected, has_bom)
    assert reader.format.warnings == ()
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
