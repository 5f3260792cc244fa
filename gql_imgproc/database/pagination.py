"""Keyset pagination: which rows are in a window of an ordered list, and whether there are others.

Pages are addressed by key, not by offset, so they do not shift when rows are inserted. A cursor key is a tuple of JSON
values and UUIDs; each query documents its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, literal, tuple_

T = TypeVar("T")

CursorKey: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class PageWindow:
    """At most `size` rows of an ordered list between two keys, from the start of that range or (`backward`) its end."""

    size: int
    after: CursorKey | None = None
    before: CursorKey | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of a window in the order of the list, each with its cursor key."""

    rows: Sequence[tuple[CursorKey, T]]
    #: Whether the window has further rows.
    has_more: bool
    #: Whether the list has rows outside the window: up to its key `after`, and from its key `before` on.
    has_earlier: bool
    has_later: bool
    #: Key at which a search stopped at its limit, before the end of the window; the next page starts there.
    reached: CursorKey | None = None


def apply_window(
    statement: Select[Any], columns: tuple[ColumnElement[Any], ...], window: PageWindow, *, descending: bool = False
) -> Select[Any]:
    """Limits a list ordered by `columns` to a window and one row more, which shows whether there are more."""
    lower, upper = (window.before, window.after) if descending else (window.after, window.before)
    if lower is not None:
        statement = statement.where(tuple_(*columns) > _literals(columns, lower))
    if upper is not None:
        statement = statement.where(tuple_(*columns) < _literals(columns, upper))
    is_reversed = descending != window.backward
    order = [column.desc() if is_reversed else column for column in columns]
    return statement.order_by(*order).limit(window.size + 1)


def _literals(columns: tuple[ColumnElement[Any], ...], key: CursorKey) -> ColumnElement[Any]:
    return tuple_(*(literal(part, column.type) for part, column in zip(key, columns, strict=True)))


def page(
    rows: Sequence[tuple[CursorKey, T]],
    window: PageWindow,
    *,
    has_earlier: bool,
    has_later: bool,
    reached: CursorKey | None = None,
) -> Page[T]:
    """A page of rows as they were read: up to one more than the size of the window, reversed if it is `backward`."""
    rows_in_window, has_more = rows[: window.size], len(rows) > window.size
    return Page(
        rows_in_window[::-1] if window.backward else rows_in_window,
        has_more,
        has_earlier,
        has_later,
        None if has_more else reached,
    )


def read_page(
    connection: Connection,
    statement: Select[Any],
    columns: tuple[ColumnElement[Any], ...],
    window: PageWindow,
    convert: Callable[[Any], tuple[CursorKey, T]],
    *,
    descending: bool = False,
) -> Page[T]:
    """A page of a list ordered by `columns`; `convert` returns the cursor key of a row, and its value."""
    rows = connection.execute(apply_window(statement, columns, window, descending=descending)).all()

    def exists_beyond(key: CursorKey | None, *, downward: bool) -> bool:
        # The row of a key may have been deleted, so this searches outwards from the key.
        if key is None:
            return False
        row, bound = tuple_(*columns), _literals(columns, key)
        order = [column.desc() if downward else column for column in columns]
        beyond = statement.with_only_columns(*columns).where(row <= bound if downward else row >= bound)
        return connection.execute(beyond.order_by(*order).limit(1)).first() is not None

    return page(
        [convert(row) for row in rows],
        window,
        has_earlier=exists_beyond(window.after, downward=not descending),
        has_later=exists_beyond(window.before, downward=descending),
    )


def page_by_id(
    connection: Connection,
    statement: Select[Any],
    column: Column[UUID],
    window: PageWindow,
    convert: Callable[[Row[Any]], T],
) -> Page[T]:
    """A page of a list ordered by descending ID, with converted rows; cursor keys are (ID,)."""
    return read_page(connection, statement, (column,), window, lambda row: ((row.id,), convert(row)), descending=True)
