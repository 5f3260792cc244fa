"""Statements on webhook deliveries: one row for each end that a request came to and that is told to somebody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import Connection, Float, and_, bindparam, exists, not_, null, select, update
from sqlalchemy import insert as insert_into

from gql_imgproc.database.tables import requests, webhook_deliveries
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import WebhookStatus
from gql_imgproc.errors import NoWebhook, RequestNotFound
from gql_imgproc.ids import new_id
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot

#: Attempts that are remembered; the contract promises the last 20.
LOG_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try and what came of it; it succeeded when there is no `error`."""

    at: datetime
    http_status: int | None
    error: str | None
    duration_ms: int

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "http_status": self.http_status,
            "error": self.error,
            "duration_ms": self.duration_ms,
        }

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        """From an entry of the column `log`."""
        return cls(datetime.fromisoformat(entry["at"]), entry["http_status"], entry["error"], entry["duration_ms"])


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """The right to try a delivery once, until the lease runs out."""

    delivery_id: UUID
    lease_token: int
    #: 1 for the first try.
    attempt: int
    #: When the try began, by the database's clock.
    at: datetime
    url: str
    request: Snapshot
    log: Sequence[dict[str, Any]]


_delivery = webhook_deliveries.c
_this = _delivery.id == bindparam("delivery_id")
_is_due = and_(_this, _delivery.due_at <= now())

_DUE = select(_delivery.id).where(_delivery.due_at <= now()).order_by(_delivery.due_at).limit(bindparam("at_most"))

# Only while the request still is at the end that the delivery tells.
_REQUEST = (
    select(*SNAPSHOT_COLUMNS)
    .join(
        webhook_deliveries,
        and_(_delivery.request_id == requests.c.id, _delivery.generation == requests.c.generation),
    )
    .where(_is_due)
)

# The try is counted before it is made, so that one that never comes back is counted too.
_CLAIM = (
    update(webhook_deliveries)
    .where(_is_due)
    .values(
        due_at=now_plus(bindparam("lease_s", type_=Float)),
        lease_token=_delivery.lease_token + 1,
        attempts=_delivery.attempts + 1,
        updated_at=now(),
    )
    .returning(_delivery.lease_token, _delivery.attempts, _delivery.attempts_log, _delivery.updated_at)
)

# Asked again here: between the two statements the delivery may have become due.
_is_superseded = ~exists().where(requests.c.id == _delivery.request_id, requests.c.generation == _delivery.generation)
_SUPERSEDE = (
    update(webhook_deliveries)
    .where(_is_due, _is_superseded)
    .values(status=WebhookStatus.FAILED, due_at=null(), updated_at=now())
)

_TRIGGERED = (
    update(requests)
    .where(
        requests.c.id == bindparam("request"),
        requests.c.generation == bindparam("run"),
        not_(requests.c.webhook_triggered),
    )
    .values(webhook_triggered=True, sequence=requests.c.sequence + 1, updated_at=now())
)


def insert(connection: Connection, request_id: UUID, generation: int) -> UUID:
    """Plans the first try for now; to be called in the transaction that ends the request."""
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


def list_due(connection: Connection, limit: int) -> list[UUID]:
    """Deliveries whose try is due or whose sender did not come back, the longest waiting first."""
    return list(connection.scalars(_DUE, {"at_most": limit}))


def claim_delivery(connection: Connection, delivery_id: UUID, lease_s: float) -> ClaimedDelivery | None:
    """Takes a delivery that is due; None when it is not, or when somebody else has it.

    A delivery whose request was opened again meanwhile is given up: the request's next end has its own.
    """
    request = connection.execute(_REQUEST, {"delivery_id": delivery_id}).one_or_none()
    if request is None:
        connection.execute(_SUPERSEDE, {"delivery_id": delivery_id})
        return None
    row = connection.execute(_CLAIM, {"delivery_id": delivery_id, "lease_s": lease_s}).one_or_none()
    if row is None:
        return None
    return ClaimedDelivery(
        delivery_id=delivery_id,
        lease_token=row.lease_token,
        attempt=row.attempts,
        at=row.updated_at,
        url=request.webhook_url,
        request=to_snapshot(request),
        log=row.attempts_log,
    )


def record(connection: Connection, claim: ClaimedDelivery, attempt: Attempt, next_delay_s: float | None) -> bool:
    """Writes down what came of a try, and when the next one is due; None means never.

    False when the lease ran out and somebody else took the delivery: then theirs counts.
    """
    delivered = attempt.error is None
    planned = None if delivered else next_delay_s
    if delivered:
        status = WebhookStatus.DELIVERED
    else:
        status = WebhookStatus.FAILED if planned is None else WebhookStatus.RETRYING
    recorded = connection.execute(
        update(webhook_deliveries)
        .where(_delivery.id == claim.delivery_id, _delivery.lease_token == claim.lease_token)
        .values(
            status=status,
            last_http_status=attempt.http_status,
            due_at=null() if planned is None else now_plus(planned),
            attempts_log=[*claim.log, attempt.to_json()][-LOG_LENGTH:],
            updated_at=now(),
        )
    ).rowcount
    if recorded and delivered:
        connection.execute(_TRIGGERED, {"request": claim.request.id, "run": claim.request.generation})
    return bool(recorded)


def reset_for_resend(connection: Connection, tenant_id: UUID, request_id: UUID) -> tuple[UUID, Snapshot]:
    """Makes the delivery of a request's last end due now; what is known of earlier tries is kept.

    Raises RequestNotFound, or NoWebhook when no address was given or the request is open.
    """
    # Locked, so that of two calls only one finds no row and makes it.
    row = connection.execute(
        select(*SNAPSHOT_COLUMNS).where(*request_of_tenant(tenant_id, request_id)).with_for_update()
    ).one_or_none()
    if row is None:
        raise RequestNotFound
    request = to_snapshot(row)
    if request.webhook_url is None or not request.status.is_terminal:
        raise NoWebhook
    again = connection.execute(
        update(webhook_deliveries)
        .where(_delivery.request_id == request_id, _delivery.generation == request.generation)
        .values(status=WebhookStatus.PENDING, due_at=now(), updated_at=now())
        .returning(_delivery.id)
    ).scalar_one_or_none()
    return again or insert(connection, request_id, request.generation), request
