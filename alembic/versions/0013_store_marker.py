"""The identity of the database, which a marker in the object store names.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    store_marker = op.create_table(
        "store_marker",
        sa.Column("database_id", sa.Uuid(), primary_key=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(store_marker, [{"database_id": uuid4(), "epoch": 0}])
