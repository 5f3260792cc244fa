"""The first schema: every table, index and trigger.

Where two indexes cost the same, SQLite and PostgreSQL take the one created last. Hence the order of the statements.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

from gql_imgproc.database.types import UtcDateTime, now
from gql_imgproc.ids import DEFAULT_TENANT, new_id

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = "The audit log is append-only."
_SQLITE_TRIGGERS = [
    *(
        f"CREATE TRIGGER audit_events_no_{verb.lower()} BEFORE {verb} ON audit_events "
        f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END"
        for verb in ("UPDATE", "DELETE")
    ),
    # INSERT OR REPLACE deletes the old row without firing the trigger above.
    "CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events "
    "WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id) "
    f"BEGIN SELECT RAISE(ABORT, '{_APPEND_ONLY}'); END",
]
_POSTGRESQL_TRIGGERS = [
    "CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_APPEND_ONLY}'; END $$",
    # For each statement, so that a statement that matches no row is refused as well.
    "CREATE TRIGGER audit_events_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()",
]


def upgrade() -> None:
    _create_access_tables()
    _create_requests()
    _create_products()
    _create_lanes()
    _create_images()
    _create_webhook_deliveries()
    op.create_table("schema_compatibility", sa.Column("min_revision", sa.String(32), nullable=False))
    _create_audit_log()
    _insert_first_rows()


def _insert_first_rows() -> None:
    connection = op.get_bind()
    tenants = sa.table(
        "tenants", sa.column("id", sa.Uuid()), sa.column("name"), sa.column("created_at"), sa.column("stored_bytes")
    )
    connection.execute(tenants.insert().values(id=DEFAULT_TENANT, name="default", created_at=now(), stored_bytes=0))
    # Every process of a service signs URLs with this secret; nobody has to distribute it.
    signing_secrets = sa.table(
        "signing_secrets", sa.column("id", sa.Uuid()), sa.column("secret"), sa.column("created_at")
    )
    connection.execute(signing_secrets.insert().values(id=new_id(), secret=secrets.token_hex(32), created_at=now()))
    # The oldest revision whose code can work with this schema; see decision 11.
    op.execute(sa.text("INSERT INTO schema_compatibility (min_revision) VALUES ('0001')"))


def _create_access_tables() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("max_open_requests", sa.BigInteger(), nullable=True),
        sa.Column("max_pending_images", sa.BigInteger(), nullable=True),
        sa.Column("max_stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_csv_bytes", sa.BigInteger(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("public_id", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("last_used_at", UtcDateTime(), nullable=True),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.Column("successor_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("public_id", name="uq_api_keys_public_id"),
    )
    op.create_index("ix_api_keys_tenant_id_id", "api_keys", ["tenant_id", "id"], unique=False)
    op.create_table(
        "signing_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_secrets"),
    )


def _create_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("priority", sa.String(32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("csv_filename", sa.String(255), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_triggered", sa.Boolean(), nullable=False),
        sa.Column("total_products", sa.Integer(), nullable=False),
        sa.Column("ingested_products", sa.Integer(), nullable=False),
        sa.Column("processed_products", sa.Integer(), nullable=False),
        sa.Column("failed_products", sa.Integer(), nullable=False),
        sa.Column("total_images", sa.Integer(), nullable=False),
        sa.Column("processed_images", sa.Integer(), nullable=False),
        sa.Column("failed_images", sa.Integer(), nullable=False),
        sa.Column("cancelled_images", sa.Integer(), nullable=False),
        sa.Column("kept_images", sa.Integer(), nullable=False),
        sa.Column("input_bytes", sa.BigInteger(), nullable=False),
        sa.Column("output_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rate_sampled_at", UtcDateTime(), nullable=True),
        sa.Column("rate_sampled_images", sa.Integer(), nullable=False),
        sa.Column("images_per_second", sa.Float(), nullable=True),
        sa.Column("termination_reason", sa.String(32), nullable=True),
        sa.Column("failure_code", sa.String(32), nullable=True),
        sa.Column("output_name", sa.String(64), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=False),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("auto_retries", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("cleanup_at", UtcDateTime(), nullable=True),
        sa.Column("retried_at", UtcDateTime(), nullable=True),
        sa.Column("traceparent", sa.String(55), nullable=True),
        sa.Column("retry_scope", sa.String(32), nullable=True),
        sa.Column("retry_cursor", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index(
        "ix_requests_cleanup_at",
        "requests",
        ["cleanup_at"],
        unique=False,
        sqlite_where=sa.text("cleanup_at IS NOT NULL"),
        postgresql_where=sa.text("cleanup_at IS NOT NULL"),
    )
    op.create_index("ix_requests_completed_at", "requests", ["completed_at"], unique=False)
    op.create_index(
        "ix_requests_not_done",
        "requests",
        ["id"],
        unique=False,
        sqlite_where=sa.text("phase != 'DONE'"),
        postgresql_where=sa.text("phase != 'DONE'"),
    )
    op.create_index(
        "ix_requests_retry_at",
        "requests",
        ["retry_at"],
        unique=False,
        sqlite_where=sa.text("retry_at IS NOT NULL"),
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    )
    op.create_index("uq_requests_tenant_id_idempotency_key", "requests", ["tenant_id", "idempotency_key"], unique=True)
    op.create_index("ix_requests_tenant_id_created_at_id", "requests", ["tenant_id", "created_at", "id"], unique=False)
    op.create_index(
        "ix_requests_tenant_id_status_created_at_id",
        "requests",
        ["tenant_id", "status", "created_at", "id"],
        unique=False,
    )


def _create_products() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("product_name", sa.Text(), nullable=False),
        sa.Column("input_image_urls", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("total_images", sa.Integer(), nullable=False),
        sa.Column("processed_images", sa.Integer(), nullable=False),
        sa.Column("failed_images", sa.Integer(), nullable=False),
        sa.Column("cancelled_images", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_products_request_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
    )
    op.create_index(
        "ix_products_request_id_status_position", "products", ["request_id", "status", "position"], unique=False
    )
    op.create_index("uq_products_request_id_position", "products", ["request_id", "position"], unique=True)
    op.create_index("ix_products_tenant_id_id", "products", ["tenant_id", "id"], unique=False)
    op.create_index("ix_products_tenant_id_status_id", "products", ["tenant_id", "status", "id"], unique=False)


def _create_lanes() -> None:
    op.create_table(
        "lanes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("host", sa.String(300), nullable=False),
        sa.Column("lot", sa.Integer(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("wake_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["requests.id"], name="fk_lanes_request_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_lanes"),
    )
    op.create_index(
        "ix_lanes_ready",
        "lanes",
        ["tenant_id", "priority", "request_id", "lot"],
        unique=False,
        sqlite_where=sa.text("ready = 1"),
        postgresql_where=sa.text("ready"),
    )
    op.create_index(
        "ix_lanes_wake_at",
        "lanes",
        ["wake_at"],
        unique=False,
        sqlite_where=sa.text("wake_at IS NOT NULL"),
        postgresql_where=sa.text("wake_at IS NOT NULL"),
    )
    op.create_index("ix_lanes_request_id", "lanes", ["request_id"], unique=False)


def _create_images() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=True),
        sa.Column("lane_id", sa.Uuid(), nullable=False),
        sa.Column("original_id", sa.Uuid(), nullable=True),
        sa.Column("has_repeats", sa.Boolean(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unfinished_claims", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(32), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_http_status", sa.Integer(), nullable=True),
        sa.Column("error_retryable", sa.Boolean(), nullable=False),
        sa.Column("input_bytes", sa.BigInteger(), nullable=True),
        sa.Column("output_bytes", sa.BigInteger(), nullable=True),
        sa.Column("object_name", sa.String(64), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("format", sa.String(32), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_images_product_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_index("uq_images_product_id_position", "images", ["product_id", "position"], unique=True)
    op.create_index(
        "ix_images_due",
        "images",
        ["lane_id", "due_at", "id"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_images_original_id",
        "images",
        ["original_id"],
        unique=False,
        sqlite_where=sa.text("original_id IS NOT NULL"),
        postgresql_where=sa.text("original_id IS NOT NULL"),
    )
    op.create_index(
        "ix_images_failed_in_order",
        "images",
        ["request_id", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'FAILED'"),
        postgresql_where=sa.text("status = 'FAILED'"),
    )
    op.create_index(
        "ix_images_failed_for_now",
        "images",
        ["request_id", "id"],
        unique=False,
        sqlite_where=sa.text("status = 'FAILED' AND error_retryable = 1"),
        postgresql_where=sa.text("status = 'FAILED' AND error_retryable"),
    )


def _create_webhook_deliveries() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_http_status", sa.Integer(), nullable=True),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("lease_token", sa.Integer(), nullable=False),
        sa.Column("attempts_log", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name="fk_webhook_deliveries_request_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
    )
    op.create_index(
        "ix_webhook_deliveries_due_at",
        "webhook_deliveries",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "uq_webhook_deliveries_request_id_generation", "webhook_deliveries", ["request_id", "generation"], unique=True
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject_id", sa.String(64), nullable=True),
        sa.Column("ip_address", sa.String(100), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_events_tenant_id_id", "audit_events", ["tenant_id", "id"], unique=False)
    op.create_index("ix_audit_events_tenant_id_action_id", "audit_events", ["tenant_id", "action", "id"], unique=False)
    op.create_index(
        "ix_audit_events_tenant_id_subject_id_id", "audit_events", ["tenant_id", "subject_id", "id"], unique=False
    )
    for statement in _SQLITE_TRIGGERS if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL_TRIGGERS:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("There is no schema before the first one")
