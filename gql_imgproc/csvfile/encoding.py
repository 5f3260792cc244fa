"""The encoding of a CSV file: bytes -> text, block by block.

The byte order mark names the encoding. Without one it is strict UTF-8, else Windows-1252 with a warning. Statistical
detection is not used because it is often wrong. All bytes are read first: the only byte that is not UTF-8 may be the
last one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gql_imgproc.csvfile.messages import csv_error
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: Bytes read at once: large enough to keep the overhead of Python small, and small enough for any memory.
BLOCK_BYTES = 64 * 1024

#: Bytes at the start of the file that identify its type.
HEAD_BYTES = 4096

SAVE_AS_UTF8 = 'In the spreadsheet program choose "Save as" and the type "CSV UTF-8 (comma delimited)".'
SAVE_AS_CSV = (
    'Open it in a spreadsheet program, choose "Save as" or "Download" and the type "CSV UTF-8", then upload that.'
)

#: Control characters that no cell may contain: all except tab, line feed and carriage return.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CONTROL_BYTES = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")

_BOMS = (
    # UTF-32 comes first: its little-endian mark starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_ZIP = b"PK\x03\x04"
_SIGNATURES = (
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"\x7fELF", "a program"),
)


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """The text of a file, which can be read several times."""

    file: BinaryIO
    encoding: str
    bom_bytes: int
    has_controls: bool
    warnings: tuple[CsvIssue, ...] = ()
    #: Everything is ASCII except the last bytes. They may be letters in Windows-1252, or the start of a truncated
    #: character in UTF-8. If no row can end there, the file is truncated.
    may_be_truncated: bool = False

    def blocks(self, skip_chars: int = 0) -> Iterator[str]:
        """Yields the text in non-empty pieces, without the byte order mark and the first `skip_chars` characters."""
        self.file.seek(self.bom_bytes)
        decoder = codecs.getincrementaldecoder(self.encoding)()
        while True:
            data = self.file.read(BLOCK_BYTES)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError:
                raise csv_error(
                    CsvIssueCode.ENCODING, f"The text is not valid {self.encoding.upper()}. {SAVE_AS_UTF8}"
                ) from None
            if skip_chars:
                text, skip_chars = text[skip_chars:], max(0, skip_chars - len(text))
            if text:
                yield text
            if not data:
                return

    def head(self, chars: int) -> str:
        """Returns the first characters."""
        head = ""
        for block in self.blocks():
            head += block
            if len(head) >= chars:
                break
        return head[:chars]


class _Undecodable(Exception):
    def __init__(self, line: int, *, is_at_end: bool, has_non_ascii: bool) -> None:
        super().__init__(line)
        self.line = line
        #: The file ends in the middle of a character; everything before it is valid.
        self.is_at_end = is_at_end
        #: Earlier non-ASCII characters confirm the encoding.
        self.has_non_ascii = has_non_ascii


def open_text(file: BinaryIO, longest_row_chars: int) -> DecodedFile:
    """Detects the encoding. Refuses a file that is empty, binary or in an unknown encoding.

    Nothing after a line of more than `longest_row_chars` is checked, because such a file is refused later.
    """
    file.seek(0)
    head = _read_head(file)
    bom, encoding = next((pair for pair in _BOMS if head.startswith(pair[0])), (b"", "utf-8"))
    if not encoding:
        raise csv_error(CsvIssueCode.ENCODING, f"The file is in UTF-32, which is not supported. {SAVE_AS_UTF8}")
    if len(head) == len(bom):
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file is empty. Upload a CSV file with a header row and data rows."
        )
    if not encoding.startswith("utf-16"):
        _refuse_binary(head)
    try:
        return DecodedFile(file, encoding, len(bom), _scan(file, len(bom), encoding, longest_row_chars))
    except _Undecodable as error:
        if error.is_at_end and (bom or error.has_non_ascii):
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {error.line}")) from None
        if bom:
            raise csv_error(
                CsvIssueCode.ENCODING,
                f"The file is marked as {encoding.upper()}, but line {error.line} is not valid in it. {SAVE_AS_UTF8}",
            ) from None
        return _decode_windows_1252(file, error, longest_row_chars)


def truncated_message(place: str) -> str:
    return f"The file ends in the middle of a character in {place}, so it is truncated. Export or transfer it again."


def _decode_windows_1252(file: BinaryIO, utf8_error: _Undecodable, longest_row_chars: int) -> DecodedFile:
    try:
        has_controls = _scan(file, 0, "cp1252", longest_row_chars)
    except _Undecodable as error:
        if utf8_error.is_at_end:
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {utf8_error.line}")) from None
        raise csv_error(
            CsvIssueCode.ENCODING,
            f"Line {error.line} contains bytes that are neither UTF-8 nor Windows-1252 text, so the encoding is "
            f"unknown. {SAVE_AS_UTF8}",
        ) from None
    warning = CsvIssue(
        CsvIssueCode.ENCODING,
        f"The file is not UTF-8 (see line {utf8_error.line}), so it was read as Windows-1252. Letters with accents may "
        f"be wrong. {SAVE_AS_UTF8}",
    )
    return DecodedFile(file, "cp1252", 0, has_controls, (warning,), may_be_truncated=utf8_error.is_at_end)


def _read_head(file: BinaryIO) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (data := file.read(HEAD_BYTES - len(head))):
        head += data
    return head


def _scan(file: BinaryIO, start: int, encoding: str, longest_row_chars: int) -> bool:
    """Returns whether the text has control characters. Raises _Undecodable if it is not in this encoding."""
    file.seek(start)
    decoder = codecs.getincrementaldecoder(encoding)()
    is_bytewise = not encoding.startswith("utf-16")
    # A character has at most 4 bytes. The blocks allow for text that the row reader buffers.
    longest_line_bytes = 4 * longest_row_chars + 4 * BLOCK_BYTES
    lines, since_line_end, has_controls, has_non_ascii = 0, 0, False, False
    while True:
        data = file.read(BLOCK_BYTES)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            valid = error.object[: error.start]
            line = lines + 1 + (valid.count(b"\n") or valid.count(b"\r"))
            raise _Undecodable(line, is_at_end=not data, has_non_ascii=has_non_ascii) from None
        if not data:
            return has_controls
        if text.isascii():
            # Four times as fast as the regular expression.
            plain = data if is_bytewise else text.encode()
            has_controls = has_controls or len(plain.translate(None, _CONTROL_BYTES)) != len(plain)
        else:
            has_non_ascii = True
            has_controls = has_controls or CONTROL.search(text) is not None
        lines += data.count(b"\n") or data.count(b"\r")
        line_end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        since_line_end = len(data) - line_end if line_end >= 0 else since_line_end + len(data)
        if since_line_end > longest_line_bytes:
            return has_controls


def _refuse_binary(head: bytes) -> None:
    if file_type := _binary_type(head):
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is {file_type}, not a CSV file. {SAVE_AS_CSV}")
    pairs = len(head) // 2
    nuls_even, nuls_odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    # In UTF-16, every second byte of mostly Latin text is NUL.
    fewer, more = sorted((nuls_even, nuls_odd))
    if pairs >= 4 and fewer * 10 <= pairs and more * 10 >= pairs * 7:
        raise csv_error(CsvIssueCode.ENCODING, f"The file seems to be UTF-16 without a byte order mark. {SAVE_AS_UTF8}")
    controls = len(head) - len(head.translate(None, _CONTROL_BYTES))
    # A single control character is reported later with its row; many of them mean that this is not text.
    if controls >= 8 and controls * 20 > len(head):
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is an unknown binary file, not a CSV file. {SAVE_AS_CSV}")


def _binary_type(head: bytes) -> str | None:
    if head.startswith(_ZIP):
        if b"opendocument.spreadsheet" in head[:200]:
            return "an OpenDocument spreadsheet (.ods)"
        if b"opendocument" in head[:200]:
            return "an OpenDocument file"
        if b"Index/" in head and b".iwa" in head:
            return "an Apple Numbers, Pages or Keynote document"
        if b"word/" in head:
            return "a Word document (.docx)"
        if b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/" in head:
            return "an Excel workbook (.xlsx)"
        return "a ZIP archive, perhaps an Excel workbook (.xlsx)"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[4:8] == b"ftyp":
        return "an AVIF or HEIC image or a video"
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((file_type for signature, file_type in _SIGNATURES if head.startswith(signature)), None)
