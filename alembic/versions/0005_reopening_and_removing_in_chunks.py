"""Requests of any size are opened again, and deleted, in chunks; failed images are walked in the order of their ids.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database import migration_ops
from gql_imgproc.database.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if not migration_ops.begun("requests", "reopening"):
        op.add_column("requests", sa.Column("reopening", sa.String(32), nullable=True))
        op.add_column("requests", sa.Column("reopened_to", sa.Uuid(), nullable=True))
        op.add_column("requests", sa.Column("removing_at", UtcDateTime(), nullable=True))
    index("ix_requests_removing_at", "requests", ["removing_at"], "removing_at IS NOT NULL")
    index("ix_images_failed_in_order", "images", ["request_id", "id"], "status = 'FAILED'")
    for_now = "error_temporary = 1" if op.get_bind().dialect.name == "sqlite" else "error_temporary"
    index("ix_images_failed_for_now", "images", ["request_id", "id"], f"status = 'FAILED' AND {for_now}")
    # Old code finds its way by the new ones.
    migration_ops.drop_index("ix_images_failed", "images")


def index(name: str, table: str, columns: list[str], where: str) -> None:
    migration_ops.create_index_online(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def downgrade() -> None:
    failed = sa.text("status = 'FAILED'")
    op.create_index("ix_images_failed", "images", ["request_id"], sqlite_where=failed, postgresql_where=failed)
    op.drop_index("ix_images_failed_for_now", "images")
    op.drop_index("ix_images_failed_in_order", "images")
    op.drop_index("ix_requests_removing_at", "requests")
    for column in ("removing_at", "reopened_to", "reopening"):
        op.drop_column("requests", column)
