"""Index of the images of a request in the order of their similarity.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME, TABLE, COLUMNS = "ix_images_similarity", "images", ["request_id", "similarity", "id"]


def upgrade() -> None:
    scored = sa.text("similarity IS NOT NULL")
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(NAME, TABLE, COLUMNS, sqlite_where=scored)
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        op.drop_index(NAME, TABLE, if_exists=True, postgresql_concurrently=True)
        op.create_index(NAME, TABLE, COLUMNS, postgresql_where=scored, postgresql_concurrently=True)
        op.execute("RESET lock_timeout")
