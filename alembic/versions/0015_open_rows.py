"""A quota of rows in open requests; sizes of output files.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenants", sa.Column("max_open_rows", sa.BigInteger(), nullable=True))
    op.add_column("requests", sa.Column("output_file_bytes", sa.BigInteger(), nullable=True))
