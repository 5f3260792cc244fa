"""Subscriptions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.errors import RequestNotFound
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.errors import Code, coded_error
from gql_imgproc.graphql.types.connection import Connection, CursorKind, paginated, unset_to_none
from gql_imgproc.graphql.types.enums import RequestOrder
from gql_imgproc.graphql.types.field import Cost
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.graphql.types.request_filter import (
    FilterArgument,
    OrderArgument,
    RequestFilterInput,
    RequestList,
)
from gql_imgproc.ids import IdPrefix, parse_global_id
from gql_imgproc.requests.watch import watch, watch_list


async def _request_progress(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The request.")]
) -> AsyncGenerator[Request, None]:
    exists = False
    if request_id := parse_global_id(id, IdPrefix.REQUEST):
        async with aclosing(watch(info.context.runtime, info.context.caller.tenant_id, request_id)) as snapshots:
            async for snapshot in snapshots:
                exists = True
                yield Request.from_snapshot(snapshot)
    if not exists:
        raise coded_error(Code.NOT_FOUND, str(RequestNotFound()))


@paginated(CursorKind.REQUESTS)
async def _requests_changed(
    info: Info,
    window: PageWindow,
    filter: FilterArgument = strawberry.UNSET,
    order_by: OrderArgument = RequestOrder.CREATED_AT_DESC,
) -> AsyncGenerator[Connection[Request], None]:
    wanted = (unset_to_none(filter) or RequestFilterInput()).to_filter(None)
    requests = RequestList(info.context, window, wanted, order_by)
    async with aclosing(watch_list(info.context.runtime, info.context.caller.tenant_id, requests.read)) as pages:
        async for page in pages:
            yield requests.to_connection(page)


@strawberry.type(description="Live updates.")
class Subscription:
    request_progress: AsyncGenerator[Request, None] = strawberry.subscription(
        resolver=_request_progress,
        description="The current state of the request, then each newer state, at most five a second;\n"
        "the stream completes after the event with a final status.",
    )
    requests_changed: AsyncGenerator[Connection[Request], None] = strawberry.subscription(
        resolver=_requests_changed,
        description="The page of `requests` with the same arguments, then again whenever one of its requests changes,\n"
        "is new or was deleted, at most once a second. The stream does not complete.",
        directives=[Cost(weight=5)],
    )
