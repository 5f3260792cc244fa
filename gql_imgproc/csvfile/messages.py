"""Helpers for the messages about a CSV file, which quote its content shortened and escaped."""

from __future__ import annotations

import re

from gql_imgproc.errors import CsvIssue, CsvIssueCode, InvalidCsv

#: Characters of a cell that a message quotes: enough to find it, and the message stays one sentence.
EXCERPT_CHARS = 80

_CREDENTIALS = re.compile(r"(?<=://)[^/?#@\s]{1,300}@")


def excerpt(text: str, limit: int = EXCERPT_CHARS) -> str:
    """Returns the text printable, shortened in the middle, and without the passwords of URLs."""
    is_shortened = len(text) > 4 * limit
    if is_shortened:
        text = text[: 3 * limit] + text[-limit:]
    text = _CREDENTIALS.sub("...@", text)
    if is_shortened or len(text) > limit:
        tail = limit // 3
        text = f"{text[: limit - tail - 3]}...{text[-tail:]}"
    return text if text.isprintable() else "".join(char if char.isprintable() else "\N{MIDDLE DOT}" for char in text)


def quote(text: str) -> str:
    return f'"{excerpt(text)}"'


def join_quoted(texts: list[str], limit: int = 12) -> str:
    """Quotes the first texts and says how many more there are."""
    names = ", ".join(quote(text) for text in texts[:limit])
    return f"{names} and {len(texts) - limit} more" if len(texts) > limit else names


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def csv_error(code: CsvIssueCode, message: str, row: int | None = None, column: str | None = None) -> InvalidCsv:
    """Returns the error of a file that cannot be read further."""
    return InvalidCsv((CsvIssue(code, message, row, column),), 1)
