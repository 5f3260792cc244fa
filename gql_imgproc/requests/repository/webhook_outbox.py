"""SQL for webhook deliveries to the URLs of uploads: a transactional outbox with one row per (request, generation) that
finished. `endpoint_outbox` does the same for endpoints, with the functions here that lease a row and record an attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, Table, and_, bindparam, exists, not_, null, select, update
from sqlalchemy import insert as insert_into

from gql_imgproc.database.tables import endpoint_deliveries, requests, webhook_deliveries
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import WebhookStatus
from gql_imgproc.errors import NoWebhook, RequestNotFound
from gql_imgproc.ids import new_id
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.webhook_event import WebhookEvent, final_event

#: Attempts in the log; the contract promises the last 20.
MAX_LOGGED_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt and its result; it succeeded when `error` is None."""

    at: datetime
    http_status: int | None
    error: str | None
    duration_ms: int


#: Converts the column `attempts_log`.
ATTEMPTS = TypeAdapter(tuple[DeliveryAttempt, ...])


@dataclass(frozen=True, slots=True)
class Delivery:
    """State of a delivery, for the API."""

    status: WebhookStatus
    attempts: int
    last_http_status: int | None
    #: When the next attempt is due, or the lease of the current one expires; None when final.
    due_at: datetime | None
    log: tuple[DeliveryAttempt, ...]

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        log = ATTEMPTS.validate_python(row.attempts_log)
        return cls(row.status, row.attempts, row.last_http_status, row.due_at, log)


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery leased to this process for one attempt."""

    delivery_id: UUID
    lease_token: int
    #: 1 for the first attempt.
    attempt: int
    #: When the attempt started, by the database's clock.
    at: datetime
    log: tuple[DeliveryAttempt, ...]
    url: str
    event: WebhookEvent
    tenant_id: UUID
    #: None for a test.
    request_id: UUID | None
    #: None for a delivery to the URL of an upload.
    endpoint_id: UUID | None = None

    @property
    def secret_owner(self) -> UUID:
        """The owner of the secrets that sign it."""
        return self.endpoint_id or self.tenant_id


_delivery = webhook_deliveries.c
_this = _delivery.id == bindparam("delivery_id")
_is_due = and_(_this, _delivery.due_at <= now())

# Only while the request is still in the generation that the delivery reports.
_REQUEST = (
    select(*SNAPSHOT_COLUMNS)
    .join(
        webhook_deliveries,
        and_(_delivery.request_id == requests.c.id, _delivery.generation == requests.c.generation),
    )
    .where(_is_due)
)

# Checked again here: the delivery may have become due between the two statements.
_is_superseded = ~exists().where(requests.c.id == _delivery.request_id, requests.c.generation == _delivery.generation)
_SUPERSEDE = (
    update(webhook_deliveries)
    .where(_is_due, _is_superseded)
    .values(status=WebhookStatus.FAILED, due_at=null(), updated_at=now())
)

_SET_TRIGGERED = (
    update(requests)
    .where(
        _this,
        requests.c.id == _delivery.request_id,
        requests.c.generation == _delivery.generation,
        not_(requests.c.webhook_triggered),
    )
    .values(webhook_triggered=True, sequence=requests.c.sequence + 1, updated_at=now())
)


def insert(connection: Connection, request_id: UUID, generation: int) -> UUID:
    """Makes the first attempt due now. Call it in the transaction that finishes the request."""
    delivery_id = new_id()
    connection.execute(
        insert_into(webhook_deliveries).values(
            id=delivery_id,
            request_id=request_id,
            generation=generation,
            due_at=now(),
            attempts_log=[],
            created_at=now(),
            updated_at=now(),
        )
    )
    return delivery_id


def find_delivery(connection: Connection, request: Snapshot) -> UUID | None:
    """The delivery of this generation of a request."""
    of_generation = _delivery.request_id == request.id, _delivery.generation == request.generation
    return connection.execute(select(_delivery.id).where(*of_generation)).scalar_one_or_none()


def list_due(connection: Connection, limit: int) -> list[UUID]:
    """Deliveries whose attempt is due or whose lease expired, longest due first; also those to endpoints."""
    due: list[Row[*tuple[Any, ...]]] = []
    for table in (webhook_deliveries, endpoint_deliveries):
        statement = select(table.c.id, table.c.due_at).where(table.c.due_at <= now()).order_by(table.c.due_at)
        due += connection.execute(statement.limit(limit)).all()
    return [row.id for row in sorted(due, key=lambda row: row.due_at)[:limit]]


def lease(connection: Connection, table: Table, delivery_id: UUID, lease_s: float) -> dict[str, Any] | None:
    """Leases a due row of a table of deliveries. Returns values for ClaimedDelivery; None if it is not due."""
    # An attempt is counted before it is made, so that one without a result counts too.
    row = connection.execute(
        update(table)
        .where(table.c.id == delivery_id, table.c.due_at <= now())
        .values(
            due_at=now_plus(lease_s),
            lease_token=table.c.lease_token + 1,
            attempts=table.c.attempts + 1,
            updated_at=now(),
        )
        .returning(table.c.lease_token, table.c.attempts, table.c.attempts_log, table.c.updated_at)
    ).one_or_none()
    if row is None:
        return None
    return {
        "delivery_id": delivery_id,
        "lease_token": row.lease_token,
        "attempt": row.attempts,
        "at": row.updated_at,
        "log": ATTEMPTS.validate_python(row.attempts_log),
    }


def claim_delivery(connection: Connection, delivery_id: UUID, lease_s: float) -> ClaimedDelivery | None:
    """Claims a due delivery; None when it is not due, or another process has claimed it.

    A delivery whose request was retried meanwhile fails: the request's next end has its own delivery.
    """
    request = connection.execute(_REQUEST, {"delivery_id": delivery_id}).one_or_none()
    if request is None:
        connection.execute(_SUPERSEDE, {"delivery_id": delivery_id})
        return None
    leased = lease(connection, webhook_deliveries, delivery_id, lease_s)
    if leased is None:
        return None
    event = final_event(to_snapshot(request))
    return ClaimedDelivery(
        **leased, url=request.webhook_url, event=event, tenant_id=request.tenant_id, request_id=request.id
    )


def record_attempt(
    connection: Connection, claim: ClaimedDelivery, attempt: DeliveryAttempt, retry_delay_s: float | None
) -> bool:
    """Records an attempt, and plans the next one after `retry_delay_s`; None plans no further attempt.

    False when the lease expired and another process claimed the delivery: then only its attempt counts.
    """
    table = endpoint_deliveries if claim.endpoint_id else webhook_deliveries
    log = (*claim.log, attempt)
    delay_s = None if attempt.error is None else retry_delay_s
    if attempt.error is None:
        status = WebhookStatus.DELIVERED
    else:
        status = WebhookStatus.FAILED if delay_s is None else WebhookStatus.RETRYING
    recorded = connection.execute(
        update(table)
        .where(table.c.id == claim.delivery_id, table.c.lease_token == claim.lease_token)
        .values(
            status=status,
            last_http_status=attempt.http_status,
            due_at=null() if delay_s is None else now_plus(delay_s),
            attempts_log=ATTEMPTS.dump_python(log[-MAX_LOGGED_ATTEMPTS:], mode="json"),
            updated_at=now(),
        )
    )
    if recorded.rowcount and attempt.error is None and claim.endpoint_id is None:
        connection.execute(_SET_TRIGGERED, {"delivery_id": claim.delivery_id})
    return recorded.rowcount == 1


def reset_for_resend(connection: Connection, tenant_id: UUID, request_id: UUID) -> tuple[UUID, Snapshot]:
    """Makes the delivery of a request's current generation due now; the log of earlier attempts stays.

    Raises RequestNotFound, or NoWebhook when the request has no webhook URL or is open.
    """
    # Locked, so that only one of two calls inserts a missing delivery.
    row = connection.execute(
        select(*SNAPSHOT_COLUMNS).where(*request_of_tenant(tenant_id, request_id)).with_for_update()
    ).one_or_none()
    if row is None:
        raise RequestNotFound
    request = to_snapshot(row)
    if request.webhook_url is None or not request.status.is_terminal:
        raise NoWebhook
    existing = connection.execute(
        update(webhook_deliveries)
        .where(_delivery.request_id == request_id, _delivery.generation == request.generation)
        .values(status=WebhookStatus.PENDING, due_at=now(), updated_at=now())
        .returning(_delivery.id)
    ).scalar_one_or_none()
    return existing or insert(connection, request_id, request.generation), request
