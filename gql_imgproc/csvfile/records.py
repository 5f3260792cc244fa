"""The records of a CSV file: text -> cells, each with its row number in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from gql_imgproc.csvfile.encoding import BLOCK_BYTES, DecodedFile, truncated_message
from gql_imgproc.errors import CsvIssue, CsvIssueCode


@dataclass(frozen=True, slots=True)
class Dialect:
    """The delimiter, and details of how cells are separated."""

    delimiter: str
    #: Spaces after a delimiter are not part of the cell: `1, "Lamp", ...`.
    skips_spaces: bool = False
    #: Characters before the first row: a line `sep=;` with its line end.
    preamble_chars: int = 0


@dataclass(frozen=True, slots=True)
class InvalidRow:
    row: int
    issues: list[CsvIssue]
    #: The cell that ends the reading of a row, from 0.
    cell: int | None = None


def iter_records(
    text: DecodedFile, dialect: Dialect, longest_row_chars: int, raw_lines: list[str] | None = None
) -> Iterator[tuple[int, list[str]] | InvalidRow | CsvIssue]:
    """Yields every record with its row number. A blank record is an empty list.

    A record of several lines is one row. After an InvalidRow, reading continues, since the start of the next row is
    certain. An issue is the end. The lines of each record are appended to `raw_lines`, which the caller empties.
    """
    if csv.field_size_limit() < (limit := longest_row_chars + 4 * BLOCK_BYTES):
        # This limit applies to the whole process, and its error has no position. _Lines has a limit with a position.
        csv.field_size_limit(limit)
    lines = _Lines(text.blocks(dialect.preamble_chars), longest_row_chars)
    source = iter(lines) if raw_lines is None else _record_lines(lines, raw_lines)
    reader = csv.reader(source, delimiter=dialect.delimiter, skipinitialspace=dialect.skips_spaces, strict=True)
    row, line = 1, 0
    while True:
        try:
            for cells in reader:
                yield row, cells
                line = reader.line_num
                row += 1
                lines.row = row
            return
        except csv.Error:
            if lines.is_exhausted:
                yield truncated_issue(row) if text.may_be_truncated else _unclosed_quote_issue(row)
                return
            if reader.line_num > line + 1:
                # It is unknown which of the lines in the cell are separate rows.
                yield _late_quote_issue(row)
                return
            yield _invalid_row(row, lines.last_line, dialect)
            line = reader.line_num
            row += 1
            lines.row = row
        except _RowTooLong as error:
            if error.is_quote_open and not error.has_closing_quote:
                yield _unclosed_quote_issue(row)
            else:
                yield _too_long_issue(row, longest_row_chars)
            return


def _invalid_row(row: int, line: str, dialect: Dialect) -> InvalidRow:
    spaces, delimiter = " *" if dialect.skips_spaces else "", re.escape(dialect.delimiter)
    valid_cell = re.compile(f'(?:{spaces}"(?:[^"]|"")*+"|(?!{spaces}")[^{delimiter}]*){delimiter}')
    index = at = 0
    while found := valid_cell.match(line, at):
        index, at = index + 1, found.end()
    message = (
        f"In row {row} text follows a closing quotation mark in cell {index + 1}. Put the whole cell between quotation "
        'marks and write a quotation mark inside it twice, like "5"" pipe".'
    )
    return InvalidRow(row, [CsvIssue(CsvIssueCode.QUOTE_INVALID, message, row)], index)


def _record_lines(lines: _Lines, raw_lines: list[str]) -> Iterator[str]:
    """`csv.reader` takes no line of the next record before it returns one."""
    for line in lines:
        raw_lines.append(line)
        yield line


def _unclosed_quote_issue(row: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.QUOTE_INVALID,
        f"A quotation mark that opens a cell in row {row} is never closed, so the rest of the file could not be read. "
        "Close it, or write it twice if it is part of the text.",
        row,
    )


def _late_quote_issue(row: int) -> CsvIssue:
    """The mark that seems to close a cell usually opens a cell in another row."""
    return CsvIssue(
        CsvIssueCode.QUOTE_INVALID,
        f"In row {row} text follows a closing quotation mark some lines below the opening one. Perhaps the one that "
        f"opens a cell in row {row} is not closed: close it, or write it twice if it is part of the text. The rest of "
        "the file was not read.",
        row,
    )


def truncated_issue(row: int) -> CsvIssue:
    return CsvIssue(CsvIssueCode.ENCODING, truncated_message(f"row {row}"), row)


def _too_long_issue(row: int, longest_row_chars: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.FIELD_TOO_LONG,
        f"Row {row} is longer than the limit of {longest_row_chars:,} characters, and the rest of the file was not "
        "read. Shorten its cells, or look for a quotation mark that is not closed.",
        row,
    )


class _RowTooLong(Exception):
    def __init__(self, *, is_quote_open: bool, has_closing_quote: bool) -> None:
        super().__init__()
        self.is_quote_open = is_quote_open
        self.has_closing_quote = has_closing_quote


@dataclass(slots=True)
class _Lines:
    """Yields lines for `csv.reader`, with their line ends. A row without an end raises _RowTooLong."""

    blocks: Iterator[str]
    longest_row_chars: int
    #: Set by `iter_records`, so that the characters since the last record can be counted.
    row: int = field(default=1, init=False)
    is_exhausted: bool = field(default=False, init=False)
    _complete_lines: io.StringIO = field(default_factory=io.StringIO, init=False)

    @property
    def last_line(self) -> str:
        """The line that was yielded last."""
        end = self._complete_lines.tell()
        self._complete_lines.seek(0)
        text = self._complete_lines.read(end)
        return text[max(text.rfind("\n", 0, -2), text.rfind("\r", 0, -2)) + 1 :]

    def __iter__(self) -> Iterator[str]:
        rest: list[str] = []  # the start of a line without its end
        rest_chars = 0
        pending_cr = ""  # a CR that may be the first half of CR LF
        row, fed_chars = 0, 0  # characters read since the last record, including those of `rest`
        for block in self.blocks:
            if self.row != row:
                row, fed_chars = self.row, rest_chars
            if fed_chars + len(block) > self.longest_row_chars + BLOCK_BYTES:
                is_quote_open = fed_chars > rest_chars + len(pending_cr)
                has_closing_quote = is_quote_open and any('"' in text for text in chain(rest, [block], self.blocks))
                raise _RowTooLong(is_quote_open=is_quote_open, has_closing_quote=has_closing_quote)
            fed_chars += len(block)
            text = pending_cr + block
            pending_cr = "\r" if text.endswith("\r") else ""
            if pending_cr:
                text = text[:-1]
            end = max(text.rfind("\n"), text.rfind("\r")) + 1
            if end:
                self._complete_lines = io.StringIO("".join(rest) + text[:end], newline="")
                yield from self._complete_lines
                rest, rest_chars = [text[end:]], len(text) - end
            else:
                rest.append(text)
                rest_chars += len(text)
        last = "".join(rest) + pending_cr
        if last:
            self._complete_lines = io.StringIO(last, newline="")
            yield from self._complete_lines
        self.is_exhausted = True
