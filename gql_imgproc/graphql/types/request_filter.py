"""Lists of requests: their filter and their order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.enums import RequestStatus
from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import Connection, CursorKind, unset_to_none
from gql_imgproc.graphql.types.enums import RequestOrder
from gql_imgproc.graphql.types.product import parse_search
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot


@strawberry.input(description="Selects requests. A field that is left out selects all.")
class RequestFilterInput:
    status: RequestStatus | None = strawberry.field(default=strawberry.UNSET, description="Status of the request.")
    created_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Requests that were accepted at this time or later."
    )
    created_before: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Requests that were accepted at this time or earlier."
    )
    file_name: str | None = strawberry.field(
        default=strawberry.UNSET, description="Text in the name of the uploaded file, in any case."
    )

    def to_filter(self, status: RequestStatus | None) -> queries.RequestFilter:
        """`status` is that of the argument next to the filter."""
        own = unset_to_none(self.status)
        if own and status and own is not status:
            raise bad_input("`status` and `filter.status` must be the same.")
        return queries.RequestFilter(
            own or status,
            unset_to_none(self.created_after),
            unset_to_none(self.created_before),
            parse_search(self.file_name, "fileName"),
        )


FilterArgument = Annotated[
    RequestFilterInput | None, strawberry.argument(description="Only requests that match all fields.")
]
OrderArgument = Annotated[RequestOrder, strawberry.argument(description="Order of the list.")]


@dataclass(frozen=True, slots=True)
class RequestList:
    """A page of the caller's requests."""

    context: Context
    window: PageWindow
    filter: queries.RequestFilter
    order: RequestOrder

    async def read(self) -> Page[Snapshot]:
        oldest_first = self.order is RequestOrder.CREATED_AT_ASC
        read = self.context.read
        return await read(queries.requests_page, self.window, filter=self.filter, oldest_first=oldest_first)

    def to_connection(self, page: Page[Snapshot]) -> Connection[Request]:
        count = partial(self.context.read, queries.count_requests, filter=self.filter)
        return Connection.from_page(CursorKind.REQUESTS, self.window, page, Request.from_snapshot, count)
