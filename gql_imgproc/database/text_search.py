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

from gql_imgproc.database.pagination import CursorKey, Page, PageWindow, apply_window, page

#: Products that one page searches: all of a request, with the default limit of rows per CSV.
SEARCH_ROWS = 100_000
#: Larger than the position of any image in its product.
_AFTER_LAST = 2**15

T = TypeVar("T")


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


def page_by_position(
    connection: Connection,
    statement: Select[Any],
    columns: tuple[ColumnElement[Any], ...],
    window: PageWindow,
    ingested: int,
    convert: Callable[[Any], tuple[CursorKey, T]],
) -> Page[T]:
    """A page of the rows that a statement finds among the products of a request.

    `ingested`: the number of its products that are inserted. The first of the `columns` is the position of a product.
    `convert` returns the cursor key of a row, and its value.
    """

    def search(window: PageWindow) -> tuple[list[tuple[CursorKey, T]], CursorKey | None]:
        searched, reached = _limit_search(window, ingested, len(columns) - 1)
        rows = connection.execute(apply_window(statement, columns, searched)).all()
        return [convert(row) for row in rows], reached

    return search_page(search, window, lambda key, step: (*key[:-1], key[-1] + step))


def _limit_search(window: PageWindow, ingested: int, inner: int) -> tuple[PageWindow, CursorKey | None]:
    """The part of a window that one page searches, and the key of its end; None if that is the whole window.

    `inner`: the number of columns after the position of a product.
    """
    first, last = (0,) * inner, (_AFTER_LAST,) * inner
    start = 0 if window.after is None else window.after[0] + (window.after[1:] >= last)
    end = ingested if window.before is None else min(window.before[0] + (window.before[1:] > first), ingested)
    if end - start <= SEARCH_ROWS:
        return window, None
    if window.backward:
        position = end - SEARCH_ROWS
        return replace(window, after=(position - 1, *last)), (position, *first)
    position = start + SEARCH_ROWS - 1
    return replace(window, before=(position + 1, *first)), (position, *last)


def search_page(
    search: Callable[[PageWindow], tuple[list[tuple[CursorKey, T]], CursorKey | None]],
    window: PageWindow,
    adjacent_key: Callable[[CursorKey, int], CursorKey],
) -> Page[T]:
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
