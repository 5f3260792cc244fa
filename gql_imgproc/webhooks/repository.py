"""SQL for webhook endpoints and for the secrets that sign webhooks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, null, or_, select, update

from gql_imgproc.database.pagination import Page, PageWindow, page_by_id
from gql_imgproc.database.tables import endpoint_deliveries, tenants, webhook_endpoints, webhook_secrets
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import EndpointDisabledReason, WebhookEventType
from gql_imgproc.requests.repository.webhook_outbox import Delivery


@dataclass(frozen=True, slots=True)
class WebhookEndpoint:
    """A receiver of a tenant's events."""

    id: UUID
    tenant_id: UUID
    url: str
    event_types: frozenset[WebhookEventType]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: EndpointDisabledReason | None


@dataclass(frozen=True, slots=True)
class EndpointDelivery:
    """A delivery of an event to an endpoint, for the API."""

    id: UUID
    #: None for a test.
    request_id: UUID | None
    event_type: WebhookEventType
    occurred_at: datetime
    state: Delivery


@dataclass(frozen=True, slots=True)
class EncryptedSecret:
    ciphertext: str
    #: Whether the secret in the settings still signs as well.
    is_with_service_secret: bool


_endpoint, _secret, _delivery = webhook_endpoints.c, webhook_secrets.c, endpoint_deliveries.c
_COLUMNS = tuple(_endpoint[name] for name in WebhookEndpoint.__slots__)
_COUNT = select(func.count()).select_from(webhook_endpoints)
_DELIVERY_COLUMNS = (
    *(_delivery[name] for name in EndpointDelivery.__slots__ if name != "state"),
    *(_delivery[name] for name in ("status", "attempts", "last_http_status", "due_at", "attempts_log")),
)


def lock_tenant(connection: Connection, tenant_id: UUID) -> None:
    """Lets one transaction at a time change the endpoints and secrets of a tenant."""
    connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id).with_for_update())


def insert_endpoint(
    connection: Connection, endpoint_id: UUID, tenant_id: UUID, url: str, event_types: Collection[WebhookEventType]
) -> None:
    connection.execute(
        insert(webhook_endpoints).values(
            id=endpoint_id, tenant_id=tenant_id, url=url, event_types=sorted(event_types), created_at=now()
        )
    )


def get_endpoint(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> WebhookEndpoint | None:
    row = connection.execute(select(*_COLUMNS).where(*_of_tenant(tenant_id, endpoint_id))).one_or_none()
    return None if row is None else _to_endpoint(row)


def endpoints_page(connection: Connection, tenant_id: UUID, window: PageWindow) -> Page[WebhookEndpoint]:
    """Endpoints of the tenant, newest first; cursor keys are (ID,)."""
    statement = select(*_COLUMNS).where(_endpoint.tenant_id == tenant_id)
    return page_by_id(connection, statement, _endpoint.id, window, _to_endpoint)


def count_endpoints(connection: Connection, tenant_id: UUID) -> int:
    return connection.execute(_COUNT.where(_endpoint.tenant_id == tenant_id)).scalar_one()


def count_enabled(connection: Connection, tenant_id: UUID) -> int:
    enabled = _endpoint.tenant_id == tenant_id, _endpoint.disabled_at.is_(None)
    return connection.execute(_COUNT.where(*enabled)).scalar_one()


def disable(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> bool:
    """False when the endpoint is already disabled, or the tenant has no such endpoint."""
    enabled = *_of_tenant(tenant_id, endpoint_id), _endpoint.disabled_at.is_(None)
    values = {"disabled_at": now(), "disabled_reason": EndpointDisabledReason.CALLER}
    return connection.execute(update(webhook_endpoints).where(*enabled).values(**values)).rowcount == 1


def enable(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> bool:
    """False when the endpoint is already enabled, or the tenant has no such endpoint."""
    disabled = *_of_tenant(tenant_id, endpoint_id), _endpoint.disabled_at.is_not(None)
    values = {"disabled_at": null(), "disabled_reason": null(), "failing_since": null()}
    return connection.execute(update(webhook_endpoints).where(*disabled).values(**values)).rowcount == 1


def deliveries_page(
    connection: Connection, tenant_id: UUID, window: PageWindow, endpoint_id: UUID
) -> Page[EndpointDelivery]:
    """Deliveries to an endpoint of the tenant, newest first; cursor keys are (ID,)."""
    statement = select(*_DELIVERY_COLUMNS).where(*_deliveries_of(tenant_id, endpoint_id))
    return page_by_id(connection, statement, _delivery.id, window, _to_delivery)


def count_deliveries(connection: Connection, tenant_id: UUID, endpoint_id: UUID) -> int:
    statement = select(func.count()).select_from(endpoint_deliveries)
    return connection.execute(statement.where(*_deliveries_of(tenant_id, endpoint_id))).scalar_one()


def get_delivery(connection: Connection, tenant_id: UUID, delivery_id: UUID) -> EndpointDelivery | None:
    own = select(_endpoint.id).where(_endpoint.id == _delivery.endpoint_id, _endpoint.tenant_id == tenant_id)
    statement = select(*_DELIVERY_COLUMNS).where(_delivery.id == delivery_id, own.exists())
    row = connection.execute(statement).one_or_none()
    return None if row is None else _to_delivery(row)


def has_secret(connection: Connection, secret_id: UUID) -> bool:
    return connection.execute(select(_secret.id).where(_secret.id == secret_id)).first() is not None


def insert_secret(
    connection: Connection, secret_id: UUID, owner_id: UUID, ciphertext: str, service_secret_s: float | None = None
) -> None:
    connection.execute(
        insert(webhook_secrets).values(
            id=secret_id,
            owner_id=owner_id,
            ciphertext=ciphertext,
            created_at=now(),
            service_secret_until=null() if service_secret_s is None else now_plus(service_secret_s),
        )
    )


def expire_secrets(connection: Connection, owner_id: UUID, overlap_s: float) -> bool:
    """Lets the newest secret of an owner expire after the overlap, and deletes those before it.

    False when the owner has no secret.
    """
    of_owner = _secret.owner_id == owner_id
    newest = connection.scalars(select(_secret.id).where(of_owner).order_by(_secret.id.desc()).limit(1)).first()
    if newest is None:
        return False
    connection.execute(delete(webhook_secrets).where(of_owner, _secret.id != newest))
    connection.execute(update(webhook_secrets).where(_secret.id == newest).values(expires_at=now_plus(overlap_s)))
    return True


def list_secrets(connection: Connection, owner_id: UUID) -> list[EncryptedSecret]:
    """The secrets of an owner that have not expired, newest first."""
    is_with_service = func.coalesce(_secret.service_secret_until > now(), False).label("is_with_service")
    valid = _secret.owner_id == owner_id, or_(_secret.expires_at.is_(None), _secret.expires_at > now())
    rows = connection.execute(select(_secret.ciphertext, is_with_service).where(*valid).order_by(_secret.id.desc()))
    return [EncryptedSecret(row.ciphertext, bool(row.is_with_service)) for row in rows]


def _of_tenant(tenant_id: UUID, endpoint_id: UUID) -> tuple[ColumnElement[bool], ...]:
    return _endpoint.id == endpoint_id, _endpoint.tenant_id == tenant_id


def _deliveries_of(tenant_id: UUID, endpoint_id: UUID) -> tuple[ColumnElement[bool], ...]:
    own = select(_endpoint.id).where(*_of_tenant(tenant_id, endpoint_id))
    return _delivery.endpoint_id == endpoint_id, own.exists()


def _to_endpoint(row: Row[Any]) -> WebhookEndpoint:
    types = frozenset(WebhookEventType(name) for name in row.event_types)
    return WebhookEndpoint(**{**row._mapping, "event_types": types})


def _to_delivery(row: Row[Any]) -> EndpointDelivery:
    return EndpointDelivery(row.id, row.request_id, row.event_type, row.occurred_at, Delivery.from_row(row))
