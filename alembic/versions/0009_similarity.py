"""Similarity of results to their sources.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("renditions", "images"):
        op.add_column(table, sa.Column("similarity", sa.Float(), nullable=True))
