"""Runs the migrations: one process at a time, each in a transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, text

from gql_imgproc.db.engine import sqlite_engine
from gql_imgproc.db.models import metadata
from gql_imgproc.settings import load

#: Any number that nothing else on the same PostgreSQL database takes; replicas that start together queue here.
LOCK = 0x67716C5F


def run(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=sqlite, transactional_ddl=True)
    with context.begin_transaction():
        # On SQLite the BEGIN IMMEDIATE of the engine holds back other processes.
        if not sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


url = context.config.attributes.get("url") or load().database
# Without foreign keys: to make a table of SQLite anew is to drop the old one, which would take along what refers to it.
engine = (
    sqlite_engine(url, "BEGIN IMMEDIATE", "power", foreign_keys=False)
    if url.startswith("sqlite")
    else create_engine(url)
)
try:
    with engine.connect() as connection:
        run(connection)
finally:
    engine.dispose()
