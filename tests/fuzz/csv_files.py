"""Valid, damaged and hostile CSV files."""

from __future__ import annotations

import csv
import io

from hypothesis import strategies as st

from tests.fuzz.mutations import damaged_bytes

_HEADERS = (
    ("S. No.", "Product Name", "Input Image Urls"),
    ("Serial Number", "Product Name", "Input Image Urls"),
    ("Note", "Input Image Urls", "S. No.", "Product Name"),
    ("S. No.", "Product Name", "Input Image Urls", "Output Image Urls", "Image Errors"),
    ("S. No.", "S. No.", "Product Name", "Input Image Urls"),
    ("S. No.", "Product Name"),
)
_URLS = (
    "https://shop.example/1.jpg",
    "https://shop.example/w_1,h_1/2.jpg,https://shop.example/3.jpg",
    "http://bücher.example/ä?x=1;y ; https://shop.example/4",
    "http://127.0.0.1/",
    "https://[::ffff:10.0.0.1]/",
    "ftp://shop.example/1",
    "https://shop.example:22/1",
    "https://user:secret@shop.example/",
    "https://xn--/1",
    "https://" + "a." * 130 + "example/",
    "",
)
_CELLS = (
    "Lamp",
    "Löffel",
    '5" screen',
    "=cmd|' /C calc'!A0",
    "a\nb",
    "\x00",
    "\ufeff",
    "\u202e",
    "\ud7ff",
    "日本",
    " ",
    "x" * 6_000,
)
_PLAIN = st.characters(exclude_categories=["Cc", "Cs"])
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-7")
#: Bytes that change how the rest of the file is read.
_INSERTIONS = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\0",
    b'"',
    b'""',
    b"sep=;\n",
    b"sep=\n",
    b'"sep=,"\r\n',
    b"\r",
    b"\n",
    b",",
    b";",
    b"\t",
    b"|",
    b"\x80",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xd8\x00",
    b"\x1a",
    b"PK\x03\x04",
    b"<html>",
    b"x" * 9_000,
    b"," * 300,
    b'"' * 301,
)


@st.composite
def _csv_files(draw: st.DrawFn) -> bytes:
    """Files as programs write them. Most cells are valid; otherwise no file would be accepted."""

    def mostly(usual: str, *unusual: str) -> str:
        return draw(st.sampled_from(unusual)) if draw(st.integers(0, 19)) == 0 else usual

    columns = draw(st.sampled_from(_HEADERS[:4])) if draw(st.integers(0, 9)) else draw(st.sampled_from(_HEADERS))
    rows: list[list[str]] = [list(columns)]
    for number in range(1, draw(st.integers(0, 5)) + 1):
        row = []
        for column in columns:
            match column:
                case "S. No." | "Serial Number":
                    row.append(mostly(str(number), "1", "01", "٣", "1.0", "-1", "9" * 400))
                case "Input Image Urls":
                    row.append(mostly(draw(st.sampled_from(_URLS[:3])), *_URLS))
                case "Product Name":
                    row.append(mostly("Lamp", *_CELLS, draw(st.text(max_size=12))))
                case _:
                    row.append(draw(st.sampled_from(_CELLS[:5]) | st.text(_PLAIN, max_size=12)))
        rows.append(row)
    text = io.StringIO(newline="")
    delimiter = draw(st.sampled_from(",,,;\t|:"))
    text.write(f"sep={delimiter}\n" if delimiter == ":" else mostly("", f"sep={delimiter}\n", "\n\n"))
    csv.writer(
        text,
        delimiter=delimiter,
        lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
    ).writerows(rows)
    return text.getvalue().encode(mostly(draw(st.sampled_from(_ENCODINGS[:4])), *_ENCODINGS), errors="replace")


def hostile_csv_files() -> st.SearchStrategy[bytes]:
    """Files as programs write them, damaged files, and random bytes."""
    files = _csv_files()
    return st.one_of(
        files, files.flatmap(lambda data: damaged_bytes(data, most=3, others=_INSERTIONS)), st.binary(max_size=300)
    )
