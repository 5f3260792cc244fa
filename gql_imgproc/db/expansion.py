"""What a migration needs to be safe while code is at work: see docs/decisions/0011-expand-then-contract.md."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    """An index on a table that is in use: on PostgreSQL nobody who writes waits for it, however long it takes.

    It must be the last step of its migration, which is not one transaction then.
    """
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, columns, **options)
        return
    with op.get_context().autocommit_block():
        # Building it waits for all transactions that began before, which is no harm: it blocks nobody meanwhile.
        op.execute(sa.text("SET lock_timeout = 0"))
        # What an attempt that was interrupted left is invalid, and would be taken for done.
        op.execute(sa.text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)
        op.execute(sa.text("RESET lock_timeout"))


def raise_floor(revision: str) -> None:
    """Code that does not know `revision` must not run from now on: what it needs is about to be taken away."""
    op.execute(sa.text("UPDATE schema_floor SET revision = :revision").bindparams(revision=revision))
