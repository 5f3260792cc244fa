"""What callers may know of themselves."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.core.rights import Caller, Scope


@strawberry.type(description="The caller, as the service knows it.")
class Viewer:
    name: str = strawberry.field(description="Name of the caller's API key; `anonymous` for a caller without one.")
    tenant: str = strawberry.field(description="Name of the tenant in whose name the caller speaks.")
    scopes: list[Scope] = strawberry.field(description="What the caller may do.")
    expires_at: datetime | None = strawberry.field(
        description="When the caller's API key expires; null when it does not, or there is none."
    )

    @classmethod
    def of(cls, caller: Caller, tenant: str) -> Viewer:
        return cls(
            name=caller.name,
            tenant=tenant,
            scopes=[scope for scope in Scope if scope in caller.scopes],
            expires_at=caller.expires_at,
        )
