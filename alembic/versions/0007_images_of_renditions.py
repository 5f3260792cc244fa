"""Index of the images that refer to a rendition.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NAME, TABLE, COLUMNS = "ix_images_rendition_id", "images", ["rendition_id"]


def upgrade() -> None:
    referring = sa.text("rendition_id IS NOT NULL")
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(NAME, TABLE, COLUMNS, sqlite_where=referring)
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index(NAME, TABLE, if_exists=True, postgresql_concurrently=True)
        op.create_index(NAME, TABLE, COLUMNS, postgresql_where=referring, postgresql_concurrently=True)
        op.execute("RESET lock_timeout")
