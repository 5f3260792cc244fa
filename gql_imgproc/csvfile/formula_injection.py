"""Cells that a spreadsheet would run as formulas, and the apostrophe that keeps it from doing so."""

from __future__ import annotations

import re

#: What a spreadsheet takes for the beginning of a formula, the wide forms of East Asian keyboards included.
FORMULA_STARTS = frozenset(
    "=@\t\r\n+-\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH COMMERCIAL AT}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
)
#: The whole cell must be a number: `-1+cmd|...` begins with one too.
_SIGNED_NUMBER = re.compile(r"[+-](?:\d[\d., ]*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)


def escape_formula(cell: str) -> str:
    """The cell with an apostrophe before it if a spreadsheet would run it as a formula."""
    if not cell or cell[0] not in FORMULA_STARTS or _SIGNED_NUMBER.fullmatch(cell):
        return cell
    return f"'{cell}"


def is_guarded(cell: str) -> bool:
    """Whether the cell begins with such an apostrophe, which in an output that is uploaded again is no text."""
    return cell[:1] == "'" and cell[1:2] in FORMULA_STARTS
