"""Connections: their arguments become a window of rows, and keys of rows become cursors.

A cursor is the key of a row, so new rows do not shift pages. Clients see it as opaque: base64 of JSON.
"""

from __future__ import annotations

import inspect
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, Generic, TypeVar, cast
from uuid import UUID

import strawberry

from gql_imgproc.database.pagination import CursorKey, Page, PageWindow
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.field import cost_field

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: Largest page of a connection.
MAX_PAGE_SIZE = 100
#: Size of a page when neither `first` nor `last` is given.
DEFAULT_PAGE_SIZE = 20
#: Longest cursor that is parsed, in characters; those of this service have under 100.
_MAX_CURSOR_CHARS = 200


class CursorKind(StrEnum):
    """The list that issued a cursor. Each list accepts only its own cursors."""

    REQUESTS = "r"
    PRODUCTS = "p"
    PRODUCTS_OF_REQUEST = "o"
    IMAGES_OF_REQUEST = "i"
    CHANGED_PRODUCTS = "cp"
    CHANGED_IMAGES = "ci"
    IMAGES_BY_SIMILARITY = "s"
    API_KEYS = "k"
    AUDIT = "a"
    WEBHOOK_ENDPOINTS = "w"
    WEBHOOK_DELIVERIES = "d"


def _id(part: str) -> UUID:
    return UUID(hex=part)


def _within(kind: type[int] | type[float], low: float, high: float) -> Callable[[Any], Any]:
    def check(part: Any) -> Any:
        if isinstance(part, kind) and low <= part < high:
            return part
        raise ValueError

    return check


_position = _within(int, 0, 2**31 - 1)
#: How the parts of a key are parsed; an identifier in the other lists.
_PARTS: dict[CursorKind, tuple[Callable[[Any], Any], ...]] = {
    # The latest time that both databases can store, in seconds since 1970, is in the year 9999.
    CursorKind.REQUESTS: (_within(float, 0, 253_402_300_799), _id),
    CursorKind.PRODUCTS_OF_REQUEST: (_position,),
    CursorKind.CHANGED_PRODUCTS: (_position,),
    # The position of the product, and of the image in it.
    CursorKind.IMAGES_OF_REQUEST: (_position, _position),
    CursorKind.CHANGED_IMAGES: (_position, _position),
    CursorKind.IMAGES_BY_SIMILARITY: (_within(float, 0, 101), _id),
}


def cursor(kind: CursorKind, key: CursorKey) -> str:
    parts = [part.hex if isinstance(part, UUID) else part for part in key]
    return urlsafe_b64encode(json.dumps([kind.value, *parts], separators=(",", ":")).encode()).decode()


def parse_connection_args(
    kind: CursorKind, first: int | None, after: str | None, last: int | None, before: str | None
) -> PageWindow:
    """The window of rows that the arguments select."""
    if first is not None and last is not None:
        raise bad_input("`first` and `last` cannot be combined.")
    return PageWindow(
        size=_size("last", last) if last is not None else _size("first", DEFAULT_PAGE_SIZE if first is None else first),
        after=None if after is None else _parse_cursor(kind, "after", after),
        before=None if before is None else _parse_cursor(kind, "before", before),
        backward=last is not None,
    )


def unset_to_none(argument: T | None) -> T | None:
    """The value of an argument; None when it was omitted."""
    return None if argument is strawberry.UNSET else argument


def _size(name: str, size: int) -> int:
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise bad_input(f"`{name}` must be from 0 to {MAX_PAGE_SIZE}.")
    return size


def _parse_cursor(kind: CursorKind, name: str, text: str) -> CursorKey:
    try:
        if len(text) > _MAX_CURSOR_CHARS:
            raise ValueError
        issued_by, *parts = json.loads(urlsafe_b64decode(text.encode("ascii")))
        if issued_by != kind.value:
            raise ValueError
        return tuple(parse(part) for parse, part in zip(_PARTS.get(kind, (_id,)), parts, strict=True))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise bad_input(f"The cursor in `{name}` is invalid. Pass back a cursor from the same list.") from None


@strawberry.type(description="Position of a page in its connection.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether entries follow.")
    has_previous_page: bool = strawberry.field(description="Whether entries precede.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first edge.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last edge.")

    @classmethod
    def from_page(cls, kind: CursorKind, window: PageWindow, page: Page[Any]) -> PageInfo:
        first, last = (page.rows[0][0], page.rows[-1][0]) if page.rows else (None, None)
        more = page.has_more or page.reached is not None
        # A page of a search may end before its last match, or without any: its cursor says where to continue.
        start = (window.backward and page.reached) or first
        end = (not window.backward and page.reached) or last
        return cls(
            has_next_page=page.has_later or (more and not window.backward),
            has_previous_page=page.has_earlier or (more and window.backward),
            start_cursor=cursor(kind, start) if start else None,
            end_cursor=cursor(kind, end) if end else None,
        )


@strawberry.type(description="One entry in a page.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Opaque position of this entry.")
    node: T = strawberry.field(description="The entry.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    edges: list[Edge[T]] = strawberry.field(description="The edges of this page.")
    page_info: PageInfo = strawberry.field(description="About this page.")

    @cost_field("The entries of this page, without their cursors.")
    def nodes(self) -> list[T]:
        return [edge.node for edge in self.edges]

    @cost_field("Number of matching entries on all pages.")
    async def total_count(self) -> int:
        return await self.count()

    @classmethod
    def from_page(
        cls,
        kind: CursorKind,
        window: PageWindow,
        page: Page[R],
        to_node: Callable[[R], T],
        count: Callable[[], Awaitable[int]],
    ) -> Connection[T]:
        """`count` counts the whole list. It is not called when the page has all of it."""

        async def count_page() -> int:
            return len(page.rows)

        is_complete = window.after is None and window.before is None and not page.has_more and page.reached is None
        return cls(
            count=count_page if is_complete else count,
            edges=[Edge(cursor=cursor(kind, key), node=to_node(row)) for key, row in page.rows],
            page_info=PageInfo.from_page(kind, window, page),
        )


def _page_argument(name: str, kind: Any, description: str) -> inspect.Parameter:
    annotation = Annotated[kind, strawberry.argument(description=description)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=strawberry.UNSET, annotation=annotation)


#: Arguments of a page, in the order of the parameters of `parse_connection_args`.
_PAGE_ARGUMENTS = [
    _page_argument("first", int | None, "Return at most this many from the start, 0 to 100."),
    _page_argument("after", str | None, "Only entries after this cursor."),
    _page_argument("last", int | None, "Return at most this many from the end, 0 to 100."),
    _page_argument("before", str | None, "Only entries before this cursor."),
]


def paginated(kind: CursorKind) -> Callable[[F], F]:
    """Gives a resolver the arguments of a page; its parameter `window` is the rows that they select."""

    def decorate(resolve: F) -> F:
        @wraps(resolve)
        def resolve_page(*source: Any, **arguments: Any) -> Any:
            page = (arguments.pop(argument.name, None) for argument in _PAGE_ARGUMENTS)
            return resolve(*source, window=parse_connection_args(kind, *page), **arguments)

        signature = inspect.signature(resolve)
        others = [each for each in signature.parameters.values() if each.name not in ("self", "info", "window")]
        own = [signature.parameters[name] for name in ("self", "info") if name in signature.parameters]
        filters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]
        resolve_page.__signature__ = signature.replace(  # type: ignore[attr-defined]  # PEP 362
            parameters=[*own, *_PAGE_ARGUMENTS, *filters]
        )
        return cast(F, resolve_page)

    return decorate
