"""Runs the migrations: one process at a time, and on PostgreSQL while code is running."""

from __future__ import annotations

import time
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import Connection, create_engine, text

from gql_imgproc.database.engine import sqlite_engine
from gql_imgproc.database.tables import metadata
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import load

#: Key of the PostgreSQL advisory lock of migrations: any number that nothing else in the database uses.
LOCK = 0x67716C5F
#: Interval and time limit of waiting for the migrations of another process: an index of a large table may take an hour.
LOCK_POLL_SECONDS, LOCK_TIMEOUT_SECONDS = 0.2, 7_200
#: A statement that waits for a table's lock blocks everything behind it. It must not wait long, and is retried instead
#: (`database/migrations.py`). Once a statement has its locks, it has no time limit.
SESSION = "-c lock_timeout=1s -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"


def run_on_sqlite(connection: Connection) -> None:
    """Runs all migrations in one transaction; its BEGIN IMMEDIATE makes other processes wait."""
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, on_version_apply=record_revision
    )
    with context.begin_transaction():
        context.run_migrations()


def run_on_postgresql(connection: Connection) -> None:
    """Runs each migration in its own transaction, so that locks are held for one migration only."""
    require_utf8(connection)
    acquire_lock(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        on_version_apply=record_revision,
    )
    with context.begin_transaction():
        context.run_migrations()


def require_utf8(connection: Connection) -> None:
    """Other encodings cannot store every product name, or compare letters as bytes."""
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    connection.commit()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"The database has the encoding {encoding}; it must be UTF8. "
            "Create it with: CREATE DATABASE imgproc ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0"
        )


def acquire_lock(connection: Connection) -> None:
    """Acquires the lock of migrations, which is released when the connection closes.

    Polls for it: CREATE INDEX CONCURRENTLY waits for all statements that started before it, and would never end if one
    of them waited for the lock.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        is_acquired = connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one()
        connection.commit()
        if is_acquired:
            return
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"Another process has been migrating the database for {LOCK_TIMEOUT_SECONDS // 3600} hours. "
                "Find it in pg_stat_activity, terminate it, and run `gql-imgproc migrate` again"
            )
        time.sleep(LOCK_POLL_SECONDS)


def record_revision(*, step: MigrationInfo, **_: Any) -> None:
    context.config.attributes.setdefault("ran", []).append(step.up_revision_id)


url = context.config.attributes.get("url") or load().database
sqlite = url.startswith("sqlite")
# Without foreign keys: SQLite changes a table by dropping the old one, which would delete the rows that refer to it.
engine = (
    sqlite_engine(url, "BEGIN IMMEDIATE", "power", foreign_keys=False)
    if sqlite
    else create_engine(url, connect_args={"connect_timeout": 5, "client_encoding": "utf8", "options": SESSION})
)
try:
    with engine.connect() as connection:
        (run_on_sqlite if sqlite else run_on_postgresql)(connection)
finally:
    engine.dispose()
