"""The application over a real database and Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api, serve_api
from tests.graphql.live_server import Server
from tests.support.databases import create_sqlite


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a migrated, empty SQLite database, for behaviour that does not depend on the database."""
    url = create_sqlite(tmp_path / "test.db")
    return url


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        public_url="https://images.example",
        max_upload_bytes=10_000,
    )


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of the application in this process."""
    async with open_api(settings) as client:
        yield client


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A real server: `HOST:PORT` and its runtime."""
    async with serve_api(settings) as (host, app):
        yield host, app.state.runtime
