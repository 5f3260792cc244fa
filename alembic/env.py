"""Runs the migrations: one process at a time, on PostgreSQL beside code that is at work."""

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

#: Any number that nothing else on the same PostgreSQL database takes; replicas that start together queue here.
LOCK = 0x67716C5F
#: Between two looks whether another process has ended its migrations, and the end of patience, in seconds: building an
#: index of a large table may take an hour.
LOOK_SECONDS, PATIENCE_SECONDS = 0.2, 7_200
#: Whatever waits for a table's lock holds up all who come after it: it must not wait long, and is tried again instead
#: (`database/migrations.py`). What has its locks may take its time.
SESSION = "-c lock_timeout=1s -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"


def run_on_sqlite(connection: Connection) -> None:
    """All migrations in one transaction, whose BEGIN IMMEDIATE holds back other processes."""
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, on_version_apply=note)
    with context.begin_transaction():
        context.run_migrations()


def run_on_postgresql(connection: Connection) -> None:
    """Each migration in a transaction of its own, so that locks are held for one, not for all."""
    wait_for_turn(connection)
    context.configure(
        connection=connection, target_metadata=metadata, transaction_per_migration=True, on_version_apply=note
    )
    with context.begin_transaction():
        context.run_migrations()


def wait_for_turn(connection: Connection) -> None:
    """Takes the lock of migrations, which is given back with the connection.

    Asked for again and again: who waited for it inside a statement would hold up an index that is built concurrently,
    which waits for all statements that began before it, for ever.
    """
    gives_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}).scalar_one()
        connection.commit()
        if taken:
            return
        if time.monotonic() > gives_up_at:
            raise ConfigurationError(
                f"Another process has been migrating the database for {PATIENCE_SECONDS // 3600} hours. "
                "Look at what it does in pg_stat_activity, end it, and run `gql-imgproc migrate` again"
            )
        time.sleep(LOOK_SECONDS)


def note(*, step: MigrationInfo, **_: Any) -> None:
    context.config.attributes.setdefault("ran", []).append(step.up_revision_id)


url = context.config.attributes.get("url") or load().database
sqlite = url.startswith("sqlite")
# Without foreign keys: to make a table of SQLite anew is to drop the old one, which would take along what refers to it.
engine = (
    sqlite_engine(url, "BEGIN IMMEDIATE", "power", foreign_keys=False)
    if sqlite
    else create_engine(url, connect_args={"connect_timeout": 5, "options": SESSION})
)
try:
    with engine.connect() as connection:
        (run_on_sqlite if sqlite else run_on_postgresql)(connection)
finally:
    engine.dispose()
