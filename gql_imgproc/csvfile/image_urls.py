"""The picture addresses of one cell."""

from __future__ import annotations

import re

#: A cell is split only before `scheme://`, so that commas inside an address survive. One character, not a run of
#: them: a run would make the time quadratic in the length of a cell full of commas.
_SEPARATOR = re.compile(r"[\s,;](?=[A-Za-z][A-Za-z0-9+.\-]{0,30}://)")

#: One set of characters, not white space and then commas: a cell that alternates them would take quadratic time.
_AROUND = ",;" + "".join(char for char in map(chr, range(0x3001)) if char.isspace())

_PLAUSIBLE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s\"<>]+")
_FAULT = re.compile(r"[\s\"<>]")

_ADDRESS = "https?://[!#-+\\--:=?-~]++"  # ASCII without quotation mark, comma, semicolon, angle brackets
#: Matches a cell as most are: plausible addresses with nothing but one comma between them, so that they need only
#: be split at the commas. Several times as fast as looking for anything odd.
match_plain_urls = re.compile(f"{_ADDRESS}(?:,{_ADDRESS})*+").fullmatch


def split_urls(cell: str) -> list[str]:
    """The addresses of a cell, separated by commas, semicolons or white space before a `scheme://`."""
    if match_plain_urls(cell):
        return cell.split(",")
    return [address for part in _SEPARATOR.split(cell) if (address := part.strip(_AROUND))]


def url_problem(address: str) -> str | None:
    """What keeps this from being an address at all, as a sentence; who may be called is asked elsewhere."""
    if _PLAUSIBLE.fullmatch(address):
        return None
    if not _PLAUSIBLE.match(address):
        return "An image address must begin with http:// or https://."
    fault = _FAULT.search(address)
    if fault and fault[0].isspace():
        return (
            "The address contains white space. Write it as %20, or begin each address of the cell with http:// or "
            "https:// and separate them by commas."
        )
    return "The address contains a quotation mark or angle bracket. Remove it or write it percent-encoded."
