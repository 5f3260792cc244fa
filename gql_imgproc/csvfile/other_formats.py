"""Files that are no CSV: what they are, by their start, so that a message can say it."""

from __future__ import annotations

import re

_ZIP = rb"PK\x03\x04"
_BINARY = tuple(
    (re.compile(pattern, re.DOTALL), name)
    for pattern, name in (
        (_ZIP + rb".{0,170}opendocument\.spreadsheet", "a damaged OpenDocument spreadsheet (.ods)"),
        (_ZIP + rb".{0,180}opendocument", "an OpenDocument file"),
        (_ZIP + rb".*Index/.*\.iwa", "an Apple Numbers, Pages or Keynote document"),
        (_ZIP + rb".*word/", "a Word document (.docx)"),
        (_ZIP + rb".*(?:\[Content_Types\]\.xml|xl/|_rels/)", "a damaged Excel workbook (.xlsx)"),
        (_ZIP, "a ZIP archive"),
        (rb"PK\x05\x06", "an empty ZIP archive"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a damaged file of an old Office program (.xls)"),
        (rb"%PDF-", "a PDF document"),
        (rb"\x89PNG\r\n\x1a\n", "a PNG image"),
        (rb"\xff\xd8\xff", "a JPEG image"),
        (rb"GIF8[79]a", "a GIF image"),
        (rb"II\*\x00|MM\x00\*", "a TIFF image"),
        (rb"RIFF.{4}WEBP", "a WebP image"),
        (rb".{4}ftyp", "an AVIF or HEIC image or a video"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"BZh", "a bzip2 archive"),
        (rb"\xfd7zXZ\x00", "an xz archive"),
        (rb"\x28\xb5\x2f\xfd", "a Zstandard archive"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
        (rb"Rar!\x1a\x07", "a RAR archive"),
        (rb".{257}ustar", "a tar archive"),
        (rb"SQLite format 3\x00", "an SQLite database"),
        (rb"PAR1", "a Parquet file"),
        (rb"\x7fELF", "a program"),
    )
)
_TEXT = tuple(
    (re.compile(rf"\s*{pattern}", re.DOTALL | re.IGNORECASE), name)
    for pattern, name in (
        ("(?:<!doctype html|<html|<.*<head)", "a web page (HTML)"),
        ("<", "XML or HTML"),
        (r"\{\\rtf", "a rich text document (RTF)"),
        (r"[{\[]", "JSON"),
    )
)


def binary_format(head: bytes) -> str | None:
    return next((name for pattern, name in _BINARY if pattern.match(head)), None)


def text_format(head: str) -> str | None:
    return next((name for pattern, name in _TEXT if pattern.match(head)), None)
