"""Who a caller is, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from gql_imgproc.ids import DEFAULT_TENANT


class Scope(StrEnum):
    """What a key is good for; none includes another. The descriptions stand in the GraphQL schema."""

    READ = "READ"
    WRITE = "WRITE"
    ADMIN = "ADMIN"


#: What callers without a key may do, where they are let in: all but hand out keys.
ANONYMOUS_SCOPES = frozenset({Scope.READ, Scope.WRITE})
#: What is kept of a name, in characters; those of keys are no longer.
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who asks for something, in the name of a tenant."""

    tenant_id: UUID
    #: That of its key, or what stands in for one.
    name: str
    scopes: frozenset[Scope]
    #: None for a caller without a key.
    key_id: UUID | None = None
    expires_at: datetime | None = None
    #: Network address it calls from; empty for ourselves.
    ip_address: str = ""
    #: Whether neither rates nor quotas bind it: the owner of a laptop, and ourselves.
    unlimited: bool = False

    @property
    def access_key(self) -> tuple[UUID, frozenset[Scope]]:
        """What decides about all that it gets to see."""
        return self.tenant_id, self.scopes


def anonymous_caller(ip_address: str, *, unlimited: bool) -> Caller:
    """A caller that was not asked who it is."""
    return Caller(DEFAULT_TENANT, "anonymous", ANONYMOUS_SCOPES, ip_address=ip_address, unlimited=unlimited)


def cli_caller(tenant_id: UUID, user: str) -> Caller:
    """Who runs the service, at the command line: who has the database may do all."""
    return Caller(tenant_id, f"cli:{user}"[:_MAX_NAME_CHARS], frozenset(Scope))


def system_caller(tenant_id: UUID, duty: str) -> Caller:
    """The service, when it does by itself what callers can do."""
    return Caller(tenant_id, duty, frozenset(Scope), unlimited=True)
