"""The application over SQLite and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, opened


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    settings = Settings(_env_file=None, redis_url=redis_url, data_dir=tmp_path, public_url="https://pictures.example")
    upgrade(settings.database)
    return settings


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of the application in this process."""
    async with opened(settings) as client:
        yield client


@pytest.fixture
def run(settings: Settings) -> Callable[[Callable[[Api], Awaitable[None]]], None]:
    """Plays a story against the application."""

    def run(story: Callable[[Api], Awaitable[None]]) -> None:
        async def play() -> None:
            async with opened(settings) as api:
                await story(api)

        asyncio.run(play())

    return run
