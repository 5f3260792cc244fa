"""CSV injection: escapes cells that a spreadsheet would run as formulas."""

from __future__ import annotations

import re

#: Characters with which a spreadsheet formula can start, including the fullwidth forms of East Asian keyboards.
FORMULA_STARTS = frozenset(
    "=@\t\r\n+-\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH COMMERCIAL AT}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
)
#: The whole cell must be a number: `-1+cmd|...` starts with one too.
_SIGNED_NUMBER = re.compile(r"[+-](?:\d[\d., ]*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)


def escape_formula(cell: str) -> str:
    """Puts an apostrophe before a cell that a spreadsheet would run as a formula."""
    if not cell or cell[0] not in FORMULA_STARTS or _SIGNED_NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def is_escaped(cell: str) -> bool:
    """Whether the cell starts with such an apostrophe, which is not part of the text when an output CSV is uploaded."""
    return cell[:1] == "'" and cell[1:2] in FORMULA_STARTS
