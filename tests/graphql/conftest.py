"""The application over a real database and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, opened, served
from tests.graphql.live_server import Play, Server, Story

T = TypeVar("T")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Address of a migrated, empty database, for what does not differ between databases."""
    url = f"sqlite:///{tmp_path / 'test.db'}"
    upgrade(url)
    return url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        public_url="https://pictures.example",
        max_upload_bytes=10_000,
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of the application in this process."""
    async with opened(settings) as client:
        yield client


@pytest.fixture
def run(settings: Settings) -> Callable[[Callable[[Api], Awaitable[T]]], T]:
    """Plays a story against the application and gives what it returns."""

    def run(story: Callable[[Api], Awaitable[T]]) -> T:
        async def play() -> T:
            async with opened(settings) as api:
                return await story(api)

        return asyncio.run(play())

    return run


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A real server: its host and port, and the runtime it holds."""
    async with served(settings) as (host, app):
        yield host, app.state.runtime


@pytest.fixture
def play(settings: Settings) -> Play:
    """Plays a story against a real server: its host and port, and the resources it holds."""

    def play(story: Story) -> None:
        async def run() -> None:
            async with served(settings) as (host, app):
                await story(host, app.state.runtime)

        asyncio.run(run())

    return play
