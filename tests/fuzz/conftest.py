"""One application for all fuzz tests of a process: an attacker does not get a fresh one either."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from tests.fuzz import limits
from tests.fuzz.asgi_client import Door, opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        # A socket that closes ends its operations, some between a resolver's call and its first step.
        item.add_marker(pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"))
        if limits.LONG:
            item.add_marker(pytest.mark.timeout(limits.LONG_TIMEOUT_S))


@pytest.fixture(scope="package")
def open_door(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("fuzz")
    url = f"sqlite:///{folder / 'fuzz.db'}"
    upgrade(url)
    settings = Settings(
        _env_file=None,
        database_url=url,
        redis_url=redis_server,
        data_dir=folder,
        public_url="https://pictures.example",
        max_upload_bytes=20_000,
        max_products=50,
        max_images=100,
        max_columns=20,
        max_field_chars=5_000,
    )
    with opened(settings) as door:
        yield door
    # What is to be said of what is left over is said here, and not during somebody else's test.
    gc.collect()


@pytest.fixture
def door(open_door: Door) -> Door:
    """The door with an empty log: what one test found is no fault of the next."""
    open_door.forget_log()
    return open_door
