"""What the audit log tells of."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
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
