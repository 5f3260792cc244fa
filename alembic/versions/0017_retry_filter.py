"""The error and the host of the images that a retry is limited to.

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("retry_error_code", sa.String(32), nullable=True))
    op.add_column("requests", sa.Column("retry_lane_id", sa.Uuid(), nullable=True))
