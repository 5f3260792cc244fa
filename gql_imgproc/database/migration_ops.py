"""Building blocks for safe migrations on a live database; see docs/decisions/0011-expand-and-contract-migrations.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index_online(name: str, table: str, columns: list[str], **options: Any) -> None:
    """Creates an index on a table that is in use. On PostgreSQL writers do not wait for it, however long it takes.

    PostgreSQL commits what the migration did before its first index, so only more indexes may follow. A migration that
    was interrupted runs again from its beginning, and checks `has_started` before it repeats its first part.
    """
    with _outside_transaction() as concurrently:
        if concurrently:
            # An interrupted attempt leaves an invalid index.
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=concurrently, **options)


def has_started(table: str, column: str) -> bool:
    """Whether an interrupted attempt has committed this column, and with it all that the migration does before."""
    inspector = sa.inspect(op.get_bind())
    return inspector.has_table(table) and column in {found["name"] for found in inspector.get_columns(table)}


@contextmanager
def _outside_transaction() -> Iterator[bool]:
    """On PostgreSQL, runs the block outside of a transaction and without a lock timeout: CONCURRENTLY blocks nobody."""
    if op.get_bind().dialect.name == "sqlite":
        yield False
        return
    with op.get_context().autocommit_block():
        op.execute(sa.text("SET lock_timeout = 0"))
        yield True
        op.execute(sa.text("RESET lock_timeout"))


def raise_min_revision(revision: str) -> None:
    """Code that does not know `revision` must not run from now on. Call it before dropping what that code needs."""
    op.execute(sa.text("UPDATE schema_compatibility SET min_revision = :revision").bindparams(revision=revision))
