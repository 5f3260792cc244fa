"""Substring search in names. No index serves it for every text, so one page searches a limited number of products.

A trigram index helps little for short or frequent texts: all products that it finds have to be sorted, and every insert
costs more. See docs/decisions/0012-bounded-searches.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select

from gql_imgproc.database.pagination import CursorKey, Page, PageWindow, page

#: Products that one page searches: all of a request, with the default limit of rows per CSV.
SEARCH_ROWS = 100_000

_Row = TypeVar("_Row")


def contains(connection: Connection, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether `column` contains `text`, ignoring case."""
    if connection.dialect.name != "sqlite":
        return column.icontains(text, autoescape=True)
    # SQLite ignores case for ASCII only, so the pattern lists both cases of each letter.
    return column.op("GLOB")("*" + "".join(_either_case(letter) for letter in text) + "*")


def _either_case(letter: str) -> str:
    cases = {letter, *(other for other in (letter.lower(), letter.upper()) if len(other) == 1)}
    if len(cases) == 1:
        return f"[{letter}]" if letter in "*?[" else letter
    return f"[{''.join(sorted(cases))}]"


def search_window(window: PageWindow, ingested: int) -> tuple[PageWindow, CursorKey | None]:
    """The part of a window of positions that one page searches, and the key of its end.

    The key is None when the whole window is searched.
    """
    start = 0 if window.after is None else window.after[0] + 1
    end = ingested if window.before is None else min(window.before[0], ingested)
    if end - start <= SEARCH_ROWS:
        return window, None
    if window.backward:
        key = (end - SEARCH_ROWS,)
        return replace(window, after=(key[0] - 1,)), key
    key = (start + SEARCH_ROWS - 1,)
    return replace(window, before=(key[0] + 1,)), key


def search_page(
    search: Callable[[PageWindow], tuple[list[tuple[CursorKey, _Row]], CursorKey | None]],
    window: PageWindow,
    adjacent_key: Callable[[CursorKey, int], CursorKey],
) -> Page[_Row]:
    """A page of a search, which returns rows of a window and the key where it stopped at its limit, if it did.

    Rows beyond the limit are assumed to exist. `adjacent_key` returns the next larger key, or the next smaller one.
    """
    before = window.after and PageWindow(0, before=adjacent_key(window.after, 1), backward=True)
    after = window.before and PageWindow(0, after=adjacent_key(window.before, -1))
    has_earlier, has_later = (bool(outside and any(search(outside))) for outside in (before, after))
    rows, reached = search(window)
    return page(rows, window, has_earlier=has_earlier, has_later=has_later, reached=reached)


def find_search_limit(connection: Connection, ordered: Select[Any]) -> CursorKey | None:
    """Key of the first product beyond the search limit; `ordered` selects IDs."""
    beyond = connection.scalars(ordered.limit(1).offset(SEARCH_ROWS)).first()
    return None if beyond is None else (beyond,)


def adjacent_id(key: CursorKey, step: int) -> CursorKey:
    """The next larger or smaller key; no product needs to have it."""
    return (UUID(int=min(max(key[0].int + step, 0), _LARGEST_ID)),)


_LARGEST_ID = 2**128 - 1
