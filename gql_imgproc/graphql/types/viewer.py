"""What callers may know of themselves."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.access.quotas import QuotaUsage
from gql_imgproc.graphql.types.scalars import ByteCount
from gql_imgproc.security.scopes import Caller, Scope


@strawberry.type(description="What a tenant has at the moment.")
class TenantUsage:
    open_requests: int = strawberry.field(description="Requests that have no final status.")
    pending_images: int = strawberry.field(description="Images of those that are not done.")
    stored_bytes: ByteCount = strawberry.field(description="Bytes of the images stored for the tenant.")


@strawberry.type(description="What a tenant may have; null where there is no limit.")
class TenantQuotas:
    open_requests: int | None = strawberry.field(description="Requests that have no final status.")
    pending_images: int | None = strawberry.field(description="Images of those that are not done.")
    stored_bytes: ByteCount | None = strawberry.field(description="Bytes of the images stored for the tenant.")
    csv_bytes: ByteCount | None = strawberry.field(
        description="Size of the largest CSV file, if that of `limits` is not less."
    )


@strawberry.type(description="The caller, as the service knows it.")
class Viewer:
    name: str = strawberry.field(description="Name of the caller's API key; `anonymous` for a caller without one.")
    tenant: str = strawberry.field(description="Name of the tenant in whose name the caller speaks.")
    scopes: list[Scope] = strawberry.field(description="What the caller may do.")
    expires_at: datetime | None = strawberry.field(
        description="When the caller's API key expires; null when it does not, or there is none."
    )
    usage: TenantUsage = strawberry.field(description="What the tenant has.")
    quotas: TenantQuotas | None = strawberry.field(
        description="What the tenant may have; null when no quota binds the caller."
    )

    @classmethod
    def of(cls, caller: Caller, tenant: str, standing: QuotaUsage, *, bound: bool) -> Viewer:
        return cls(
            name=caller.name,
            tenant=tenant,
            scopes=[scope for scope in Scope if scope in caller.scopes],
            expires_at=caller.expires_at,
            usage=TenantUsage(
                open_requests=standing.open_requests.used,
                pending_images=standing.pending_images.used,
                stored_bytes=ByteCount(standing.stored_bytes.used),
            ),
            quotas=_quotas(standing) if bound else None,
        )


def _quotas(standing: QuotaUsage) -> TenantQuotas:
    return TenantQuotas(
        open_requests=standing.open_requests.limit,
        pending_images=standing.pending_images.limit,
        stored_bytes=_bytes(standing.stored_bytes.limit),
        csv_bytes=_bytes(standing.csv_bytes),
    )


def _bytes(count: int | None) -> ByteCount | None:
    return None if count is None else ByteCount(count)
