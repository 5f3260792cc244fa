"""The container engine, started once for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.containers import running_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    with running_engine():
        yield
