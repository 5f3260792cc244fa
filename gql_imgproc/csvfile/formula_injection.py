"""CSV injection: escapes cells that a spreadsheet would run as formulas."""

from __future__ import annotations

import re

#: A spreadsheet skips blanks before a formula. The fullwidth forms are those of East Asian keyboards.
_FORMULA = re.compile(
    r"[\t\r\n]|[\s\ufeff]*[=@+\-\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH COMMERCIAL AT}"
    r"\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}]"
)
#: The whole cell must be a number: `-1+cmd|...` starts with one too.
_SIGNED_NUMBER = re.compile(r"[ \xa0\ufeff]*[+-](?:\d[\d., ]*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)


def escape_formula(cell: str) -> str:
    """Puts an apostrophe before a cell that a spreadsheet would run as a formula."""
    # Most cells start with a letter or a digit.
    if cell[:1].isalnum() or not _FORMULA.match(cell) or _SIGNED_NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def is_escaped(cell: str) -> bool:
    """Whether the cell starts with such an apostrophe, which is not part of the text when an output CSV is uploaded."""
    return cell[:1] == "'" and _FORMULA.match(cell, 1) is not None
