"""Pages of ordered lists: which rows are in a window, and whether there are others.

Pages go by key, not by offset, so they do not shift when rows come in. A key is a tuple that `json` can hold
once identifiers are text; each list says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, literal, tuple_

T = TypeVar("T")

CursorKey: TypeAlias = tuple[Any, ...]
#: The keys `after` and `before` of a window as the database compares them.
Bounds: TypeAlias = tuple[Sequence[ColumnElement[Any]] | None, Sequence[ColumnElement[Any]] | None]


@dataclass(frozen=True, slots=True)
class PageWindow:
    """A stretch of an ordered list: at most `size` rows between two keys, from its start or (`backward`) its end."""

    size: int
    after: CursorKey | None = None
    before: CursorKey | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Rows of a window in the list's order, each with its key; `more` when the window had further ones."""

    rows: Sequence[tuple[CursorKey, T]]
    more: bool
    #: Whether the list has rows outside of the window: up to its key `after`, and from its key `before` on.
    earlier: bool
    later: bool
    #: Where a search that was not at the end of its window looked no further; the next page begins there.
    reached: CursorKey | None = None


def bounds_of(window: PageWindow, literals: Callable[[CursorKey], Sequence[ColumnElement[Any]]]) -> Bounds:
    """The keys of a window; `literals` makes of one what the database compares."""
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
    """Narrows a list ordered by `columns` to a window and one row more, which tells whether there are more."""
    key = tuple_(*columns)
    lower, upper = reversed(bounds) if descending else bounds
    if lower is not None:
        statement = statement.where(key > tuple_(*lower))
    if upper is not None:
        statement = statement.where(key < tuple_(*upper))
    from_the_top = descending != window.backward
    order = [column.desc() if from_the_top else column for column in columns]
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

    The row that a bound was made from may have gone, so one is looked for: from the bound outwards, where it mostly is.
    """

    def there(bound: Sequence[ColumnElement[Any]] | None, *, downward: bool) -> bool:
        if bound is None:
            return False
        key = tuple_(*columns)
        beyond = key <= tuple_(*bound) if downward else key >= tuple_(*bound)
        order = [column.desc() if downward else column for column in columns]
        return connection.execute(statement.where(beyond).order_by(*order).limit(1)).first() is not None

    after, before = bounds
    return there(after, downward=not descending), there(before, downward=descending)


def page(
    rows: Sequence[tuple[CursorKey, T]],
    window: PageWindow,
    earlier: bool,
    later: bool,
    reached: CursorKey | None = None,
) -> Page[T]:
    """Rows as they were read, up to one more than the window's size, as a page in the list's order."""
    kept, more = rows[: window.size], len(rows) > window.size
    return Page(kept[::-1] if window.backward else kept, more, earlier, later, None if more else reached)


def page_by_id(
    connection: Connection,
    statement: Select[Any],
    column: Column[UUID],
    window: PageWindow,
    shown: Callable[[Row[Any]], T],
    *,
    descending: bool = False,
) -> Page[T]:
    """A window of a list in the order of its identifiers, each row as it is `shown`; keys are (identifier,)."""
    bounds, columns = bounds_of(window, lambda key: (literal(key[0], column.type),)), (column,)
    rows = connection.execute(apply_window(statement, columns, bounds, window, descending=descending)).all()
    others = has_rows_outside(connection, statement.with_only_columns(column), columns, bounds, descending=descending)
    return page([((row.id,), shown(row)) for row in rows], window, *others)
