"""Migrated, empty databases, copied from a template: migrating takes a hundred times longer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, make_url, text

from gql_imgproc.database.migrations import upgrade


def create_sqlite(path: Path) -> str:
    """Creates a migrated, empty SQLite database; returns its URL."""
    path.write_bytes(_sqlite_template())
    return f"sqlite:///{path}"


@cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()


@contextmanager
def create_postgresql(server_url: str, template: str | None = None) -> Iterator[str]:
    """URL of a new database of the server: a copy of the template, or else without tables."""
    server = make_url(server_url)
    name = f"test_{uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()
