"""One application for all fuzz tests of a process: attackers do not get a fresh one either."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from gql_imgproc.settings import Settings
from tests.fuzz import limits
from tests.fuzz.asgi_client import FuzzServer, fuzz_server
from tests.support.databases import create_sqlite


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        # A closing WebSocket cancels its operations, some before the first step of a resolver.
        item.add_marker(pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"))
        if limits.LONG:
            item.add_marker(pytest.mark.timeout(limits.LONG_TIMEOUT_S))


@pytest.fixture(scope="package")
def shared_server(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzServer]:
    folder = tmp_path_factory.mktemp("fuzz")
    url = create_sqlite(folder / "fuzz.db")
    settings = Settings(
        _env_file=None,
        database_url=url,
        redis_url=redis_server,
        data_dir=folder,
        public_url="https://images.example",
        max_upload_bytes=20_000,
        max_products=50,
        max_images=100,
        max_columns=20,
        max_field_chars=5_000,
    )
    with fuzz_server(settings) as server:
        yield server
    # Warnings about leftover objects appear here, and not during another test.
    gc.collect()


@pytest.fixture
def fuzzed(shared_server: FuzzServer) -> FuzzServer:
    """The server with an empty log, without errors of earlier tests."""
    shared_server.clear_log()
    return shared_server
