"""The application with SQLite and a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api
from tests.support.databases import create_sqlite


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    create_sqlite(tmp_path / "imgproc.db")
    return Settings(_env_file=None, redis_url=redis_url, data_dir=tmp_path, public_url="https://images.example")


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of an application in this process."""
    async with open_api(settings) as client:
        yield client
