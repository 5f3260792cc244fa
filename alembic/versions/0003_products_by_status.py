"""Products of a status, whatever their request: without an index a page of them reads all products.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_products_status_id", "products", ["status", "id"])


def downgrade() -> None:
    op.drop_index("ix_products_status_id", "products")
