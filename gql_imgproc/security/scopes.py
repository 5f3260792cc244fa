"""Callers and their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gql_imgproc.ids import DEFAULT_TENANT


class Scope(StrEnum):
    """What an API key permits. No scope includes another. The GraphQL schema describes the values."""

    READ = "READ"
    WRITE = "WRITE"
    ADMIN = "ADMIN"


#: Scopes of callers without an API key, where the service accepts them: all but the management of keys.
ANONYMOUS_SCOPES = frozenset({Scope.READ, Scope.WRITE})
#: A longer caller name is truncated; API keys have no longer one.
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller and its tenant."""

    tenant_id: UUID
    #: Name of its API key, or `anonymous`, `cli:USER` or the name of a periodic task.
    name: str
    scopes: frozenset[Scope]
    #: None without an API key.
    key_id: UUID | None = None
    expires_at: datetime | None = None
    #: IP address of the client; empty for calls of the service itself.
    ip_address: str = ""
    #: Whether rate limits and quotas do not apply: on localhost without API keys, and for the service itself.
    is_unlimited: bool = False

    @property
    def access_key(self) -> tuple[UUID, frozenset[Scope]]:
        """Callers with an equal access key see the same data."""
        return self.tenant_id, self.scopes


def anonymous_caller(ip_address: str, *, is_unlimited: bool) -> Caller:
    """A caller without an API key."""
    return Caller(DEFAULT_TENANT, "anonymous", ANONYMOUS_SCOPES, ip_address=ip_address, is_unlimited=is_unlimited)


def cli_caller(tenant_id: UUID, user: str) -> Caller:
    """The operator at the command line, who has all scopes: database access permits everything anyway."""
    return Caller(tenant_id, f"cli:{user}"[:_MAX_NAME_CHARS], frozenset(Scope))


def system_caller(tenant_id: UUID, task: str) -> Caller:
    """The service itself, when a periodic task does what callers can do."""
    return Caller(tenant_id, task, frozenset(Scope), is_unlimited=True)
