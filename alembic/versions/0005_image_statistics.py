"""Statistics of each request by format, error and host.

Requests that exist have none, except for what changes from now on.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_statistics",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("name", sa.String(300), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("images", "throttled", "completed", "failed")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("bytes_before", "bytes_after")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name="fk_image_statistics_request_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("request_id", "kind", "name", name="pk_image_statistics"),
    )
    op.create_index("ix_image_statistics_in_order", "image_statistics", ["request_id", "kind", "failed", "images"])
