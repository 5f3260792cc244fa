"""The tables, and what tells who may use them. The database is the truth; everything else may be forgotten."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    literal,
)

from gql_imgproc.database.types import UtcDateTime, text_enum
from gql_imgproc.enums import (
    AuditAction,
    ImageOutcome,
    ImageStatus,
    Priority,
    ProductStatus,
    RequestFailureCode,
    RequestStatus,
    RetryScope,
    TerminationReason,
    WebhookStatus,
)
from gql_imgproc.errors import ImageErrorCode

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0)


def _tenant() -> Column[UUID]:
    """The tenant that owns the row. No foreign key: tenants are never deleted."""
    return Column("tenant_id", Uuid, nullable=False)


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    # Its quotas, where they are other than those of the settings; 0: no limit.
    Column("max_open_requests", BigInteger, nullable=True),
    Column("max_pending_images", BigInteger, nullable=True),
    Column("max_stored_bytes", BigInteger, nullable=True),
    Column("max_csv_bytes", BigInteger, nullable=True),
    # Sum of `output_bytes` of its final requests; kept by what ends, reopens and deletes them.
    Column("stored_bytes", BigInteger, nullable=False, default=0, server_default="0"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    # The part of a key that finds its row, and that people may see.
    Column("public_id", String(32), nullable=False, unique=True),
    # SHA-256 of the whole key, 64 hexadecimal digits. Keys are random and long, so no slow hash is needed.
    Column("digest", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    # Names of `Scope`.
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    # To the minute.
    Column("last_used_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    # The key that it was rotated to.
    Column("successor_id", Uuid, nullable=True),
)

Index("ix_api_keys_tenant_id_id", api_keys.c.tenant_id, api_keys.c.id)

# What addresses of downloads are signed with: the newest signs, the newest two are believed.
signing_secrets = Table(
    "signing_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    # 32 random bytes, 64 hexadecimal digits.
    Column("secret", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Triggers of the migration refuse to change or remove a row.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    # Name of the caller, and its key if it had one.
    Column("actor", String(100), nullable=False),
    Column("key_id", Uuid, nullable=True),
    Column("action", text_enum(AuditAction), nullable=False),
    # In its outside form: what was deleted is named all the same.
    Column("subject_id", String(64), nullable=True),
    # Of the network; empty for ourselves and for the command line.
    Column("ip_address", String(100), nullable=False),
    # Texts by their names.
    Column("details", JSON, nullable=False),
    sqlite_with_rowid=False,
)

Index("ix_audit_events_tenant_id_id", audit_events.c.tenant_id, audit_events.c.id)
Index("ix_audit_events_tenant_id_action_id", audit_events.c.tenant_id, audit_events.c.action, audit_events.c.id)
Index("ix_audit_events_tenant_id_subject_id_id", audit_events.c.tenant_id, audit_events.c.subject_id, audit_events.c.id)

requests = Table(
    "requests",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("status", text_enum(RequestStatus), nullable=False, default=RequestStatus.PENDING),
    Column("priority", text_enum(Priority), nullable=False),
    # Grows by one with each retry of failed images; names one run of the request.
    Column("generation", Integer, nullable=False, default=1),
    # Grows by one with each change; orders progress events.
    Column("sequence", Integer, nullable=False, default=1),
    Column("csv_filename", String(255), nullable=False),
    Column("options", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("idempotency_key", String(255), nullable=True),
    Column("webhook_url", Text, nullable=True),
    Column("webhook_triggered", Boolean, nullable=False, default=False),
    Column("total_products", Integer, nullable=False),
    # Rows of the CSV that are in `products` already; from here an interrupted ingestion goes on.
    _count("ingested_products"),
    _count("processed_products"),
    _count("failed_products"),
    Column("total_images", Integer, nullable=False),
    _count("processed_images"),
    _count("failed_images"),
    _count("cancelled_images"),
    _count("kept_images"),
    Column("input_bytes", BigInteger, nullable=False, default=0),
    Column("output_bytes", BigInteger, nullable=False, default=0),
    # Rate of the last second or more: how many images had ended at `rate_sampled_at`, and the rate measured then.
    Column("rate_sampled_at", UtcDateTime, nullable=True),
    _count("rate_sampled_images"),
    Column("images_per_second", Float, nullable=True),
    # Set while the request is brought to an early end; no picture is recorded from then on.
    Column("termination_reason", text_enum(TerminationReason), nullable=True),
    Column("failure_code", text_enum(RequestFailureCode), nullable=True),
    # Last part of the output CSV's key in the store; null when there is none (yet).
    Column("output_name", String(64), nullable=True),
    # Before this moment nobody but its holder ingests or finishes the request.
    Column("lease_until", UtcDateTime, nullable=False),
    # Fencing token: grows with each hold; what an older holder writes does not count.
    _count("lease_token"),
    # When failures that may be temporary are tried again by themselves, and how often that was done.
    Column("retry_at", UtcDateTime, nullable=True),
    _count("auto_retries"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=True),
    Column("completed_at", UtcDateTime, nullable=True),
    # When its objects are to be compared with its rows; null once that was done.
    Column("cleanup_at", UtcDateTime, nullable=True),
    # When its failed images were retried last; its deadline counts from then.
    Column("retried_at", UtcDateTime, nullable=True),
    # W3C Trace Context of the upload, when traces were on: messages are lost and sent anew, this stays.
    Column("traceparent", String(55), nullable=True),
    # Set while its images are opened again, chunk by chunk, and the last failed one that this was decided of.
    Column("retry_scope", text_enum(RetryScope), nullable=True),
    Column("retry_cursor", Uuid, nullable=True),
    # Since when it is being deleted, chunk by chunk; whatever happens, it will be.
    Column("deletion_started_at", UtcDateTime, nullable=True),
)

OPEN = (RequestStatus.PENDING, RequestStatus.PROCESSING)
#: Not final. Written out in each statement: SQLite matches a partial index by text, and parameters have none.
is_open = requests.c.status.in_(bindparam("open_statuses", OPEN, expanding=True, literal_execute=True))

Index("uq_requests_tenant_id_idempotency_key", requests.c.tenant_id, requests.c.idempotency_key, unique=True)
Index("ix_requests_tenant_id_created_at_id", requests.c.tenant_id, requests.c.created_at, requests.c.id)
Index(
    "ix_requests_tenant_id_status_created_at_id",
    requests.c.tenant_id,
    requests.c.status,
    requests.c.created_at,
    requests.c.id,
)
_open = requests.c.status.in_(OPEN)
Index("ix_requests_open", requests.c.id, sqlite_where=_open, postgresql_where=_open)
_retried = requests.c.retry_at.is_not(None)
Index("ix_requests_retry_at", requests.c.retry_at, sqlite_where=_retried, postgresql_where=_retried)
_untidy = requests.c.cleanup_at.is_not(None)
Index("ix_requests_cleanup_at", requests.c.cleanup_at, sqlite_where=_untidy, postgresql_where=_untidy)
_removing = requests.c.deletion_started_at.is_not(None)
Index(
    "ix_requests_deletion_started_at",
    requests.c.deletion_started_at,
    sqlite_where=_removing,
    postgresql_where=_removing,
)
Index("ix_requests_completed_at", requests.c.completed_at)

products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    # That of its request: a list of all products of a tenant is read through an index.
    _tenant(),
    # 0 for the first data row of the CSV.
    Column("position", Integer, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("product_name", Text, nullable=False),
    Column("input_image_urls", JSON, nullable=False),
    # One entry per input: the image's path below the public address, null where there is none (yet).
    Column("output_image_urls", JSON, nullable=True),
    Column("status", text_enum(ProductStatus), nullable=False, default=ProductStatus.PENDING),
    Column("total_images", Integer, nullable=False),
    _count("processed_images"),
    _count("failed_images"),
    _count("cancelled_images"),
    # The moment from which a worker may claim the product: now, when a retry is due, or when the lease of
    # the worker that has it runs out. Null once it is final.
    Column("due_at", UtcDateTime, nullable=True),
    # Fencing token: grows with each claim; a result that carries an older one is dropped.
    _count("lease_token"),
    # Claims in a row that ended without a word from the worker.
    _count("attempts"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

Index("uq_products_request_id_position", products.c.request_id, products.c.position, unique=True)
_waiting = products.c.due_at.is_not(None)
Index(
    "ix_products_request_id_due_at_position",
    products.c.request_id,
    products.c.due_at,
    products.c.position,
    sqlite_where=_waiting,
    postgresql_where=_waiting,
)
Index("ix_products_request_id_status_position", products.c.request_id, products.c.status, products.c.position)
Index("ix_products_tenant_id_id", products.c.tenant_id, products.c.id)
Index("ix_products_tenant_id_status_id", products.c.tenant_id, products.c.status, products.c.id)

images = Table(
    "images",
    metadata,
    Column("id", Uuid, primary_key=True),
    # No foreign key: an image goes with its product, and a second way would have to be looked for.
    Column("request_id", Uuid, nullable=False),
    Column("product_id", ForeignKey("products.id", ondelete="CASCADE"), nullable=False),
    # Index of its source in the product's `input_image_urls`.
    Column("position", Integer, nullable=False),
    Column("status", text_enum(ImageStatus), nullable=False, default=ImageStatus.PENDING),
    Column("outcome", text_enum(ImageOutcome), nullable=True),
    _count("attempts"),
    # Times that decoding it alone was begun and no verdict came.
    _count("crashes"),
    Column("error_code", text_enum(ImageErrorCode), nullable=True),
    Column("error_message", Text, nullable=True),
    Column("error_http_status", Integer, nullable=True),
    Column("error_retryable", Boolean, nullable=False, default=False),
    Column("input_bytes", BigInteger, nullable=True),
    Column("output_bytes", BigInteger, nullable=True),
    # Last part of its address and of its key in the store.
    Column("object_name", String(64), nullable=True),
    # SHA-256 of the stored bytes, 64 hexadecimal digits.
    Column("sha256", String(64), nullable=True),
    Column("format", String(32), nullable=True),
    Column("width", Integer, nullable=True),
    Column("height", Integer, nullable=True),
)

Index("uq_images_product_id_position", images.c.product_id, images.c.position, unique=True)
#: Failed, and failed in a way that may pass; written out as `is_open` is.
is_failed = images.c.status == literal(ImageStatus.FAILED, images.c.status.type, literal_execute=True)
is_failed_for_now = and_(is_failed, images.c.error_retryable)
_failed = images.c.status == ImageStatus.FAILED
Index("ix_images_failed_in_order", images.c.request_id, images.c.id, sqlite_where=_failed, postgresql_where=_failed)
_for_now = and_(_failed, images.c.error_retryable)
Index("ix_images_failed_for_now", images.c.request_id, images.c.id, sqlite_where=_for_now, postgresql_where=_for_now)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    # Also the `webhook-id` of every try.
    Column("id", Uuid, primary_key=True),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("status", text_enum(WebhookStatus), nullable=False, default=WebhookStatus.PENDING),
    _count("attempts"),
    Column("last_http_status", Integer, nullable=True),
    # As on a product: when the next try is due, or the lease of the try under way runs out; null when final.
    Column("due_at", UtcDateTime, nullable=True),
    _count("lease_token"),
    # The last 20 tries, oldest first.
    Column("attempts_log", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

Index(
    "uq_webhook_deliveries_request_id_generation",
    webhook_deliveries.c.request_id,
    webhook_deliveries.c.generation,
    unique=True,
)
_planned = webhook_deliveries.c.due_at.is_not(None)
Index(
    "ix_webhook_deliveries_due_at",
    webhook_deliveries.c.due_at,
    sqlite_where=_planned,
    postgresql_where=_planned,
)

# One row: the oldest revision whose code can work with this schema.
schema_compatibility = Table("schema_compatibility", metadata, Column("min_revision", String(32), nullable=False))
