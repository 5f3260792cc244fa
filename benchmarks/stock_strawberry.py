"""The schema in Strawberry's own schema class and ASGI app: `python -m benchmarks.stock_strawberry PORT`."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.schema.config import StrawberryConfig

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.mutation import Mutation
from gql_imgproc.graphql.query import Query
from gql_imgproc.graphql.subscription import Subscription
from gql_imgproc.graphql.types import enums  # noqa: F401  # the import describes the enums
from gql_imgproc.graphql.types.scalars import SCALARS
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import load


class StockEndpoint(GraphQL[Context, None]):
    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        return Context(request.app.state.app_state, anonymous_caller("", is_unlimited=True))


def app() -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with Runtime(load()) as runtime:
            app.state.app_state = AppState(runtime, AnonymousAccess.ALWAYS)
            yield

    config = StrawberryConfig(scalar_map=SCALARS)
    endpoint: Any = StockEndpoint(
        strawberry.Schema(Query, Mutation, Subscription, config=config),
        graphql_ide=None,
        multipart_uploads_enabled=True,
    )
    return Starlette(routes=[Route("/graphql", endpoint), WebSocketRoute("/graphql", endpoint)], lifespan=lifespan)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    port = parser.parse_args().port
    uvicorn.run(app(), port=port, loop="uvloop", ws="websockets-sansio", log_config=None, access_log=False)
