"""Live updates."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from gql_imgproc.errors import RequestNotFound
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.errors import not_found
from gql_imgproc.graphql.types.request import Request
from gql_imgproc.ids import decode_request_id
from gql_imgproc.requests.watch import watch


async def _request_progress(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="Which request.")]
) -> AsyncGenerator[Request, None]:
    request_id = decode_request_id(id)
    if request_id is None:
        raise not_found(str(RequestNotFound()))
    known = False
    async with aclosing(watch(info.context.runtime, info.context.caller.tenant_id, request_id)) as snapshots:
        async for snapshot in snapshots:
            known = True
            yield Request.of(snapshot)
    if not known:
        raise not_found(str(RequestNotFound()))


@strawberry.type(description="Live updates.")
class Subscription:
    request_progress: AsyncGenerator[Request, None] = strawberry.subscription(
        resolver=_request_progress,
        description="The request as it is now, then again whenever it changes "
        "(at most some times a second, the latest state wins);\n"
        "the stream completes after the event with a final status.",
    )
