"""The image URLs of one cell."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote as percent_encode

#: Unicode's format characters (category Cf). They are invisible, and are often copied along with a URL.
_FORMAT_RANGES = (
    *((0xAD, 0xAD), (0x600, 0x605), (0x61C, 0x61C), (0x6DD, 0x6DD), (0x70F, 0x70F), (0x890, 0x891), (0x8E2, 0x8E2)),
    *((0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2064), (0x2066, 0x206F), (0xFEFF, 0xFEFF)),
    *((0xFFF9, 0xFFFB), (0x110BD, 0x110BD), (0x110CD, 0x110CD), (0x13430, 0x1343F), (0x1BCA0, 0x1BCA3)),
    *((0x1D173, 0x1D17A), (0xE0001, 0xE0001), (0xE0020, 0xE007F)),
)
_FORMAT = "".join(chr(code) for first, last in _FORMAT_RANGES for code in range(first, last + 1))
#: Unicode's quotation marks except the apostrophe, which a URL may contain.
_QUOTES = '"«»‘’‚‛“”„‟‹›⹂「」『』〝〞〟﹁﹂﹃﹄＂＇｢｣'  # noqa: RUF001

#: A cell is split only before `scheme://`, so that URLs may contain commas and bars. It matches one character, not a
#: run: with a run, a long cell of commas would take quadratic time.
_SEPARATOR = re.compile(rf"[\s,;|](?=['{_FORMAT}{_QUOTES}]{{0,8}}[A-Za-z][A-Za-z0-9+.\-]{{0,30}}://)")

#: One set of characters, not white space and then commas: a cell that alternates them would take quadratic time.
_STRIPPED = ",;|" + "".join(char for char in map(chr, range(0x3001)) if char.isspace()) + _FORMAT + _QUOTES

_START = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://")
_INVALID_CHARACTER = re.compile(rf"[\s<>{_FORMAT}{_QUOTES}]")

_PLAIN_URL = "https?://[!#-+\\--:=?-{}~]++"  # ASCII without quotation mark, comma, semicolon, bar, angle brackets
#: Matches most cells: plausible URLs separated by single commas, which can be split at the commas. Several times faster
#: than a search for unusual characters.
match_plain_urls = re.compile(f"{_PLAIN_URL}(?:,{_PLAIN_URL})*+").fullmatch


def split_urls(cell: str) -> list[str]:
    """Splits a cell at commas, semicolons, bars and white space before a `scheme://`.

    Separators, quotation marks and invisible characters at the ends of a URL are removed.
    """
    if match_plain_urls(cell):
        return cell.split(",")
    return [url for part in _SEPARATOR.split(cell) if (url := _strip(part))]


def _strip(part: str) -> str:
    url = part.strip(_STRIPPED)
    # An apostrophe may be the last character of a URL, unless another one is in front of it.
    return url.strip(_STRIPPED + "'") if url.startswith("'") else url


def url_problem(url: str) -> str | None:
    """Returns a message if the text is not a URL. `UrlCheck` checks later whether the URL is allowed."""
    start = _START.match(url)
    invalid = _INVALID_CHARACTER.search(url)
    if invalid is None or not (start or invalid[0] in _FORMAT):
        is_url = start and len(url) > start.end()
        return None if is_url else "An image URL must start with http:// or https://."
    char = invalid[0]
    name = unicodedata.name(char, "control character")
    several = (
        "If the cell contains several URLs, start each with http:// or https:// and separate them with commas. "
        if char.isspace()
        else ""
    )
    return (
        f"Character {invalid.start() + 1} of the URL is {name} (U+{ord(char):04X}), which a URL cannot contain. "
        f"{several}Remove it, or write it as {percent_encode(char)} if it belongs to the URL."
    )
