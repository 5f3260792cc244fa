"""Indexes that find the request to compare with, and the counterparts of products and images in it.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_images_product_id_url_digest": ("images", ["product_id", "url_digest"]),
    "ix_products_request_id_identity": ("products", ["request_id", "identity"]),
    "ix_requests_tenant_id_csv_filename_created_at_id": (
        "requests",
        ["tenant_id", "csv_filename", "created_at", "id"],
    ),
}


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, (table, columns) in INDEXES.items():
            op.create_index(name, table, columns)
        return
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        for name, (table, columns) in INDEXES.items():
            op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
            op.create_index(name, table, columns, postgresql_concurrently=True)
        op.execute("RESET lock_timeout")
