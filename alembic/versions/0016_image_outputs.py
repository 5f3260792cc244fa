"""Further outputs of images, of requests that make several files of each image.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_outputs",
        sa.Column("image_id", sa.Uuid(), primary_key=True),
        sa.Column("position", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("rendition_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_outputs_rendition_id", "image_outputs", ["rendition_id"])
