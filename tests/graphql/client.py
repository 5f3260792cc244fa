"""The application, called in this process or over sockets."""

from __future__ import annotations

import asyncio
import json
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
from tests.support.services import advance_in_background


class Api:
    """A client of the application, and its runtime."""

    def __init__(self, client: httpx.AsyncClient, app: Any) -> None:
        self.http = client
        self.app = app
        self.runtime = app.state.runtime

    async def execute(self, query: str, **variables: Any) -> dict[str, Any]:
        """The response body of an operation."""
        response = await self.http.post("/graphql", json={"query": query, "variables": variables})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    async def data(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an operation without errors."""
        body = await self.execute(query, **variables)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def send_upload(
        self, csv: bytes, fields: str, filename: str = "shop.csv", document: str = "", **input: Any
    ) -> httpx.Response:
        """The response to `uploadCsv`, or to another document, sent as a browser does."""
        query = document or f"mutation($input: UploadCsvInput!) {{ uploadCsv(input: $input) {{ {fields} }} }}"
        return await self.http.post(
            "/graphql",
            headers={"GraphQL-Preflight": "1"},
            data={
                "operations": json.dumps({"query": query, "variables": {"input": {"file": None, **input}}}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, csv, "text/csv")},
        )

    async def upload(self, csv: bytes, fields: str, filename: str = "shop.csv", **input: Any) -> dict[str, Any]:
        """The result of `uploadCsv` without errors; the status is 413 for a file that is too large."""
        response = await self.send_upload(csv, fields, filename, **input)
        assert response.status_code in (200, 413), response.text
        body = response.json()
        assert "errors" not in body, body["errors"]
        result: dict[str, Any] = body["data"]["uploadCsv"]
        return result


def ids(connection: dict[str, Any]) -> list[str]:
    return [edge["node"]["id"] for edge in connection["edges"]]


def error_of(response: Any) -> tuple[int, str, str]:
    """Status, code and message of a response with one error."""
    (error,) = response.json()["errors"]
    return response.status_code, error["extensions"]["code"], error["message"]


def resolve_introspection(settings: Settings) -> Settings:
    """Settings as `gql-imgproc api` changes them when it listens on loopback."""
    return settings.model_copy(update={"introspection": "on"}) if settings.introspection == "auto" else settings


@asynccontextmanager
async def open_api(
    settings: Settings, *, listening: bool = True, anonymous: AnonymousAccess = AnonymousAccess.WHILE_NO_KEY
) -> AsyncIterator[Api]:
    """A client of the application in this process; without `listening`, as another ASGI server would start it."""
    app = create_app(resolve_introspection(settings) if listening else settings, anonymous=anonymous)
    async with app.router.lifespan_context(app):
        advance_in_background(app.state.runtime)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            yield Api(client, app)


@asynccontextmanager
async def serve_api(
    settings: Settings,
    *,
    http: type[Http] = Http,
    loopback_only: bool = False,
    anonymous: AnonymousAccess = AnonymousAccess.WHILE_NO_KEY,
) -> AsyncIterator[tuple[str, Any]]:
    """The application behind the real server; yields `HOST:PORT` and the application."""
    app = create_app(resolve_introspection(settings), loopback_only=loopback_only, anonymous=anonymous)
    async with serve_app(app, http) as host:
        advance_in_background(app.state.runtime)
        yield host, app


@asynccontextmanager
async def serve_app(app: Any, http: type[Http] = Http) -> AsyncIterator[str]:
    """Serves an application; yields `HOST:PORT`."""
    server = uvicorn.Server(uvicorn_config(app, http=http, stop_seconds=1))
    task = asyncio.create_task(server.serve())
    try:
        while not (server.started or task.done()):  # noqa: ASYNC110 - uvicorn has only this flag
            await asyncio.sleep(0.01)
        (listener,) = server.servers[0].sockets
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
