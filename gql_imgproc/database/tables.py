"""The tables. The database is the single source of truth; Redis and processes may lose their state."""

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
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    and_,
    bindparam,
    literal,
    or_,
)

from gql_imgproc.database.types import UtcDateTime, text_enum
from gql_imgproc.enums import (
    AuditAction,
    ImageOutcome,
    ImageStatus,
    Priority,
    ProductStatus,
    RequestFailureCode,
    RequestPhase,
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
    # Overrides of the quotas in the settings; 0 is unlimited.
    Column("max_open_requests", BigInteger, nullable=True),
    Column("max_pending_images", BigInteger, nullable=True),
    Column("max_stored_bytes", BigInteger, nullable=True),
    Column("max_csv_bytes", BigInteger, nullable=True),
    # Sum of `output_bytes` of final requests, updated when one finishes, is retried or deleted.
    Column("stored_bytes", BigInteger, nullable=False, default=0, server_default="0"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    # The public part of a key, by which its row is found.
    Column("public_id", String(32), nullable=False, unique=True),
    # SHA-256 of the whole key, 64 hexadecimal digits. Keys are random and long, so no slow hash is needed.
    Column("digest", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    # Names of `Scope`.
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    # Accurate to the minute.
    Column("last_used_at", UtcDateTime, nullable=True),
    Column("revoked_at", UtcDateTime, nullable=True),
    # The key that replaces it after a rotation.
    Column("successor_id", Uuid, nullable=True),
)

Index("ix_api_keys_tenant_id_id", api_keys.c.tenant_id, api_keys.c.id)

# Secrets for signed URLs: the newest one signs, the newest two verify.
signing_secrets = Table(
    "signing_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    # 32 random bytes, 64 hexadecimal digits.
    Column("secret", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Triggers in the migration refuse to change or delete a row.
audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    # Name of the caller, and its API key, if any.
    Column("actor", String(100), nullable=False),
    Column("key_id", Uuid, nullable=True),
    Column("action", text_enum(AuditAction), nullable=False),
    # A global ID; the object may have been deleted.
    Column("subject_id", String(64), nullable=True),
    # Empty for the system and the command line.
    Column("ip_address", String(100), nullable=False),
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
    # Internal: the next step of its life cycle.
    Column("phase", text_enum(RequestPhase), nullable=False),
    Column("priority", text_enum(Priority), nullable=False),
    # Number of the run: incremented by each retry.
    Column("generation", Integer, nullable=False, default=1),
    # Incremented by each change; orders progress events.
    Column("sequence", Integer, nullable=False, default=1),
    Column("csv_filename", String(255), nullable=False),
    Column("options", JSON, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("idempotency_key", String(255), nullable=True),
    Column("webhook_url", Text, nullable=True),
    Column("webhook_triggered", Boolean, nullable=False, default=False),
    Column("total_products", Integer, nullable=False),
    # Rows of the CSV that are already in `products`; an interrupted ingestion resumes here.
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
    # Images finished at `rate_sampled_at`, and the rate over the interval before.
    Column("rate_sampled_at", UtcDateTime, nullable=True),
    _count("rate_sampled_images"),
    Column("images_per_second", Float, nullable=True),
    # Why the request is stopped early.
    Column("termination_reason", text_enum(TerminationReason), nullable=True),
    Column("failure_code", text_enum(RequestFailureCode), nullable=True),
    # Last part of the output CSV's object key; null when there is none (yet).
    Column("output_name", String(64), nullable=True),
    # Until then only the holder of the lease advances the request.
    Column("lease_until", UtcDateTime, nullable=False),
    # Fencing token: incremented by each lease; writes with an older one change nothing.
    _count("lease_token"),
    # When temporary failures are retried automatically, and how often that was done.
    Column("retry_at", UtcDateTime, nullable=True),
    _count("auto_retries"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime, nullable=True),
    Column("completed_at", UtcDateTime, nullable=True),
    # When its objects are compared with its rows: after its end, or after a lost lease. Null once that is done.
    Column("cleanup_at", UtcDateTime, nullable=True),
    # When failed images were last retried; the deadline counts from then.
    Column("retried_at", UtcDateTime, nullable=True),
    # W3C Trace Context of the upload, if tracing was enabled. Messages may be lost; this stays.
    Column("traceparent", String(55), nullable=True),
    # Set while a retry resets images in chunks: which images, and the last one that was reset.
    Column("retry_scope", text_enum(RetryScope), nullable=True),
    Column("retry_cursor", Uuid, nullable=True),
)

OPEN = (RequestStatus.PENDING, RequestStatus.PROCESSING)
#: Not final. Rendered as literals: SQLite matches the condition of a partial index by its text.
is_open = requests.c.status.in_(bindparam("open_statuses", OPEN, expanding=True, literal_execute=True))

#: The phases in which workers claim images and record results.
CLAIMING = (RequestPhase.INGESTING, RequestPhase.WORKING, RequestPhase.RETRYING)
is_claiming = requests.c.phase.in_(CLAIMING)
#: Something is left to do. Rendered as a literal, as `is_open` is.
is_not_done = requests.c.phase != bindparam("done_phase", RequestPhase.DONE, literal_execute=True)
#: Whether a process can advance the request now: in every phase but WORKING there is always a next step.
has_step = and_(
    is_not_done,
    or_(
        requests.c.phase != RequestPhase.WORKING,
        requests.c.processed_images + requests.c.failed_images + requests.c.cancelled_images == requests.c.total_images,
    ),
)

Index("uq_requests_tenant_id_idempotency_key", requests.c.tenant_id, requests.c.idempotency_key, unique=True)
Index("ix_requests_tenant_id_created_at_id", requests.c.tenant_id, requests.c.created_at, requests.c.id)
Index(
    "ix_requests_tenant_id_status_created_at_id",
    requests.c.tenant_id,
    requests.c.status,
    requests.c.created_at,
    requests.c.id,
)
_not_done = requests.c.phase != RequestPhase.DONE
Index("ix_requests_not_done", requests.c.id, sqlite_where=_not_done, postgresql_where=_not_done)
_retried = requests.c.retry_at.is_not(None)
Index("ix_requests_retry_at", requests.c.retry_at, sqlite_where=_retried, postgresql_where=_retried)
_needs_cleanup = requests.c.cleanup_at.is_not(None)
Index("ix_requests_cleanup_at", requests.c.cleanup_at, sqlite_where=_needs_cleanup, postgresql_where=_needs_cleanup)
Index("ix_requests_completed_at", requests.c.completed_at)

products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    # Copied from the request, for an index on the products of a tenant.
    _tenant(),
    # 0 for the first data row of the CSV.
    Column("position", Integer, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("product_name", Text, nullable=False),
    Column("input_image_urls", JSON, nullable=False),
    Column("status", text_enum(ProductStatus), nullable=False, default=ProductStatus.PENDING),
    Column("total_images", Integer, nullable=False),
    _count("processed_images"),
    _count("failed_images"),
    _count("cancelled_images"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

Index("uq_products_request_id_position", products.c.request_id, products.c.position, unique=True)
Index("ix_products_request_id_status_position", products.c.request_id, products.c.status, products.c.position)
Index("ix_products_tenant_id_id", products.c.tenant_id, products.c.id)
Index("ix_products_tenant_id_status_id", products.c.tenant_id, products.c.status, products.c.id)

# The images of one host in one request. A worker chooses a lane by fairness, then claims images of it.
lanes = Table(
    "lanes",
    metadata,
    # Derived from request and host, see `lanes.lane_id`.
    Column("id", Uuid, primary_key=True),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    # Copied from the request: the choice reads this table only. `priority` is the rank: 0 is chosen most often.
    _tenant(),
    Column("priority", SmallInteger, nullable=False),
    # "name:port" in lower case, as the budgets of hosts know it.
    Column("host", String(300), nullable=False),
    # Random and fixed: the lane's place in the circle of its request's lanes.
    Column("lot", Integer, nullable=False),
    # Whether an image may be due, and the host may be asked.
    Column("ready", Boolean, nullable=False),
    # When the lane becomes ready automatically; null when that depends on something else.
    Column("wake_at", UtcDateTime, nullable=True),
)

Index(
    "ix_lanes_ready",
    lanes.c.tenant_id,
    lanes.c.priority,
    lanes.c.request_id,
    lanes.c.lot,
    sqlite_where=lanes.c.ready,
    postgresql_where=lanes.c.ready,
)
_asleep = lanes.c.wake_at.is_not(None)
Index("ix_lanes_wake_at", lanes.c.wake_at, sqlite_where=_asleep, postgresql_where=_asleep)
Index("ix_lanes_request_id", lanes.c.request_id)

images = Table(
    "images",
    metadata,
    Column("id", Uuid, primary_key=True),
    # No foreign key: an image is deleted with its product, and another foreign key would need another index.
    Column("request_id", Uuid, nullable=False),
    Column("product_id", ForeignKey("products.id", ondelete="CASCADE"), nullable=False),
    # Index in the product's `input_image_urls`.
    Column("position", Integer, nullable=False),
    Column("status", text_enum(ImageStatus), nullable=False, default=ImageStatus.PENDING),
    Column("outcome", text_enum(ImageOutcome), nullable=True),
    # No foreign key, as above.
    Column("lane_id", Uuid, nullable=False),
    # When a worker may claim the image: now, when a retry is due, or when the lease of another worker expires. Null
    # once it is final.
    Column("due_at", UtcDateTime, nullable=True),
    # Fencing token: incremented by each claim; a result with an older one is dropped.
    _count("lease_token"),
    _count("attempts"),
    # Consecutive claims that ended without a word: their workers were killed, perhaps by this image.
    _count("unfinished_claims"),
    # How often it was decoded in isolation without a result.
    _count("crashes"),
    # How often its host asked us to slow down.
    _count("refusals"),
    Column("error_code", text_enum(ImageErrorCode), nullable=True),
    Column("error_message", Text, nullable=True),
    Column("error_http_status", Integer, nullable=True),
    Column("error_retryable", Boolean, nullable=False, default=False),
    Column("input_bytes", BigInteger, nullable=True),
    Column("output_bytes", BigInteger, nullable=True),
    # Last part of its URL and of its object key.
    Column("object_name", String(64), nullable=True),
    # Of the stored bytes, 64 hexadecimal digits.
    Column("sha256", String(64), nullable=True),
    Column("format", String(32), nullable=True),
    Column("width", Integer, nullable=True),
    Column("height", Integer, nullable=True),
)

Index("uq_images_product_id_position", images.c.product_id, images.c.position, unique=True)
_due = images.c.due_at.is_not(None)
Index("ix_images_due", images.c.lane_id, images.c.due_at, images.c.id, sqlite_where=_due, postgresql_where=_due)
#: Failed, and failed temporarily; rendered as literals, as `is_open` is.
is_failed = images.c.status == literal(ImageStatus.FAILED, images.c.status.type, literal_execute=True)
is_failed_for_now = and_(is_failed, images.c.error_retryable)
_failed = images.c.status == ImageStatus.FAILED
Index("ix_images_failed_in_order", images.c.request_id, images.c.id, sqlite_where=_failed, postgresql_where=_failed)
_for_now = and_(_failed, images.c.error_retryable)
Index("ix_images_failed_for_now", images.c.request_id, images.c.id, sqlite_where=_for_now, postgresql_where=_for_now)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    # Also the `webhook-id` of every attempt.
    Column("id", Uuid, primary_key=True),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("status", text_enum(WebhookStatus), nullable=False, default=WebhookStatus.PENDING),
    _count("attempts"),
    Column("last_http_status", Integer, nullable=True),
    # As on an image: when the next attempt is due, or the lease of the current one expires; null when final.
    Column("due_at", UtcDateTime, nullable=True),
    _count("lease_token"),
    # The last 20 attempts, oldest first.
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

# One row: the oldest revision whose code is compatible with this schema.
schema_compatibility = Table("schema_compatibility", metadata, Column("min_revision", String(32), nullable=False))
