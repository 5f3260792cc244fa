"""SQL for deliveries to webhook endpoints: a transactional outbox with one row per event and endpoint that wants it."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, literal, null, select, update

from gql_imgproc.database.tables import endpoint_deliveries, webhook_endpoints
from gql_imgproc.database.types import UtcDateTime, now, seconds_since
from gql_imgproc.enums import EndpointDisabledReason, WebhookStatus
from gql_imgproc.ids import lowest_id, new_id
from gql_imgproc.requests.repository import webhook_outbox
from gql_imgproc.requests.repository.webhook_outbox import ClaimedDelivery
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.webhook_event import WebhookEvent

#: An endpoint is disabled when all its attempts failed for this long, in seconds.
MAX_FAILING_SECONDS = 5 * 86_400


_delivery, _endpoint = endpoint_deliveries.c, webhook_endpoints.c
_is_enabled = _endpoint.disabled_at.is_(None)


def insert_events(connection: Connection, events: Collection[tuple[Snapshot, WebhookEvent]]) -> None:
    """Makes events due now at each endpoint of their tenants that wants them. Call it in their transaction."""
    if not events:
        return
    of_tenants = _endpoint.tenant_id.in_({request.tenant_id for request, _ in events})
    columns = _endpoint.id, _endpoint.tenant_id, _endpoint.event_types
    endpoints = connection.execute(select(*columns).where(of_tenants, _is_enabled)).all()
    for request, event in events:
        for endpoint in endpoints:
            if endpoint.tenant_id == request.tenant_id and event.type in endpoint.event_types:
                insert_delivery(connection, new_id(), endpoint.id, event, request.id)


def insert_delivery(
    connection: Connection, delivery_id: UUID, endpoint_id: UUID, event: WebhookEvent, request_id: UUID | None
) -> None:
    """Makes the first attempt of an event due now at one endpoint."""
    connection.execute(
        insert(endpoint_deliveries).values(
            id=delivery_id,
            endpoint_id=endpoint_id,
            request_id=request_id,
            event_type=event.type,
            occurred_at=event.occurred_at,
            data=event.data,
            due_at=now(),
            attempts_log=[],
            created_at=now(),
            updated_at=now(),
        )
    )


def list_new(connection: Connection, request: Snapshot) -> list[UUID]:
    """The deliveries about a finished request that have not been attempted, also the one to the URL of its upload."""
    is_new = _delivery.request_id == request.id, _delivery.attempts == 0, _delivery.due_at.is_not(None)
    to_url = webhook_outbox.find_delivery(connection, request)
    return [*([to_url] if to_url else []), *connection.scalars(select(_delivery.id).where(*is_new))]


def claim_delivery(connection: Connection, delivery_id: UUID, lease_s: float) -> ClaimedDelivery | None:
    """Claims a due delivery; None when it is not due, or another process has claimed it.

    A delivery to an endpoint that was disabled meanwhile fails.
    """
    disabled = select(_endpoint.id).where(_endpoint.disabled_at.is_not(None))
    connection.execute(
        update(endpoint_deliveries)
        .where(_delivery.id == delivery_id, _delivery.due_at <= now(), _delivery.endpoint_id.in_(disabled))
        .values(status=WebhookStatus.FAILED, due_at=null(), updated_at=now())
    )
    leased = webhook_outbox.lease(connection, endpoint_deliveries, delivery_id, lease_s)
    if leased is None:
        return None
    columns = _delivery.event_type, _delivery.occurred_at, _delivery.data, _delivery.request_id, _delivery.endpoint_id
    row = connection.execute(
        select(*columns, _endpoint.url, _endpoint.tenant_id)
        .join(webhook_endpoints, _endpoint.id == _delivery.endpoint_id)
        .where(_delivery.id == delivery_id)
    ).one()
    event = WebhookEvent(row.event_type, row.occurred_at, row.data)
    return ClaimedDelivery(
        **leased,
        url=row.url,
        event=event,
        request_id=row.request_id,
        endpoint_id=row.endpoint_id,
        tenant_id=row.tenant_id,
    )


def delete_old(connection: Connection, age_s: float, limit: int) -> int:
    """Deletes deliveries without a planned attempt that are older. Returns their number."""
    # IDs sort by time, and have an index.
    old = select(_delivery.id).where(_delivery.id < lowest_id(time.time() - age_s), _delivery.due_at.is_(None))
    return connection.execute(delete(endpoint_deliveries).where(_delivery.id.in_(old.limit(limit)))).rowcount


def record_success(connection: Connection, endpoint_id: UUID) -> None:
    """Ends the time that an endpoint has been failing."""
    failing = _endpoint.id == endpoint_id, _endpoint.failing_since.is_not(None)
    connection.execute(update(webhook_endpoints).where(*failing).values(failing_since=null()))


def record_failure(
    connection: Connection, endpoint_id: UUID, failed_at: datetime, *, is_gone: bool
) -> EndpointDisabledReason | None:
    """Records that an endpoint failed, and disables it if it is gone or has been failing for too long.

    Returns the reason if this disabled it.
    """
    failing_s = connection.execute(
        update(webhook_endpoints)
        .where(_endpoint.id == endpoint_id, _is_enabled)
        .values(failing_since=func.coalesce(_endpoint.failing_since, literal(failed_at, UtcDateTime())))
        .returning(seconds_since(_endpoint.failing_since))
    ).scalar_one_or_none()
    if failing_s is None or not (is_gone or failing_s >= MAX_FAILING_SECONDS):
        return None
    reason = EndpointDisabledReason.GONE if is_gone else EndpointDisabledReason.FAILING
    values = {"disabled_at": now(), "disabled_reason": reason}
    connection.execute(update(webhook_endpoints).where(_endpoint.id == endpoint_id).values(**values))
    return reason
