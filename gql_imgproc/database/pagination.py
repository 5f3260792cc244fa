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
#: The keys `after` and `before` of a window as SQL expressions.
Bounds: TypeAlias = tuple[Sequence[ColumnElement[Any]] | None, Sequence[ColumnElement[Any]] | None]


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


def bounds_of(window: PageWindow, literals: Callable[[CursorKey], Sequence[ColumnElement[Any]]]) -> Bounds:
    """The keys of a window as SQL expressions, which `literals` creates."""
    return (
        None if window.after is None else literals(window.after),
        None if window.before is None else literals(window.before),
    )


def apply_window(
    statement: Select[Any],
    columns: tuple[ColumnElement[Any], ...],
    bounds: Bounds,
    window: PageWindow,
    *,
    descending: bool = False,
) -> Select[Any]:
    """Limits a list ordered by `columns` to a window and one row more, which shows whether there are more."""
    key = tuple_(*columns)
    lower, upper = reversed(bounds) if descending else bounds
    if lower is not None:
        statement = statement.where(key > tuple_(*lower))
    if upper is not None:
        statement = statement.where(key < tuple_(*upper))
    is_reversed = descending != window.backward
    order = [column.desc() if is_reversed else column for column in columns]
    return statement.order_by(*order).limit(window.size + 1)


def has_rows_outside(
    connection: Connection,
    statement: Select[Any],
    columns: tuple[ColumnElement[Any], ...],
    bounds: Bounds,
    *,
    descending: bool = False,
) -> tuple[bool, bool]:
    """Whether the list has rows up to the first bound, and from the second one on.

    The row of a bound may have been deleted, so this searches outwards from the bound.
    """

    def exists_beyond(bound: Sequence[ColumnElement[Any]] | None, *, downward: bool) -> bool:
        if bound is None:
            return False
        key = tuple_(*columns)
        beyond = key <= tuple_(*bound) if downward else key >= tuple_(*bound)
        order = [column.desc() if downward else column for column in columns]
        return connection.execute(statement.where(beyond).order_by(*order).limit(1)).first() is not None

    after, before = bounds
    return exists_beyond(after, downward=not descending), exists_beyond(before, downward=descending)


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


def page_by_id(
    connection: Connection,
    statement: Select[Any],
    column: Column[UUID],
    window: PageWindow,
    convert: Callable[[Row[Any]], T],
) -> Page[T]:
    """A page of a list ordered by descending ID, with converted rows; cursor keys are (ID,)."""
    bounds, columns = bounds_of(window, lambda key: (literal(key[0], column.type),)), (column,)
    rows = connection.execute(apply_window(statement, columns, bounds, window, descending=True)).all()
    ids = statement.with_only_columns(column)
    has_earlier, has_later = has_rows_outside(connection, ids, columns, bounds, descending=True)
    items = [((row.id,), convert(row)) for row in rows]
    return page(items, window, has_earlier=has_earlier, has_later=has_later)
