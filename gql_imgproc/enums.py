"""The states of requests, products, images and webhooks, and the outcomes they end with."""

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


class Priority(StrEnum):
    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class WebhookStatus(StrEnum):
    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    RETRYING = "RETRYING"
    FAILED = "FAILED"


class TerminationReason(StrEnum):
    """Why an open request is being brought to its end before its pictures are done."""

    CANCELLED = "CANCELLED"
    DEADLINE = "DEADLINE"
    CSV_UNREADABLE = "CSV_UNREADABLE"


class Quota(StrEnum):
    """What a tenant may have so much of."""

    OPEN_REQUESTS = "OPEN_REQUESTS"
    PENDING_IMAGES = "PENDING_IMAGES"
    STORED_BYTES = "STORED_BYTES"
    CSV_BYTES = "CSV_BYTES"


class RequestFailureCode(StrEnum):
    CSV_UNREADABLE = "CSV_UNREADABLE"
    ALL_IMAGES_FAILED = "ALL_IMAGES_FAILED"
    DEADLINE = "DEADLINE"
    INTERNAL = "INTERNAL"


class RetryScope(StrEnum):
    """What of a request is still to be opened again."""

    CUT_OFF = "CUT_OFF"  # what its deadline cut off, then what failed
    FAILED = "FAILED"
    TEMPORARY = "TEMPORARY"  # what may have failed for now only


class AuditAction(StrEnum):
    """Something that was done in a tenant's name; the descriptions stand in the GraphQL schema."""

    REQUEST_ACCEPTED = "REQUEST_ACCEPTED"
    REQUEST_CANCELLED = "REQUEST_CANCELLED"
    REQUEST_RETRIED = "REQUEST_RETRIED"
    REQUEST_DELETED = "REQUEST_DELETED"
    WEBHOOK_RESENT = "WEBHOOK_RESENT"
    API_KEY_CREATED = "API_KEY_CREATED"
    API_KEY_ROTATED = "API_KEY_ROTATED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    TENANT_CREATED = "TENANT_CREATED"
    QUOTAS_SET = "QUOTAS_SET"
    SIGNING_SECRET_ROTATED = "SIGNING_SECRET_ROTATED"
