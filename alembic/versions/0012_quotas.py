"""Quotas: each tenant's own, and what it has stored.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_OWN = ("max_open_requests", "max_pending_images", "max_stored_bytes", "max_csv_bytes")
_OPEN = "status IN ('PENDING', 'PROCESSING')"


def upgrade() -> None:
    for name in _OWN:
        op.add_column("tenants", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column("tenants", sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE tenants SET stored_bytes = (SELECT coalesce(sum(output_bytes), 0) FROM requests"
        f" WHERE tenant_id = tenants.id AND NOT {_OPEN})"
    )


def downgrade() -> None:
    for name in ("stored_bytes", *reversed(_OWN)):
        op.drop_column("tenants", name)
