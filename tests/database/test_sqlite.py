"""Processes that share the one write lock of SQLite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from gql_imgproc.database import engine
from gql_imgproc.database.engine import Database
from gql_imgproc.errors import DatabaseUnavailable


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'notes.sqlite3'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    opened.write_now(Connection.execute, text("CREATE TABLE notes (number int)"))
    yield opened
    opened.close()


def add_note(connection: Connection) -> None:
    connection.execute(text("INSERT INTO notes VALUES (1)"))


def count_notes(connection: Connection) -> int:
    count: int = connection.execute(text("SELECT count(*) FROM notes")).scalar_one()
    return count


def test_writer_asks_for_the_lock_every_millisecond(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given another process that writes, when it ends after a while, then the lock is taken within a millisecond."""
    others = engine.sqlite_engine(url, "BEGIN IMMEDIATE", "power").connect()
    others.begin()
    pauses: list[float] = []

    def end_other_after_200_pauses(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 200:
            others.commit()

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", end_other_after_200_pauses)
        database.write_now(add_note)

    assert pauses == [0.001] * 200
    assert database.read_now(count_notes) == 1
    others.close()
    others.engine.dispose()


def test_writer_gives_up_after_the_timeout(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a process that never ends its transaction, when another writes, then it is refused and readers continue."""
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 50)
    others = engine.sqlite_engine(url, "BEGIN IMMEDIATE", "power").connect()
    others.begin()
    impatient = Database(url, retry_timeout_s=0)

    with pytest.raises(DatabaseUnavailable, match="database is locked"):
        impatient.write_now(add_note)

    assert impatient.read_now(count_notes) == 0
    others.close()
    others.engine.dispose()
    impatient.close()


@pytest.mark.parametrize("transact", [Database.write_now, Database.read_now])
def test_damaged_file_is_an_error_of_the_library(database: Database, url: str, transact: Callable[..., object]) -> None:
    """Given an open database whose file gets damaged, then a transaction fails as the callers expect it."""
    path = Path(url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.write(b"damage" * 20)

    with pytest.raises(SQLAlchemyError, match="file is not a database"):
        transact(database, count_notes)
