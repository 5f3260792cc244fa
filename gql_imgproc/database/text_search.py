"""Searching names: no index answers "contains" for every text, so a page looks through so many products and no more.

A trigram index would: where it helps little, for short or frequent texts, the products that it finds would have to be
sorted, all of them, and each row would cost more to take in. See docs/decisions/0012-bounded-searches.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select

from gql_imgproc.database.pagination import CursorKey, PageWindow

#: Products that one page looks through. All of a request, with the default limit of rows.
SEARCH_ROWS = 100_000


def contains(connection: Connection, column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether `column` contains `text`, whatever the case of either."""
    if connection.dialect.name != "sqlite":
        return column.icontains(text, autoescape=True)
    # SQLite folds ASCII only, so each letter is looked for in both its cases.
    return column.op("GLOB")("*" + "".join(_either_case(letter) for letter in text) + "*")


def _either_case(letter: str) -> str:
    cases = {letter, *(other for other in (letter.lower(), letter.upper()) if len(other) == 1)}
    if len(cases) == 1:
        return f"[{letter}]" if letter in "*?[" else letter
    return f"[{''.join(sorted(cases))}]"


def search_window(window: PageWindow, ingested: int) -> tuple[PageWindow, CursorKey | None]:
    """The part of a window of a request's positions that a page looks through, and the key of its end.

    No key when that is the end of the window.
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


def find_search_limit(connection: Connection, ordered: Select[Any]) -> CursorKey | None:
    """Key of the first product that is not looked through any more; `ordered` selects identifiers."""
    beyond = connection.scalars(ordered.limit(1).offset(SEARCH_ROWS)).first()
    return None if beyond is None else (beyond,)


def adjacent_key(key: CursorKey, step: int) -> CursorKey:
    """The key just above or below an identifier's: it need not be one of a product."""
    return (UUID(int=min(max(key[0].int + step, 0), _LARGEST_ID)),)


_LARGEST_ID = 2**128 - 1
