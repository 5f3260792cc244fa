"""What the bytes of a CSV file are written in: bytes -> text, block by block.

No guesser (they guess wrong): a byte order mark, else strict UTF-8, else Windows-1252 with a warning. The encoding
is decided by a pass over all the bytes, since the first byte that is not UTF-8 may be the last of the file.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from gql_imgproc.csvfile.messages import csv_error
from gql_imgproc.errors import CsvIssue, CsvIssueCode

#: Bytes read at once: large enough that Python's share is small, small enough for any memory.
BLOCK_BYTES = 64 * 1024

#: Bytes at the beginning that tell the kind of the file.
HEAD_BYTES = 4096

AS_UTF8 = 'In the spreadsheet program choose "Save as" and the type "CSV UTF-8 (comma delimited)".'
AS_CSV = 'Open it in a spreadsheet program, choose "Save as" or "Download" and the type "CSV UTF-8", then upload that.'

#: Control characters that no cell may contain: all but tab, line feed and carriage return.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CONTROL_BYTES = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r")

_BOMS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16.
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
    """The text of a file, which can be read from its beginning again and again."""

    file: BinaryIO
    encoding: str
    bom_bytes: int
    has_controls: bool
    warnings: tuple[CsvIssue, ...] = ()
    #: All is ASCII but the last bytes, which are letters in Windows-1252 or the beginning of one in UTF-8: if nothing
    #: can end there, the file was cut off.
    ends_in_doubt: bool = False

    def blocks(self, skip_chars: int = 0) -> Iterator[str]:
        """The text in pieces that are never empty, without the byte order mark and the first `skip_chars`."""
        self.file.seek(self.bom_bytes)
        decoder = codecs.getincrementaldecoder(self.encoding)()
        while True:
            data = self.file.read(BLOCK_BYTES)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError:
                raise csv_error(
                    CsvIssueCode.ENCODING, f"The text is not valid {self.encoding.upper()} throughout. {AS_UTF8}"
                ) from None
            if skip_chars:
                text, skip_chars = text[skip_chars:], max(0, skip_chars - len(text))
            if text:
                yield text
            if not data:
                return

    def beginning(self, chars: int) -> str:
        """The first so many characters."""
        beginning = ""
        for block in self.blocks():
            beginning += block
            if len(beginning) >= chars:
                break
        return beginning[:chars]


class _Undecodable(Exception):
    def __init__(self, line: int, at_end: bool, beyond_ascii: bool) -> None:
        super().__init__(line)
        self.line = line
        #: Only the end of the file is missing, in the middle of a character.
        self.at_end = at_end
        #: Other characters show that it is this encoding.
        self.beyond_ascii = beyond_ascii


def open_text(file: BinaryIO, longest_row_chars: int) -> DecodedFile:
    """Tells the encoding, or refuses a file that is empty, binary or in no encoding known here.

    Nothing after a line of more than `longest_row_chars` is looked at: such a file is refused anyway.
    """
    file.seek(0)
    head = _head(file)
    bom, encoding = next((pair for pair in _BOMS if head.startswith(pair[0])), (b"", "utf-8"))
    if not encoding:
        raise csv_error(CsvIssueCode.ENCODING, f"The file is in UTF-32, which is not read here. {AS_UTF8}")
    if len(head) == len(bom):
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file is empty. Upload a CSV file with a header row and data rows."
        )
    if not encoding.startswith("utf-16"):
        _refuse_binary(head)
    try:
        return DecodedFile(file, encoding, len(bom), _scan(file, len(bom), encoding, longest_row_chars))
    except _Undecodable as fault:
        if fault.at_end and (bom or fault.beyond_ascii):
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {fault.line}")) from None
        if bom:
            raise csv_error(
                CsvIssueCode.ENCODING,
                f"The file is marked as {encoding.upper()}, but line {fault.line} is not valid in it. {AS_UTF8}",
            ) from None
        return _as_windows_1252(file, fault, longest_row_chars)


def truncated_message(place: str) -> str:
    return f"The file ends in the middle of a character in {place}, so its end is missing. Export or transfer it again."


def _as_windows_1252(file: BinaryIO, foreign: _Undecodable, longest_row_chars: int) -> DecodedFile:
    try:
        has_controls = _scan(file, 0, "cp1252", longest_row_chars)
    except _Undecodable as fault:
        if foreign.at_end:
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {foreign.line}")) from None
        raise csv_error(
            CsvIssueCode.ENCODING,
            f"Line {fault.line} contains bytes that are neither UTF-8 nor Windows-1252 text, so the encoding cannot "
            f"be told. {AS_UTF8}",
        ) from None
    warning = CsvIssue(
        CsvIssueCode.ENCODING,
        f"The file is not in UTF-8 (see line {foreign.line}), so it was read as Windows-1252; letters with accents "
        f"may be wrong. {AS_UTF8}",
    )
    return DecodedFile(file, "cp1252", 0, has_controls, (warning,), ends_in_doubt=foreign.at_end)


def _head(file: BinaryIO) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (data := file.read(HEAD_BYTES - len(head))):
        head += data
    return head


def _scan(file: BinaryIO, start: int, encoding: str, longest_row_chars: int) -> bool:
    """Whether the text has control characters; _Undecodable when it is not in this encoding."""
    file.seek(start)
    decoder = codecs.getincrementaldecoder(encoding)()
    bytewise = not encoding.startswith("utf-16")
    # A character has at most 4 bytes; the blocks are what a reader of the text may be behind.
    longest_line_bytes = 4 * longest_row_chars + 4 * BLOCK_BYTES
    lines, since_line_end, has_controls, beyond_ascii = 0, 0, False, False
    while True:
        data = file.read(BLOCK_BYTES)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            broken = error.object[: error.start]
            line = lines + 1 + (broken.count(b"\n") or broken.count(b"\r"))
            raise _Undecodable(line, at_end=not data, beyond_ascii=beyond_ascii) from None
        if not data:
            return has_controls
        if text.isascii():
            # Four times as fast as the expression.
            plain = data if bytewise else text.encode()
            has_controls = has_controls or len(plain.translate(None, _CONTROL_BYTES)) != len(plain)
        else:
            beyond_ascii = True
            has_controls = has_controls or CONTROL.search(text) is not None
        lines += data.count(b"\n") or data.count(b"\r")
        line_end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        since_line_end = len(data) - line_end if line_end >= 0 else since_line_end + len(data)
        if since_line_end > longest_line_bytes:
            return has_controls


def _refuse_binary(head: bytes) -> None:
    if kind := _binary_kind(head):
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is {kind}, not a CSV file. {AS_CSV}")
    pairs = len(head) // 2
    nuls_even, nuls_odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    # Text of mostly Latin letters in UTF-16 has a NUL in every second byte.
    fewer, more = sorted((nuls_even, nuls_odd))
    if pairs >= 4 and fewer * 10 <= pairs and more * 10 >= pairs * 7:
        raise csv_error(CsvIssueCode.ENCODING, f"The file seems to be in UTF-16 without a byte order mark. {AS_UTF8}")
    controls = len(head) - len(head.translate(None, _CONTROL_BYTES))
    # A stray control character is told with its place; a text full of them is none.
    if controls >= 8 and controls * 20 > len(head):
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is a binary file of an unknown kind, not a CSV file. {AS_CSV}")


def _binary_kind(head: bytes) -> str | None:
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
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
