"""Digests of products and images, by which requests are compared.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("products", sa.Column("identity", sa.BigInteger(), nullable=True))
    op.add_column("products", sa.Column("fingerprint", sa.BigInteger(), nullable=True))
    op.add_column("images", sa.Column("url_digest", sa.BigInteger(), nullable=True))
