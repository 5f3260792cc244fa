"""The application with SQLite and a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, open_api


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    settings = Settings(_env_file=None, redis_url=redis_url, data_dir=tmp_path, public_url="https://images.example")
    upgrade(settings.database)
    return settings


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """A client of an application in this process."""
    async with open_api(settings) as client:
        yield client
