"""Sources and renditions, so that unchanged images are reused.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sources",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("content_id", sa.Uuid(), nullable=False),
        sa.Column("etag", sa.String(256), nullable=True),
        sa.Column("last_modified", sa.String(64), nullable=True),
        sa.Column("fetched_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_sources_content_id", "sources", ["content_id"])
    op.create_table(
        "renditions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("content_id", sa.Uuid(), nullable=False),
        sa.Column("fingerprint", sa.Uuid(), nullable=True),
        sa.Column("stored_by", sa.Uuid(), nullable=False),
        sa.Column("object_name", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("input_bytes", sa.BigInteger(), nullable=False),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("warning", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("check_at", UtcDateTime(), nullable=True),
    )
    op.create_index("uq_renditions_content_id_fingerprint", "renditions", ["content_id", "fingerprint"], unique=True)
    op.create_index("ix_renditions_stored_by", "renditions", ["stored_by"])
    planned = sa.text("check_at IS NOT NULL")
    op.create_index(
        "ix_renditions_check_at", "renditions", ["check_at"], sqlite_where=planned, postgresql_where=planned
    )
    op.create_table(
        "object_cleanups",
        sa.Column("request_id", sa.Uuid(), primary_key=True),
        sa.Column("due_at", UtcDateTime(), nullable=False),
    )
    op.create_index("ix_object_cleanups_due_at", "object_cleanups", ["due_at"])
    op.add_column("images", sa.Column("rendition_id", sa.Uuid(), nullable=True))
    op.add_column("images", sa.Column("stored_by", sa.Uuid(), nullable=True))
    op.add_column("requests", sa.Column("refresh", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("requests", sa.Column("reused_images", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("requests", sa.Column("not_downloaded_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("requests", sa.Column("stored_bytes", sa.BigInteger(), nullable=True))
    op.add_column("requests", sa.Column("own_bytes", sa.BigInteger(), nullable=True))
    op.execute("INSERT INTO object_cleanups SELECT id, cleanup_at FROM requests WHERE cleanup_at IS NOT NULL")
