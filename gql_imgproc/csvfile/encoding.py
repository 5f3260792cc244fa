"""The encoding of a CSV file: bytes -> text, block by block.

The caller or the byte order mark names the encoding. Without either it is strict UTF-8, else Windows-1252 with a
warning, if the text is plausible in it. Statistical detection is not used because it is often wrong. All bytes are read
first: the only byte that is not UTF-8 may be the last one.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from gql_imgproc.csvfile.messages import csv_error, quote
from gql_imgproc.csvfile.other_formats import binary_format
from gql_imgproc.csvfile.plausibility import Windows1252Check
from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

#: Bytes read at once: large enough to keep the overhead of Python small, and small enough for any memory.
BLOCK_BYTES = 64 * 1024

#: Bytes at the start of the file that identify its type.
HEAD_BYTES = 4096

SAVE_AS_UTF8 = 'In the spreadsheet program choose "Save as" and the type "CSV UTF-8 (comma delimited)".'
NAME_ENCODING = f"{SAVE_AS_UTF8} Or upload it again with the option `encoding`, for example windows-1251."
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

#: What an encoding must decode to the same text as ASCII does: the syntax of CSV, and no escape sequences.
_ASCII_SAMPLE = bytes(range(0x20, 0x5C)) + bytes(range(0x5D, 0x7F)) + b"\t\r\n\\x41\\u0041"

#: The end of a text file in DOS and CP/M, which some programs still write.
_END_MARK = "\x1a"


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """The text of a file, which can be read several times."""

    file: BinaryIO
    encoding: str
    bom_bytes: int
    #: Bytes before the end marks, if there are any.
    end: int
    has_controls: bool = False
    warnings: tuple[CsvIssue, ...] = ()
    #: Everything is ASCII except the last bytes. They may be letters in Windows-1252, or the start of a truncated
    #: character in UTF-8. If no row can end there, the file is truncated.
    may_be_truncated: bool = False

    def blocks(self, skip_chars: int = 0) -> Iterator[str]:
        """Yields the text in non-empty pieces, without byte order marks, end marks and the first `skip_chars`."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        for data in self.byte_blocks():
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

    def byte_blocks(self) -> Iterator[bytes]:
        """Yields the bytes without byte order marks and end marks. The last block is empty."""
        position = self.bom_bytes
        self.file.seek(position)
        while data := self.file.read(min(BLOCK_BYTES, self.end - position)):
            position += len(data)
            yield data
        yield b""

    def is_lossless(self) -> bool:
        """Whether the text encodes to the same bytes: some encodings of East Asia have two codes for a character."""
        decoder, encoder = codecs.getincrementaldecoder(self.encoding)(), codecs.getincrementalencoder(self.encoding)()
        stored, written = hashlib.sha256(), hashlib.sha256()
        for data in self.byte_blocks():
            stored.update(data)
            written.update(encoder.encode(decoder.decode(data, final=not data), final=not data))
        return stored.digest() == written.digest()

    def end_marks(self) -> bytes:
        self.file.seek(self.end)
        return self.file.read()

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


def find_codec(name: str) -> str | None:
    """Returns the codec of an IANA character set that contains ASCII, or of UTF-16; None if there is none."""
    try:
        codec = codecs.lookup(name).name
        is_text = codec.startswith("utf-16") or codecs.decode(_ASCII_SAMPLE, codec) == _ASCII_SAMPLE.decode()
    except (LookupError, ValueError, TypeError):
        return None
    return codec if is_text and codec != "idna" else None


def charset_of(codec: str) -> str:
    """Returns the name of a codec as in media types."""
    if codec.startswith("utf-16"):
        return "utf-16"
    return re.sub("^cp(?=125)", "windows-", codec).replace("iso8859", "iso-8859").replace("_", "-")


def open_text(file: BinaryIO, longest_row_chars: int, encoding: str | None = None) -> DecodedFile:
    """Detects the encoding, unless it is given. Refuses a file that is empty, binary or in an unknown encoding.

    Nothing after a line of more than `longest_row_chars` is checked, because such a file is refused later.
    """
    file.seek(0)
    head = _read_head(file)
    bom, detected = next((pair for pair in _BOMS if head.startswith(pair[0])), (b"", "utf-8"))
    if not detected:
        raise csv_error(CsvIssueCode.ENCODING, f"The file is in UTF-32, which is not supported. {SAVE_AS_UTF8}")
    text = _locate_text(file, head, bom, _choose_codec(encoding, bom, detected))
    if text.end <= text.bom_bytes:
        raise csv_error(
            CsvIssueCode.EMPTY_FILE, "The file is empty. Upload a CSV file with a header row and data rows."
        )
    if not text.encoding.startswith("utf-16"):
        _refuse_binary(head, is_encoding_given=encoding is not None)
    try:
        return replace(text, has_controls=_scan(text, longest_row_chars))
    except _Undecodable as error:
        if encoding and not bom:
            raise _marked_error("The encoding was given", text.encoding, error) from None
        if error.is_at_end and (bom or error.has_non_ascii):
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {error.line}")) from None
        if bom:
            raise _marked_error("The file is marked", text.encoding, error) from None
        if error.has_non_ascii:
            raise csv_error(
                CsvIssueCode.ENCODING,
                f"Line {error.line} contains a byte that is not UTF-8, but the text before it is. Type that "
                "line again, or export the file as UTF-8.",
            ) from None
        return _decode_windows_1252(replace(text, encoding="cp1252"), error, longest_row_chars)


def truncated_message(place: str) -> str:
    return f"The file ends in the middle of a character in {place}, so it is truncated. Export or transfer it again."


def _choose_codec(given: str | None, bom: bytes, detected: str) -> str:
    codec = detected if given is None else find_codec(given)
    if codec is None:
        raise csv_error(CsvIssueCode.ENCODING, f"The encoding {quote(given or '')} is unknown. {SAVE_AS_UTF8}")
    if not bom:
        # Without a mark, UTF-16 is what Windows writes.
        return "utf-16-le" if codec == "utf-16" else codec.removesuffix("-sig")
    if codec not in (detected, detected.removesuffix("-le").removesuffix("-be"), f"{detected}-sig"):
        raise csv_error(
            CsvIssueCode.ENCODING,
            f"The file is marked as {detected.upper()}, but the given encoding is {codec}. Omit the encoding.",
        )
    return detected


def _locate_text(file: BinaryIO, head: bytes, bom: bytes, encoding: str) -> DecodedFile:
    """Finds the text between byte order marks, of which joined files have several, and end marks."""
    marks = 0
    while bom and head.startswith(bom, marks * len(bom)):
        marks += 1
    end, end_mark = file.seek(0, os.SEEK_END), _END_MARK.encode(encoding)
    while end > marks * len(bom):
        file.seek(end - len(end_mark))
        if file.read(len(end_mark)) != end_mark:
            break
        end -= len(end_mark)
    warning = CsvIssue(
        CsvIssueCode.ENCODING, "The file starts with more than one byte order mark. Only the first one was used."
    )
    return DecodedFile(file, encoding, marks * len(bom), end, warnings=(warning,) if marks > 1 else ())


def _marked_error(reason: str, encoding: str, error: _Undecodable) -> InvalidCsv:
    return csv_error(
        CsvIssueCode.ENCODING,
        f"{reason} as {encoding.upper()}, but line {error.line} is not valid in it. {SAVE_AS_UTF8}",
    )


def _decode_windows_1252(text: DecodedFile, utf8_error: _Undecodable, longest_row_chars: int) -> DecodedFile:
    # If only the last bytes are not ASCII, they are too few to judge.
    check = None if utf8_error.is_at_end else Windows1252Check()
    try:
        has_controls = _scan(text, longest_row_chars, check)
    except _Undecodable as error:
        if utf8_error.is_at_end:
            raise csv_error(CsvIssueCode.ENCODING, truncated_message(f"line {utf8_error.line}")) from None
        raise csv_error(
            CsvIssueCode.ENCODING,
            f"Line {error.line} contains bytes that are neither UTF-8 nor Windows-1252 text, so the encoding is "
            f"unknown. {NAME_ENCODING}",
        ) from None
    warning = CsvIssue(
        CsvIssueCode.ENCODING,
        f"The file is not UTF-8 (see line {utf8_error.line}), so it was read as Windows-1252. Letters with accents may "
        f"be wrong. {SAVE_AS_UTF8}",
    )
    return replace(text, has_controls=has_controls, warnings=(warning,), may_be_truncated=utf8_error.is_at_end)


def _read_head(file: BinaryIO) -> bytes:
    head = b""
    while len(head) < HEAD_BYTES and (data := file.read(HEAD_BYTES - len(head))):
        head += data
    return head


def _scan(text_file: DecodedFile, longest_row_chars: int, check: Windows1252Check | None = None) -> bool:
    """Returns whether the text has control characters. Raises _Undecodable if it is not in this encoding."""
    decoder = codecs.getincrementaldecoder(text_file.encoding)()
    is_bytewise = not text_file.encoding.startswith("utf-16")
    # A character has at most 4 bytes. The blocks allow for text that the row reader buffers.
    longest_line_bytes = 4 * longest_row_chars + 4 * BLOCK_BYTES
    lines, since_line_end, has_controls, has_non_ascii = 0, 0, False, False
    for data in text_file.byte_blocks():
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line = lines + 1 + _count_lines(error.object[: error.start])
            # Valid characters in the same block count too.
            has_non_ascii = has_non_ascii or not error.object[: error.start].isascii()
            raise _Undecodable(line, is_at_end=not data, has_non_ascii=has_non_ascii) from None
        if text.isascii():
            # Four times as fast as the regular expression.
            plain = data if is_bytewise else text.encode()
            has_controls = has_controls or len(plain.translate(None, _CONTROL_BYTES)) != len(plain)
        else:
            has_non_ascii = True
            has_controls = has_controls or CONTROL.search(text) is not None
            if check and (index := check.find_implausible(text)) is not None:
                line = lines + 1 + _count_lines(text[:index].encode(errors="replace"))
                raise _Undecodable(line, is_at_end=False, has_non_ascii=True)
        lines += _count_lines(data)
        line_end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        since_line_end = len(data) - line_end if line_end >= 0 else since_line_end + len(data)
        if since_line_end > longest_line_bytes:
            break
    return has_controls


def _count_lines(data: bytes) -> int:
    return data.count(b"\n") or data.count(b"\r")


def _refuse_binary(head: bytes, *, is_encoding_given: bool) -> None:
    if file_type := binary_format(head):
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is {file_type}, not a CSV file. {SAVE_AS_CSV}")
    pairs = len(head) // 2
    nuls_even, nuls_odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    # In UTF-16, every second byte of mostly Latin text is NUL.
    fewer, more = sorted((nuls_even, nuls_odd))
    if pairs >= 4 and fewer * 10 <= pairs and more * 10 >= pairs * 7:
        raise csv_error(CsvIssueCode.ENCODING, f"The file seems to be UTF-16 without a byte order mark. {SAVE_AS_UTF8}")
    controls = len(head) - len(head.translate(None, _CONTROL_BYTES))
    # A single control character is reported later with its row; many of them mean that this is not text.
    if controls >= 8 and controls * 20 > len(head) and not is_encoding_given:
        raise csv_error(CsvIssueCode.NOT_CSV, f"The file is an unknown binary file, not a CSV file. {SAVE_AS_CSV}")
