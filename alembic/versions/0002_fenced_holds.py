"""Fenced holds, the output's name, automatic retries.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("hold_token", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("requests", sa.Column("auto_retries", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("requests", sa.Column("retry_at", UtcDateTime(), nullable=True))
    op.add_column("requests", sa.Column("tidy_at", UtcDateTime(), nullable=True))
    op.add_column("requests", sa.Column("reopened_at", UtcDateTime(), nullable=True))
    op.add_column("requests", sa.Column("output_name", sa.String(64), nullable=True))
    op.execute(sa.text("UPDATE requests SET output_name = 'output.csv' WHERE has_output"))
    op.drop_column("requests", "has_output")
    for moment in ("retry_at", "tidy_at"):
        op.create_index(
            f"ix_requests_{moment}",
            "requests",
            [moment],
            sqlite_where=sa.text(f"{moment} IS NOT NULL"),
            postgresql_where=sa.text(f"{moment} IS NOT NULL"),
        )
    op.create_index("ix_requests_completed_at", "requests", ["completed_at"])
    # Images go with their products; looking for them by request read the whole table at every delete.
    with op.batch_alter_table("images") as images:
        images.drop_constraint("fk_images_request_id", type_="foreignkey")


def downgrade() -> None:
    with op.batch_alter_table("images") as images:
        images.create_foreign_key("fk_images_request_id", "requests", ["request_id"], ["id"], ondelete="CASCADE")
    op.drop_index("ix_requests_completed_at", "requests")
    op.drop_index("ix_requests_tidy_at", "requests")
    op.drop_index("ix_requests_retry_at", "requests")
    op.add_column("requests", sa.Column("has_output", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(sa.text("UPDATE requests SET has_output = (output_name IS NOT NULL)"))
    for column in ("output_name", "reopened_at", "tidy_at", "retry_at", "auto_retries", "hold_token"):
        op.drop_column("requests", column)
