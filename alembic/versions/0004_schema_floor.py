"""The oldest version that can work with this schema, so that older code may run while, and after, it is migrated.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("schema_floor", sa.Column("revision", sa.String(32), nullable=False))
    op.execute(sa.text("INSERT INTO schema_floor (revision) VALUES ('0004')"))


def downgrade() -> None:
    op.drop_table("schema_floor")
