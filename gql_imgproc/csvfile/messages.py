"""How the problems of a CSV file are worded: what a file contains is shown shortened and never raw."""

from __future__ import annotations

import re

from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

#: Characters of a cell that a message repeats: enough to find it, short enough to stay one sentence.
SHOWN_CHARS = 80

_CREDENTIALS = re.compile(r"(?<=://)[^/?#@\s]{1,300}@")


def excerpt(text: str, limit: int = SHOWN_CHARS) -> str:
    """The text as a message may repeat it: printable, shortened in the middle, without passwords."""
    if len(text) > 4 * limit:
        text = text[: 3 * limit] + text[-limit:]
        shortened = True
    else:
        shortened = False
    text = _CREDENTIALS.sub("...@", text)
    if shortened or len(text) > limit:
        tail = limit // 3
        text = f"{text[: limit - tail - 3]}...{text[-tail:]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else "\N{MIDDLE DOT}" for char in text)


def quote(text: str) -> str:
    """The text between quotation marks."""
    return f'"{excerpt(text)}"'


def join_quoted(texts: list[str], limit: int = 12) -> str:
    """The texts between quotation marks, separated by commas; the rest is counted."""
    names = ", ".join(quote(text) for text in texts[:limit])
    return f"{names} and {len(texts) - limit} more" if len(texts) > limit else names


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def csv_error(code: CsvIssueCode, message: str, row: int | None = None, column: str | None = None) -> InvalidCsv:
    """The error for a file of which nothing more can be read."""
    return InvalidCsv((CsvIssue(code, message, row, column),), 1)
