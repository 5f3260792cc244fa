"""Pages: from the arguments of a connection to a window of the database, and from its keys to cursors and back.

A cursor is the key of its row, so pages stay where they are when rows come in. It is opaque: base64 of JSON.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import strawberry

from gql_imgproc.database.pagination import CursorKey, Page, PageWindow
from gql_imgproc.graphql.errors import bad_input

T = TypeVar("T")

#: Largest page of a connection.
MAX_PAGE_SIZE = 100
#: Size of a page when neither `first` nor `last` is given.
DEFAULT_PAGE_SIZE = 20
#: Longest cursor that is looked at, in characters; ours have under 100.
_MAX_CURSOR_CHARS = 200
#: The moments that both databases can hold, in seconds since 1970: up to the year 9999.
_LAST_MOMENT = 253_402_300_799
_LAST_POSITION = 2**31 - 1

First = Annotated[int | None, strawberry.argument(description="At most this many from the start, 0 to 100.")]
After = Annotated[str | None, strawberry.argument(description="Only those after this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="At most this many from the end, 0 to 100.")]
Before = Annotated[str | None, strawberry.argument(description="Only those before this cursor.")]


class ConnectionArgs(StrEnum):
    """The lists that give out cursors; each understands its own only."""

    #: Keys are (seconds, identifier).
    REQUESTS = "r"
    #: Keys are (identifier,).
    PRODUCTS = "p"
    #: Keys are (position,).
    PRODUCTS_OF_REQUEST = "o"
    #: Keys are (identifier,).
    API_KEYS = "k"
    #: Keys are (identifier,).
    AUDIT = "a"


def cursor(listing: ConnectionArgs, key: CursorKey) -> str:
    parts = [part.hex if isinstance(part, UUID) else part for part in key]
    return urlsafe_b64encode(json.dumps([listing.value, *parts], separators=(",", ":")).encode()).decode()


def parse_connection_args(
    listing: ConnectionArgs, first: int | None, after: str | None, last: int | None, before: str | None
) -> PageWindow:
    """The window that the arguments of a connection ask for; one that was left out is as good as null."""
    first, last = unset_to_none(first), unset_to_none(last)
    after, before = unset_to_none(after), unset_to_none(before)
    if first is not None and last is not None:
        raise bad_input("Give `first` or `last`, not both.")
    return PageWindow(
        size=_size("last", last) if last is not None else _size("first", DEFAULT_PAGE_SIZE if first is None else first),
        after=None if after is None else _key(listing, "after", after),
        before=None if before is None else _key(listing, "before", before),
        backward=last is not None,
    )


def unset_to_none(argument: T | None) -> T | None:
    """An argument that may have been left out."""
    return None if argument is strawberry.UNSET else argument


def _size(name: str, size: int) -> int:
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise bad_input(f"`{name}` must be from 0 to {MAX_PAGE_SIZE}.")
    return size


def _key(listing: ConnectionArgs, name: str, text: str) -> CursorKey:
    try:
        if len(text) > _MAX_CURSOR_CHARS:
            raise ValueError
        kind, *parts = json.loads(urlsafe_b64decode(text.encode("ascii")))
        if kind != listing.value:
            raise ValueError
        return _checked(listing, parts)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise bad_input(f"The cursor in `{name}` is not one that this list gave out.") from None


def _checked(listing: ConnectionArgs, parts: list[Any]) -> CursorKey:
    match listing, parts:
        case ConnectionArgs.REQUESTS, [float(seconds), str(digits)] if (
            math.isfinite(seconds) and 0 <= seconds < _LAST_MOMENT
        ):
            return seconds, UUID(hex=digits)
        case ConnectionArgs.PRODUCTS | ConnectionArgs.API_KEYS | ConnectionArgs.AUDIT, [str(digits)]:
            return (UUID(hex=digits),)
        case ConnectionArgs.PRODUCTS_OF_REQUEST, [int(position)] if 0 <= position < _LAST_POSITION:
            return (position,)
    raise ValueError


def total_count(
    window: PageWindow, page: Page[Any], count: Callable[[], Awaitable[int]]
) -> Callable[[], Awaitable[int]]:
    """Counts the whole list; without asking again when the page is the whole."""

    async def of_the_page() -> int:
        return len(page.rows)

    whole = window.after is None and window.before is None and not page.has_more and page.reached is None
    return of_the_page if whole else count


@strawberry.type(description="About a page of a connection.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follow.")
    has_previous_page: bool = strawberry.field(description="Whether there are some before.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge.")

    @classmethod
    def of(cls, listing: ConnectionArgs, window: PageWindow, page: Page[Any]) -> PageInfo:
        first, last = (page.rows[0][0], page.rows[-1][0]) if page.rows else (None, None)
        more = page.has_more or page.reached is not None
        # A page of a search may end before its last match, even without any: the cursor says where to go on.
        start = (window.backward and page.reached) or first
        end = (not window.backward and page.reached) or last
        return cls(
            has_next_page=page.has_later or (more and not window.backward),
            has_previous_page=page.has_earlier or (more and window.backward),
            start_cursor=cursor(listing, start) if start else None,
            end_cursor=cursor(listing, end) if end else None,
        )
