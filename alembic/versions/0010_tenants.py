"""Tenants: each request and product belongs to one; an idempotency key is unique within its tenant.

Code that knows of no tenants would show everybody everything, so it must not run any more. What it has under way while
this runs is the default tenant's.

Revision ID: 0010
Revises: 0006
"""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.migration_ops import begun, create_index_online, drop_index, raise_floor
from gql_imgproc.database.types import UtcDateTime, now

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None

#: The nil UUID, as it was when this was written.
DEFAULT = UUID(int=0)
_UNIQUE = "CONSTRAINT uq_requests_idempotency_key UNIQUE (idempotency_key)"


def upgrade() -> None:
    if not begun("products", "tenant_id"):
        _know_tenants()
    create_index_online(
        "uq_requests_tenant_id_idempotency_key", "requests", ["tenant_id", "idempotency_key"], unique=True
    )
    create_index_online("ix_requests_tenant_id_created_at_id", "requests", ["tenant_id", "created_at", "id"])
    create_index_online(
        "ix_requests_tenant_id_status_created_at_id", "requests", ["tenant_id", "status", "created_at", "id"]
    )
    create_index_online("ix_products_tenant_id_id", "products", ["tenant_id", "id"])
    create_index_online("ix_products_tenant_id_status_id", "products", ["tenant_id", "status", "id"])
    drop_index("ix_requests_created_at_id", "requests")
    drop_index("ix_requests_status_created_at_id", "requests")
    drop_index("ix_products_status_id", "products")


def _know_tenants() -> None:
    raise_floor("0010")
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("max_open_requests", sa.BigInteger(), nullable=True),
        sa.Column("max_pending_images", sa.BigInteger(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_csv_bytes", sa.BigInteger(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    of_final = "SELECT coalesce(sum(output_bytes), 0) FROM requests WHERE status NOT IN ('PENDING', 'PROCESSING')"
    stored = sa.text(f"({of_final})")
    op.get_bind().execute(tenants.insert().values(id=DEFAULT, name="default", created_at=now(), stored_bytes=stored))
    _make_keys_unique_by_tenant()
    for table in ("requests", "products"):
        op.add_column(table, sa.Column("tenant_id", sa.Uuid(), nullable=False, server_default=DEFAULT.hex))


def _make_keys_unique_by_tenant() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        op.drop_constraint("uq_requests_idempotency_key", "requests")
        return
    # SQLite cannot drop a constraint, so the table is made anew without it (https://sqlite.org/lang_altertable.html,
    # section 7). Foreign keys are off while migrations run: dropping the old one would take its products along.
    assert not connection.execute(sa.text("PRAGMA foreign_keys")).scalar_one()
    texts = sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'requests' AND sql IS NOT NULL")
    made = {row.name: row.sql for row in connection.execute(texts)}
    table = made.pop("requests")
    assert _UNIQUE in table
    kept, _, last = table.partition(_UNIQUE)
    anew = kept.rstrip().removesuffix(",") + last
    connection.exec_driver_sql(anew.replace("CREATE TABLE requests", "CREATE TABLE requests_anew", 1))
    connection.exec_driver_sql("INSERT INTO requests_anew SELECT * FROM requests")
    connection.exec_driver_sql("DROP TABLE requests")
    connection.exec_driver_sql("ALTER TABLE requests_anew RENAME TO requests")
    for index in made.values():
        connection.exec_driver_sql(index)


def downgrade() -> None:
    raise NotImplementedError("rows of several tenants cannot be told apart without tenants")
