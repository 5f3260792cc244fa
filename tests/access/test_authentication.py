"""Rejecting a key does not reveal which keys exist, not even by its timing."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from gql_imgproc.access.authentication import AnonymousAccess, Authenticator
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import ApiKeyRejected
from gql_imgproc.runtime import Runtime
from gql_imgproc.security import api_key
from gql_imgproc.security.api_key import generate_api_key
from gql_imgproc.settings import Settings
from tests.support.api_keys import given_key


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Statements that reach the database during the block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engines = {database._reader, database._writer}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def test_unknown_and_wrong_keys_take_the_same_steps(
    database_url: str, redis_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compared: list[tuple[int, int]] = []
    compare: Callable[[str, str], bool] = hmac.compare_digest

    def spy(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(api_key.hmac, "compare_digest", spy)
    caplog.set_level(logging.DEBUG, "gql_imgproc")

    async def steps(authenticator: Authenticator, database: Database, key: str) -> Any:
        compared.clear()
        caplog.clear()
        with statements(database) as seen, pytest.raises(ApiKeyRejected) as rejected:
            await authenticator.authenticate(key, "192.0.2.1")
        logged = [(record.getMessage(), record.reason) for record in caplog.records]  # type: ignore[attr-defined]  # in `extra`
        return seen, list(compared), logged, str(rejected.value)

    settings = Settings(_env_file=None, database_url=database_url, redis_url=redis_url, data_dir=tmp_path)
    async with Runtime(settings) as runtime:
        authenticator = Authenticator(runtime, AnonymousAccess.NEVER)
        valid, _ = given_key(runtime.db)
        unknown_key = generate_api_key()
        await authenticator.authenticate(valid, "192.0.2.1")

        wrong = await steps(authenticator, runtime.db, valid[:-40] + unknown_key[-40:])
        unknown = await steps(authenticator, runtime.db, unknown_key)

    assert wrong == unknown
    seen, comparisons, logged, _ = unknown
    assert [statement.split()[0] for statement in seen if not statement.startswith("BEGIN")] == ["SELECT"]
    assert comparisons == [(64, 64)]
    assert logged == [("API key rejected", "It is not known. Check that it was copied completely.")]
