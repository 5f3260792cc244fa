"""Building blocks for safe migrations on a live database; see docs/decisions/0011-expand-and-contract-migrations.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index_online(name: str, table: str, columns: list[str], **options: Any) -> None:
    """An index on a table that is in use: on PostgreSQL nobody who writes waits for it, however long it takes.

    What a migration did before its first index is committed there, and what follows can only be more of the kind: a
    migration that was interrupted is run again from its beginning, and has to ask `has_started` what of it is there.
    """
    with _unhurried() as concurrently:
        if concurrently:
            # What an attempt that was interrupted left is invalid, and would be taken for done.
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=concurrently, **options)


def has_started(table: str, column: str) -> bool:
    """Whether an attempt that was interrupted got to its first index, so that what is before it is there: as this."""
    inspector = sa.inspect(op.get_bind())
    return inspector.has_table(table) and column in {found["name"] for found in inspector.get_columns(table)}


def drop_index_online(name: str, table: str) -> None:
    """As `create_index_online`: those who read and write the table do not wait."""
    with _unhurried() as concurrently:
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=concurrently)


@contextmanager
def _unhurried() -> Iterator[bool]:
    """Outside of a transaction on PostgreSQL, where what is done concurrently blocks nobody while it waits."""
    if op.get_bind().dialect.name == "sqlite":
        yield False
        return
    with op.get_context().autocommit_block():
        op.execute(sa.text("SET lock_timeout = 0"))
        yield True
        op.execute(sa.text("RESET lock_timeout"))


def raise_min_revision(revision: str) -> None:
    """Code that does not know `revision` must not run from now on: what it needs is about to be taken away."""
    op.execute(sa.text("UPDATE schema_compatibility SET min_revision = :revision").bindparams(revision=revision))
