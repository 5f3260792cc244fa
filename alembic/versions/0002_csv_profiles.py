"""How the CSV of a request is read: its profile, and the rows that are skipped.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("profile", sa.String(32), nullable=True))
    op.add_column("requests", sa.Column("csv_layout", sa.JSON(), nullable=True))
    op.add_column("requests", sa.Column("skipped_rows", sa.Integer(), nullable=False, server_default="0"))
