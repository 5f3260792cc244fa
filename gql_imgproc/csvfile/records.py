"""The records of a CSV file: text -> cells, each with the row that a spreadsheet would show."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from gql_imgproc.csvfile.encoding import BLOCK_BYTES, DecodedFile, truncated_message
from gql_imgproc.errors import CsvIssue, CsvIssueCode


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are told apart."""

    delimiter: str
    #: Spaces after a delimiter are no part of the cell: `1, "Lamp", ...`.
    skips_spaces: bool = False
    #: Characters before the first row: a line `sep=;`, with its end.
    preamble_chars: int = 0


def iter_records(
    text: DecodedFile, dialect: Dialect, longest_row_chars: int
) -> Iterator[tuple[int, list[str]] | CsvIssue]:
    """Every record with its row, blank ones included (as an empty list); what cannot be read is an issue.

    A record of many lines is one row. After an issue the reading goes on where the next row is certain to begin,
    else it ends.
    """
    if csv.field_size_limit() < (enough := longest_row_chars + 4 * BLOCK_BYTES):
        # The module's limit is one for the whole process and gives an error without a place; _Lines has its own.
        csv.field_size_limit(enough)
    lines = _Lines(text.blocks(dialect.preamble_chars), longest_row_chars)
    reader = csv.reader(iter(lines), delimiter=dialect.delimiter, skipinitialspace=dialect.skips_spaces, strict=True)
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
            if lines.ended:
                yield cut_off_issue(row) if text.ends_in_doubt else _unclosed(row)
                return
            if reader.line_num > line + 1:
                # Which of the swallowed lines are rows of their own nobody can tell.
                yield _closed_late(row)
                return
            yield CsvIssue(
                CsvIssueCode.QUOTE_INVALID,
                f"In row {row} text follows a closing quotation mark. Put the whole cell between quotation marks and "
                'write a quotation mark inside it twice, like "5"" pipe".',
                row,
            )
            line = reader.line_num
            row += 1
            lines.row = row
        except _RowTooLong as fault:
            yield _unclosed(row) if fault.quote_open and not fault.quote_follows else _too_long(row, longest_row_chars)
            return


def _unclosed(row: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.QUOTE_INVALID,
        f"A quotation mark that opens a cell in row {row} is never closed, so the rest of the file could not be read. "
        "Close it, or write it twice if it belongs to the text.",
        row,
    )


def _closed_late(row: int) -> CsvIssue:
    """The mark that seems to close a cell opens one of another row, as a rule."""
    return CsvIssue(
        CsvIssueCode.QUOTE_INVALID,
        f"In row {row} text follows a closing quotation mark some lines below the opening one. Perhaps the one that "
        f"opens a cell in row {row} is not closed: close it, or write it twice if it belongs to the text. The rest of "
        "the file was not read.",
        row,
    )


def cut_off_issue(row: int) -> CsvIssue:
    return CsvIssue(CsvIssueCode.ENCODING, truncated_message(f"row {row}"), row)


def _too_long(row: int, longest_row_chars: int) -> CsvIssue:
    return CsvIssue(
        CsvIssueCode.FIELD_TOO_LONG,
        f"Row {row} is longer than the limit of {longest_row_chars:,} characters, and the rest of the file was not "
        "read. Shorten its cells, or look for a quotation mark that is not closed.",
        row,
    )


class _RowTooLong(Exception):
    def __init__(self, quote_open: bool, quote_follows: bool) -> None:
        super().__init__()
        self.quote_open = quote_open
        self.quote_follows = quote_follows


@dataclass(slots=True)
class _Lines:
    """Lines for `csv.reader`, with their ends; a row that does not end is given up before it fills the memory."""

    blocks: Iterator[str]
    longest_row_chars: int
    #: Set by the reader of the records, so that what was fed since the last of them can be counted.
    row: int = field(default=1, init=False)
    ended: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[str]:
        rest: list[str] = []  # the beginning of a line whose end is still to come
        rest_chars = 0
        held = ""  # a CR that may be the first half of CR LF
        row, fed_chars = 0, 0  # characters fed, and those of `rest`, since a record ended
        for block in self.blocks:
            if self.row != row:
                row, fed_chars = self.row, rest_chars
            if fed_chars + len(block) > self.longest_row_chars + BLOCK_BYTES:
                quote_open = fed_chars > rest_chars + len(held)
                quote_follows = quote_open and any('"' in text for text in chain(rest, [block], self.blocks))
                raise _RowTooLong(quote_open, quote_follows)
            fed_chars += len(block)
            text = held + block
            held = "\r" if text.endswith("\r") else ""
            if held:
                text = text[:-1]
            end = max(text.rfind("\n"), text.rfind("\r")) + 1
            if end:
                yield from io.StringIO("".join(rest) + text[:end], newline="")
                rest, rest_chars = [text[end:]], len(text) - end
            else:
                rest.append(text)
                rest_chars += len(text)
        last = "".join(rest) + held
        if last:
            yield last
        self.ended = True
