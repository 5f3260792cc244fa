"""Statuses, outcomes and other enums that several packages share."""

from __future__ import annotations

from enum import StrEnum


class RequestStatus(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        return self not in (RequestStatus.PENDING, RequestStatus.PROCESSING)


class RequestPhase(StrEnum):
    """What has to be done next for a request; `requests/repository/transitions.py` has the diagram."""

    INGESTING = "INGESTING"  # rows of its CSV are missing
    WORKING = "WORKING"  # nothing until no image is pending
    RETRYING = "RETRYING"  # images are left to reopen
    STOPPING = "STOPPING"  # pending images are left to cancel
    FINISHING = "FINISHING"  # the output CSV is missing
    DONE = "DONE"
    DELETING = "DELETING"  # rows are left to delete


class ProductStatus(StrEnum):
    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    COMPLETED_WITH_ERRORS = "COMPLETED_WITH_ERRORS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ImageStatus(StrEnum):
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class ImageOutcome(StrEnum):
    COMPRESSED = "COMPRESSED"
    KEPT = "KEPT"
    REUSED = "REUSED"


class CsvProfile(StrEnum):
    """How a file is read: as our own format, as the export of a shop, or with columns that the caller names."""

    GENERIC = "GENERIC"
    SHOPIFY = "SHOPIFY"
    WOOCOMMERCE = "WOOCOMMERCE"
    MAGENTO = "MAGENTO"
    BIGCOMMERCE = "BIGCOMMERCE"
    PRESTASHOP = "PRESTASHOP"
    MEDUSA = "MEDUSA"
    GOOGLE_MERCHANT = "GOOGLE_MERCHANT"
    AMAZON = "AMAZON"
    CUSTOM = "CUSTOM"


class InvalidRowPolicy(StrEnum):
    REFUSE_FILE = "REFUSE_FILE"
    SKIP_ROW = "SKIP_ROW"


class Priority(StrEnum):
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class WebhookStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class WebhookEventType(StrEnum):
    """What an event is about; the GraphQL schema has the descriptions."""

    REQUEST_COMPLETED = "REQUEST_COMPLETED"
    REQUEST_FAILED = "REQUEST_FAILED"
    REQUEST_CANCELLED = "REQUEST_CANCELLED"
    REQUEST_PROGRESSED = "REQUEST_PROGRESSED"
    WEBHOOK_TEST = "WEBHOOK_TEST"

    @property
    def public_name(self) -> str:
        """The `type` of the message, such as `request.completed`."""
        return self.value.lower().replace("_", ".")


class EndpointDisabledReason(StrEnum):
    """Why a webhook endpoint gets no events."""

    CALLER = "CALLER"
    GONE = "GONE"
    FAILING = "FAILING"


class TerminationReason(StrEnum):
    """Why an open request is terminated before all its images are processed."""

    CANCELLED = "CANCELLED"
    DEADLINE = "DEADLINE"
    CSV_UNREADABLE = "CSV_UNREADABLE"


class Quota(StrEnum):
    """What the quotas of a tenant limit."""

    OPEN_REQUESTS = "OPEN_REQUESTS"
    PENDING_IMAGES = "PENDING_IMAGES"
    OPEN_ROWS = "OPEN_ROWS"
    STORED_BYTES = "STORED_BYTES"
    CSV_BYTES = "CSV_BYTES"


class RequestFailureCode(StrEnum):
    CSV_UNREADABLE = "CSV_UNREADABLE"
    ALL_IMAGES_FAILED = "ALL_IMAGES_FAILED"
    DEADLINE = "DEADLINE"
    INTERNAL = "INTERNAL"


class StatisticsKind(StrEnum):
    """What the images of a request are grouped by."""

    FORMAT = "FORMAT"
    ERROR = "ERROR"
    HOST = "HOST"


class ChangeKind(StrEnum):
    """How a product or an image differs from an earlier request."""

    ADDED = "ADDED"
    CHANGED = "CHANGED"
    GONE = "GONE"
    UNCHANGED = "UNCHANGED"


class RetryScope(StrEnum):
    """Which images of a request are still to be retried."""

    CUT_OFF = "CUT_OFF"  # the images cancelled by the deadline, then the failed ones
    FAILED = "FAILED"
    TEMPORARY = "TEMPORARY"  # the images whose failure may be temporary


class AuditAction(StrEnum):
    """An action in the audit log of a tenant; the GraphQL schema has the descriptions."""

    REQUEST_ACCEPTED = "REQUEST_ACCEPTED"
    REQUEST_CANCELLED = "REQUEST_CANCELLED"
    REQUEST_RETRIED = "REQUEST_RETRIED"
    REQUEST_DELETED = "REQUEST_DELETED"
    WEBHOOK_RESENT = "WEBHOOK_RESENT"
    WEBHOOK_ENDPOINT_CREATED = "WEBHOOK_ENDPOINT_CREATED"
    WEBHOOK_ENDPOINT_ENABLED = "WEBHOOK_ENDPOINT_ENABLED"
    WEBHOOK_ENDPOINT_DISABLED = "WEBHOOK_ENDPOINT_DISABLED"
    WEBHOOK_SECRET_ROTATED = "WEBHOOK_SECRET_ROTATED"
    API_KEY_CREATED = "API_KEY_CREATED"
    API_KEY_ROTATED = "API_KEY_ROTATED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    TENANT_CREATED = "TENANT_CREATED"
    QUOTAS_SET = "QUOTAS_SET"
    SIGNING_SECRET_ROTATED = "SIGNING_SECRET_ROTATED"
