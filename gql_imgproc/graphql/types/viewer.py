"""The caller, with the usage and quotas of its tenant."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.access.quotas import QuotaUsage
from gql_imgproc.graphql.types.scalars import ByteCount
from gql_imgproc.security.scopes import Caller, Scope


@strawberry.type(description="What a tenant uses now.")
class TenantUsage:
    open_requests: int = strawberry.field(description="Requests without a final status.")
    pending_images: int = strawberry.field(description="Images of those requests that are not finished.")
    open_rows: int = strawberry.field(description="Rows of those requests, as `totalProducts` counts them.")
    stored_bytes: ByteCount = strawberry.field(
        description="Bytes of the stored images and files: uploads, outputs and reports."
    )


@strawberry.type(description="Quotas of a tenant; null for no limit.")
class TenantQuotas:
    open_requests: int | None = strawberry.field(description="Requests without a final status.")
    pending_images: int | None = strawberry.field(description="Images of those requests that are not finished.")
    open_rows: int | None = strawberry.field(description="Rows of those requests, as `totalProducts` counts them.")
    stored_bytes: ByteCount | None = strawberry.field(
        description="Bytes of the stored images and files: uploads, outputs and reports."
    )
    csv_bytes: ByteCount | None = strawberry.field(
        description="Size of the largest CSV file; the limit of the server applies as well."
    )


@strawberry.type(description="The authenticated caller.")
class Viewer:
    name: str = strawberry.field(description="Name of the caller's API key; `anonymous` for a caller without one.")
    tenant: str = strawberry.field(description="Name of the caller's tenant.")
    scopes: list[Scope] = strawberry.field(description="Scopes of the caller.")
    expires_at: datetime | None = strawberry.field(
        description="When the caller's API key expires; null when it does not, or there is none."
    )
    usage: TenantUsage = strawberry.field(description="What the tenant uses now.")
    quotas: TenantQuotas | None = strawberry.field(
        description="Quotas of the tenant; null when none applies to the caller."
    )

    @classmethod
    def from_caller(cls, caller: Caller, tenant: str, usage: QuotaUsage, *, has_quotas: bool) -> Viewer:
        return cls(
            name=caller.name,
            tenant=tenant,
            scopes=[scope for scope in Scope if scope in caller.scopes],
            expires_at=caller.expires_at,
            usage=TenantUsage(
                open_requests=usage.open_requests.used,
                pending_images=usage.pending_images.used,
                open_rows=usage.open_rows.used,
                stored_bytes=ByteCount(usage.stored_bytes.used),
            ),
            quotas=_quotas(usage) if has_quotas else None,
        )


def _quotas(usage: QuotaUsage) -> TenantQuotas:
    return TenantQuotas(
        open_requests=usage.open_requests.limit,
        pending_images=usage.pending_images.limit,
        open_rows=usage.open_rows.limit,
        stored_bytes=_bytes(usage.stored_bytes.limit),
        csv_bytes=_bytes(usage.csv_bytes),
    )


def _bytes(count: int | None) -> ByteCount | None:
    return None if count is None else ByteCount(count)
