"""Subscriptions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from gql_imgproc.errors import RequestNotFound
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.errors import not_found
from gql_imgproc.graphql.types.node import parse_global_id
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.ids import IdPrefix
from gql_imgproc.requests.watch import watch


async def _request_progress(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The request.")]
) -> AsyncGenerator[Request, None]:
    request_id = parse_global_id(id, IdPrefix.REQUEST)
    if request_id is None:
        raise not_found(str(RequestNotFound()))
    exists = False
    async with aclosing(watch(info.context.runtime, info.context.caller.tenant_id, request_id)) as snapshots:
        async for snapshot in snapshots:
            exists = True
            yield Request.from_snapshot(snapshot)
    if not exists:
        raise not_found(str(RequestNotFound()))


@strawberry.type(description="Live updates.")
class Subscription:
    request_progress: AsyncGenerator[Request, None] = strawberry.subscription(
        resolver=_request_progress,
        description="The current state of the request, then each newer state, at most five a second;\n"
        "the stream completes after the event with a final status.",
    )
