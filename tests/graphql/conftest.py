"""The real application over a real database, called in this process, and rows to ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from gql_imgproc.settings import Settings
from gql_imgproc.web.app import create_app

T = TypeVar("T")


class Api:
    """A client of the application, and what it holds open."""

    def __init__(self, client: httpx.AsyncClient, app: Any) -> None:
        self.http = client
        self.app = app
        self.resources = app.state.resources

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

    async def upload(self, csv: bytes, fields: str, filename: str = "shop.csv", **given: Any) -> dict[str, Any]:
        """The outcome of `uploadCsv`, sent as a browser would."""
        query = f"mutation($input: UploadCsvInput!) {{ uploadCsv(input: $input) {{ {fields} }} }}"
        response = await self.http.post(
            "/graphql",
            headers={"GraphQL-Preflight": "1"},
            data={
                "operations": json.dumps({"query": query, "variables": {"input": {"file": None, **given}}}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": (filename, csv, "text/csv")},
        )
        assert response.status_code == 200, response.text
        body = response.json()
        assert "errors" not in body, body["errors"]
        outcome: dict[str, Any] = body["data"]["uploadCsv"]
        return outcome


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Api]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
            yield Api(client, app)


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        public_url="https://pictures.example",
        fetch_allow_networks="127.0.0.0/8",
        fetch_allow_ports="*",
    )


@pytest.fixture
def run(settings: Settings) -> Callable[[Callable[[Api], Awaitable[T]]], T]:
    """Runs a story against the application."""

    def run(story: Callable[[Api], Awaitable[T]]) -> T:
        async def play() -> T:
            async with opened(settings) as api:
                return await story(api)

        return asyncio.run(play())

    return run
