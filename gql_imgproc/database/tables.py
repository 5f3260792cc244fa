"""The tables. The database is the single source of truth; Redis and processes may lose their state."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
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
    false,
    literal,
    or_,
)

from gql_imgproc.database.types import UtcDateTime, text_enum
from gql_imgproc.enums import (
    AuditAction,
    CsvProfile,
    EndpointDisabledReason,
    ImageOutcome,
    ImageStatus,
    Priority,
    ProductStatus,
    RequestFailureCode,
    RequestPhase,
    RequestStatus,
    RetryScope,
    StatisticsKind,
    TerminationReason,
    WebhookEventType,
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


def _partial_index(name: str, *columns: Column[Any], where: ColumnElement[bool]) -> None:
    Index(name, *columns, sqlite_where=where, postgresql_where=where)


tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    # Overrides of the quotas in the settings; 0 is unlimited.
    Column("max_open_requests", BigInteger, nullable=True),
    Column("max_pending_images", BigInteger, nullable=True),
    Column("max_open_rows", BigInteger, nullable=True),
    Column("max_stored_bytes", BigInteger, nullable=True),
    Column("max_csv_bytes", BigInteger, nullable=True),
    # Sum of `stored_bytes` of final requests, less what was deleted.
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

# Triggers in the migrations refuse to change a row, or to delete one that was not exported.
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
    # Null for requests of versions that only knew the generic profile.
    Column("profile", text_enum(CsvProfile), nullable=True),
    # `CsvLayout`: how the CSV is read again. Not in snapshots, since it lists the skipped rows.
    Column("csv_layout", JSON, nullable=True),
    Column("skipped_rows", Integer, nullable=False, default=0, server_default="0"),
    Column("idempotency_key", String(255), nullable=True),
    # SHA-256 of the file and the options of an upload with a key, 64 hexadecimal digits.
    Column("idempotency_fingerprint", String(64), nullable=True),
    Column("webhook_url", Text, nullable=True),
    Column("webhook_triggered", Boolean, nullable=False, default=False),
    # Whether every image is downloaded and compressed again.
    Column("refresh", Boolean, nullable=False, default=False, server_default=false()),
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
    Column("reused_images", Integer, nullable=False, default=0, server_default="0"),
    # Sizes of the sources, and of the results. Sources whose hosts said that they are unchanged are counted too.
    Column("input_bytes", BigInteger, nullable=False, default=0),
    Column("output_bytes", BigInteger, nullable=False, default=0),
    Column("not_downloaded_bytes", BigInteger, nullable=False, default=0, server_default="0"),
    # Bytes of its files and of the images that it stored first; of those, bytes that are deleted with it: its files,
    # and images without renditions.
    # Null until this version records results of a request of an earlier one: then both are all output bytes before.
    Column("stored_bytes", BigInteger, nullable=True),
    Column("own_bytes", BigInteger, nullable=True),
    # Bytes of its output CSV, report and workbook; null before its first end, and for one of an earlier version.
    Column("output_file_bytes", BigInteger, nullable=True),
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
    # Unused; see `object_cleanups`.
    Column("cleanup_at", UtcDateTime, nullable=True),
    # When failed images were last retried; the deadline counts from then.
    Column("retried_at", UtcDateTime, nullable=True),
    # W3C Trace Context of the upload, if tracing was enabled. Messages may be lost; this stays.
    Column("traceparent", String(55), nullable=True),
    # Set while a retry resets images in chunks: which images, and the last one that was reset.
    Column("retry_scope", text_enum(RetryScope), nullable=True),
    Column("retry_cursor", Uuid, nullable=True),
    # Of its failed images, only those with this error, and only those of this lane; null for all.
    Column("retry_error_code", text_enum(ImageErrorCode), nullable=True),
    Column("retry_lane_id", Uuid, nullable=True),
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
Index(
    "ix_requests_tenant_id_csv_filename_created_at_id",
    requests.c.tenant_id,
    requests.c.csv_filename,
    requests.c.created_at,
    requests.c.id,
)
_partial_index("ix_requests_not_done", requests.c.id, where=requests.c.phase != RequestPhase.DONE)
_partial_index("ix_requests_retry_at", requests.c.retry_at, where=requests.c.retry_at.is_not(None))
_partial_index("ix_requests_cleanup_at", requests.c.cleanup_at, where=requests.c.cleanup_at.is_not(None))
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
    # Digests, see `requests/identity.py`: of its identifier, and of all that is compared. Null of earlier versions.
    Column("identity", BigInteger, nullable=True),
    Column("fingerprint", BigInteger, nullable=True),
    Column("product_name", Text, nullable=False),
    Column("input_image_urls", JSON, nullable=False),
    # Template of the file names in the URLs of its results; null for a request of an earlier version.
    Column("file_name", String(100), nullable=True),
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
Index("ix_products_request_id_identity", products.c.request_id, products.c.identity)
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

_order = lanes.c.tenant_id, lanes.c.priority, lanes.c.request_id, lanes.c.lot
_partial_index("ix_lanes_ready", *_order, where=lanes.c.ready)
_partial_index("ix_lanes_wake_at", lanes.c.wake_at, where=lanes.c.wake_at.is_not(None))
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
    # Digest of that URL. Null of earlier versions.
    Column("url_digest", BigInteger, nullable=True),
    Column("status", text_enum(ImageStatus), nullable=False, default=ImageStatus.PENDING),
    Column("outcome", text_enum(ImageOutcome), nullable=True),
    # No foreign key, as above.
    Column("lane_id", Uuid, nullable=False),
    # The first image of the request with the same URL, if this is not it. Then this one is never claimed, but gets the
    # result of that one.
    Column("original_id", Uuid, nullable=True),
    # Whether others have this image as their original. Set with them: a transaction that locks the row knows it.
    Column("has_repeats", Boolean, nullable=False, default=False),
    # When a worker may claim the image: now, when a retry is due, or when the lease of another worker expires. Null
    # once it is final, and while it waits for its original.
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
    # Of a completed image, a warning.
    Column("error_message", Text, nullable=True),
    Column("error_http_status", Integer, nullable=True),
    Column("error_retryable", Boolean, nullable=False, default=False),
    Column("input_bytes", BigInteger, nullable=True),
    Column("output_bytes", BigInteger, nullable=True),
    # No foreign key, as above. Null of earlier versions, and until it is completed.
    Column("rendition_id", Uuid, nullable=True),
    # The last parts of its URL and of its object key: the request that stored the object, and its name. Null: its own.
    Column("stored_by", Uuid, nullable=True),
    Column("object_name", String(64), nullable=True),
    # Of the stored bytes, 64 hexadecimal digits.
    Column("sha256", String(64), nullable=True),
    Column("format", String(32), nullable=True),
    Column("width", Integer, nullable=True),
    Column("height", Integer, nullable=True),
    # To the source, 0 to 100. Null if an earlier version stored the object, and until it is completed.
    Column("similarity", Float, nullable=True),
)

Index("uq_images_product_id_position", images.c.product_id, images.c.position, unique=True)
# For comparisons: a product has up to 100 images, and each is looked up in the other product.
Index("ix_images_product_id_url_digest", images.c.product_id, images.c.url_digest)
_due = images.c.due_at.is_not(None)
_partial_index("ix_images_due", images.c.lane_id, images.c.due_at, images.c.id, where=_due)
_repeats = images.c.original_id.is_not(None)
_partial_index("ix_images_original_id", images.c.original_id, where=_repeats)
_partial_index("ix_images_rendition_id", images.c.rendition_id, where=images.c.rendition_id.is_not(None))
_by_similarity = images.c.request_id, images.c.similarity, images.c.id
_partial_index("ix_images_similarity", *_by_similarity, where=images.c.similarity.is_not(None))
#: Failed, and failed temporarily; rendered as literals, as `is_open` is.
is_failed = images.c.status == literal(ImageStatus.FAILED, images.c.status.type, literal_execute=True)
is_failed_for_now = and_(is_failed, images.c.error_retryable)
_failed = images.c.status == ImageStatus.FAILED
_for_now = and_(_failed, images.c.error_retryable)
_partial_index("ix_images_failed_in_order", images.c.request_id, images.c.id, where=_failed)
_partial_index("ix_images_failed_for_now", images.c.request_id, images.c.id, where=_for_now)

# The images of a request by media type, by error, and by host; updated in the transactions that change them.
image_statistics = Table(
    "image_statistics",
    metadata,
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", text_enum(StatisticsKind), primary_key=True),
    Column("name", String(300), primary_key=True),
    # Of a host: all its images, and how often it asked us to slow down.
    _count("images"),
    _count("throttled"),
    _count("completed"),
    _count("failed"),
    Column("bytes_before", BigInteger, nullable=False, default=0),
    Column("bytes_after", BigInteger, nullable=False, default=0),
)

Index(
    "ix_image_statistics_in_order",
    image_statistics.c.request_id,
    image_statistics.c.kind,
    image_statistics.c.failed,
    image_statistics.c.images,
)

# The bytes at a URL as of its last download, by tenant.
sources = Table(
    "sources",
    metadata,
    # Derived from tenant and URL, see `renditions.source_id`.
    Column("id", Uuid, primary_key=True),
    # Derived from tenant and SHA-256 of the bytes.
    Column("content_id", Uuid, nullable=False, index=True),
    # Validators of the last download, as the host sent them.
    Column("etag", String(256), nullable=True),
    Column("last_modified", String(64), nullable=True),
    Column("fetched_at", UtcDateTime, nullable=False),
)

# Stored objects: results of source bytes and options. Any number of a tenant's images refer to one.
renditions = Table(
    "renditions",
    metadata,
    # Random, and the name of the object: nobody can guess its URL, and no name is used twice.
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("content_id", Uuid, nullable=False),
    # Derived from options and compressor. Null: no other image may refer to it, since it was replaced or is unused.
    Column("fingerprint", Uuid, nullable=True),
    # The last parts of its URL and of its object key.
    Column("stored_by", Uuid, nullable=False, index=True),
    Column("object_name", String(64), nullable=False),
    # As on an image.
    Column("outcome", text_enum(ImageOutcome), nullable=False),
    Column("input_bytes", BigInteger, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("format", String(32), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("similarity", Float, nullable=True),
    Column("warning", Text, nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    # When to delete it unless an image refers to it; set when images are deleted.
    Column("check_at", UtcDateTime, nullable=True),
)

Index("uq_renditions_content_id_fingerprint", renditions.c.content_id, renditions.c.fingerprint, unique=True)
_partial_index("ix_renditions_check_at", renditions.c.check_at, where=renditions.c.check_at.is_not(None))

# The further outputs of an image: those after the first, which is the image's own. Only of a request with several.
image_outputs = Table(
    "image_outputs",
    metadata,
    # No foreign keys: they would cost a lookup for every image of every request. Deleted with the image.
    Column("image_id", Uuid, primary_key=True),
    # Index in the outputs of the request's options, from 1 on.
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    Column("rendition_id", Uuid, nullable=False, index=True),
    # As on an image.
    Column("outcome", text_enum(ImageOutcome), nullable=False),
    sqlite_with_rowid=False,
)

# When the objects of a request are compared with rows: after its end, its deletion, or a lost lease.
object_cleanups = Table(
    "object_cleanups",
    metadata,
    # No foreign key: the request may have been deleted.
    Column("request_id", Uuid, primary_key=True),
    Column("due_at", UtcDateTime, nullable=False, index=True),
)


def _delivery_columns() -> list[Column[Any]]:
    """The state of a delivery of a webhook, in each of the tables that have deliveries."""
    return [
        # Also the `webhook-id` of every attempt.
        Column("id", Uuid, primary_key=True),
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
    ]


# Deliveries to the URL of an upload.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    *_delivery_columns(),
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
)

Index(
    "uq_webhook_deliveries_request_id_generation",
    webhook_deliveries.c.request_id,
    webhook_deliveries.c.generation,
    unique=True,
)
_planned = webhook_deliveries.c.due_at.is_not(None)
_partial_index("ix_webhook_deliveries_due_at", webhook_deliveries.c.due_at, where=_planned)

# Receivers of a tenant's events. They are disabled, never deleted.
webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("url", Text, nullable=False),
    # Names of `WebhookEventType`.
    Column("event_types", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # The first of the failed attempts since the last successful one.
    Column("failing_since", UtcDateTime, nullable=True),
    Column("disabled_at", UtcDateTime, nullable=True),
    Column("disabled_reason", text_enum(EndpointDisabledReason), nullable=True),
)

Index("ix_webhook_endpoints_tenant_id_id", webhook_endpoints.c.tenant_id, webhook_endpoints.c.id)

# Secrets that sign webhooks: of each owner the newest one, and the previous one until it expires.
webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Uuid, primary_key=True),
    # An endpoint; or a tenant, whose secret signs the webhooks of its uploads.
    Column("owner_id", Uuid, nullable=False),
    # Encrypted with the key in the settings.
    Column("ciphertext", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=True),
    # Of the first secret of a tenant: until then, the secret in the settings signs as well.
    Column("service_secret_until", UtcDateTime, nullable=True),
)

Index("ix_webhook_secrets_owner_id_id", webhook_secrets.c.owner_id, webhook_secrets.c.id)

# Deliveries of events to endpoints. The content of an event never changes.
endpoint_deliveries = Table(
    "endpoint_deliveries",
    metadata,
    *_delivery_columns(),
    Column("endpoint_id", Uuid, nullable=False),
    # Null for a test.
    Column("request_id", ForeignKey("requests.id", ondelete="CASCADE"), nullable=True),
    Column("event_type", text_enum(WebhookEventType), nullable=False),
    Column("occurred_at", UtcDateTime, nullable=False),
    # The `data` of the message; in place of a signed URL, its path.
    Column("data", JSON, nullable=False),
)

Index("ix_endpoint_deliveries_endpoint_id_id", endpoint_deliveries.c.endpoint_id, endpoint_deliveries.c.id)
Index("ix_endpoint_deliveries_request_id", endpoint_deliveries.c.request_id)
_planned = endpoint_deliveries.c.due_at.is_not(None)
_partial_index("ix_endpoint_deliveries_due_at", endpoint_deliveries.c.due_at, where=_planned)

# One row: all audit events up to this time were exported; null: none.
audit_export = Table("audit_export", metadata, Column("exported_until", UtcDateTime, nullable=True))

# One row: this database, as the marker in the object store names it (`storage/store_marker.py`).
store_marker = Table(
    "store_marker",
    metadata,
    Column("database_id", Uuid, primary_key=True),
    # Each cleanup raises it. 0: the database has not marked a store yet.
    Column("epoch", BigInteger, nullable=False),
)

# One row: the oldest revision whose code is compatible with this schema.
schema_compatibility = Table("schema_compatibility", metadata, Column("min_revision", String(32), nullable=False))
