"""The real application, called in this process or over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.settings import Settings
from gql_imgproc.web.app import create_app
from gql_imgproc.web.http_limits import Http
from gql_imgproc.web.server import uvicorn_config


class Api:
    """A client of the application, and what it holds open."""

    def __init__(self, client: httpx.AsyncClient, app: Any) -> None:
        self.http = client
        self.app = app
        self.runtime = app.state.runtime

    async def answer(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer to an operation."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation that must not have errors."""
        body = await self.answer(query, **variables)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def send(self, csv: bytes, fields: str, filename: str = "shop.csv", **given: Any) -> httpx.Response:
        """The answer to `uploadCsv`, sent as a browser would."""
        query = f"mutation($input: UploadCsvInput!) {{ uploadCsv(input: $input) {{ {fields} }} }}"
        return await self.http.post(
            "/graphql",
            headers={"GraphQL-Preflight": "1"},
            data={
                "operations": json.dumps({"query": query, "variables": {"input": {"file": None, **given}}}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, csv, "text/csv")},
        )

    async def upload(self, csv: bytes, fields: str, filename: str = "shop.csv", **given: Any) -> dict[str, Any]:
        """The outcome of an `uploadCsv` that must not have errors; the status tells of a file that is too large."""
        response = await self.send(csv, fields, filename, **given)
        assert response.status_code in (200, 413), response.text
        body = response.json()
        assert "errors" not in body, body["errors"]
        outcome: dict[str, Any] = body["data"]["uploadCsv"]
        return outcome


def ids(connection: dict[str, Any]) -> list[str]:
    return [edge["node"]["id"] for edge in connection["edges"]]


def error_of(response: Any) -> tuple[int, str, str]:
    """Status, code and message of an answer that has one error."""
    (error,) = response.json()["errors"]
    return response.status_code, error["extensions"]["code"], error["message"]


def listening_here(settings: Settings) -> Settings:
    """As `gql-imgproc api` hands them on when it listens for this machine alone."""
    return settings.model_copy(update={"introspection": "on"}) if settings.introspection == "auto" else settings


@asynccontextmanager
async def opened(
    settings: Settings, *, listening: bool = True, anonymous: AnonymousAccess = AnonymousAccess.WHILE_NO_KEY
) -> AsyncIterator[Api]:
    """The application in this process; not `listening`: as another ASGI server would start it."""
    app = create_app(listening_here(settings) if listening else settings, anonymous=anonymous)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            yield Api(client, app)


@asynccontextmanager
async def served(
    settings: Settings,
    *,
    http: type[Http] = Http,
    loopback_only: bool = False,
    anonymous: AnonymousAccess = AnonymousAccess.WHILE_NO_KEY,
) -> AsyncIterator[tuple[str, Any]]:
    """The application behind the real server: `HOST:PORT`, and the application."""
    app = create_app(listening_here(settings), loopback_only=loopback_only, anonymous=anonymous)
    async with listening(app, http) as address:
        yield address, app


@asynccontextmanager
async def listening(app: Any, http: type[Http] = Http) -> AsyncIterator[str]:
    """`HOST:PORT` where an application is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn_config(app, http=http, stop_seconds=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn tells by this flag alone
            await asyncio.sleep(0.01)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
