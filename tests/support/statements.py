"""Counts what is sent to a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from gql_imgproc.database.engine import Database


@contextmanager
def collect_statements(database: Database) -> Iterator[list[str]]:
    """Collects the statements of write transactions; one that is executed for several rows counts once."""
    executed: list[str] = []

    def collect(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            executed.append(statement)

    event.listen(database._writer, "before_cursor_execute", collect)
    yield executed
    event.remove(database._writer, "before_cursor_execute", collect)
