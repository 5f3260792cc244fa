"""The image URLs of one cell."""

from __future__ import annotations

import re

#: A cell is split only before `scheme://`, so that URLs may contain commas. It matches one character, not a run: with a
#: run, a long cell of commas would take quadratic time.
_SEPARATOR = re.compile(r"[\s,;](?=[A-Za-z][A-Za-z0-9+.\-]{0,30}://)")

#: One set of characters, not white space and then commas: a cell that alternates them would take quadratic time.
_STRIPPED = ",;" + "".join(char for char in map(chr, range(0x3001)) if char.isspace())

_PLAUSIBLE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s\"<>]+")
_INVALID_CHARACTER = re.compile(r"[\s\"<>]")

_PLAIN_URL = "https?://[!#-+\\--:=?-~]++"  # ASCII without quotation mark, comma, semicolon, angle brackets
#: Matches most cells: plausible URLs separated by single commas, which can be split at the commas. Several times faster
#: than a search for unusual characters.
match_plain_urls = re.compile(f"{_PLAIN_URL}(?:,{_PLAIN_URL})*+").fullmatch


def split_urls(cell: str) -> list[str]:
    """Splits a cell at commas, semicolons and white space before a `scheme://`."""
    if match_plain_urls(cell):
        return cell.split(",")
    return [url for part in _SEPARATOR.split(cell) if (url := part.strip(_STRIPPED))]


def url_problem(url: str) -> str | None:
    """Returns a message if the text is not a URL. `UrlCheck` checks later whether the URL is allowed."""
    if _PLAUSIBLE.fullmatch(url):
        return None
    if not _PLAUSIBLE.match(url):
        return "An image URL must start with http:// or https://."
    invalid = _INVALID_CHARACTER.search(url)
    if invalid and invalid[0].isspace():
        return (
            "The URL contains white space. Write it as %20. If the cell contains several URLs, start each with http:// "
            "or https:// and separate them with commas."
        )
    return "The URL contains a quotation mark or an angle bracket. Remove it or percent-encode it."
