"""Reads for workers and periodic tasks: which requests need something done, and how much. They span all tenants."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select

from gql_imgproc.database.tables import images, is_not_done, requests
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.enums import ImageStatus, RequestPhase
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import image_key, object_name


@dataclass(frozen=True, slots=True)
class UnfinishedRequest:
    """A request that is not DONE, for reconcile."""

    request: Snapshot
    #: Whether no process holds its lease.
    is_lease_free: bool
    #: Time since it was created, or last retried.
    age_s: float


def list_unfinished(connection: Connection, after: UUID | None, limit: int) -> list[UnfinishedRequest]:
    """Requests that are not DONE after an ID, in the order of their IDs."""
    statement = (
        select(
            *SNAPSHOT_COLUMNS,
            (requests.c.lease_until <= now()).label("is_lease_free"),
            seconds_since(func.coalesce(requests.c.retried_at, requests.c.created_at)).label("age_s"),
        )
        .where(is_not_done)
        .order_by(requests.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(requests.c.id > after)
    return [
        UnfinishedRequest(to_snapshot(row), bool(row.is_lease_free), row.age_s) for row in connection.execute(statement)
    ]


def list_expired(connection: Connection, retention_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and ID of requests that finished at least `retention_s` ago, oldest first."""
    statement = (
        select(requests.c.tenant_id, requests.c.id)
        .where(requests.c.completed_at <= now_plus(-retention_s), requests.c.phase == RequestPhase.DONE)
        .order_by(requests.c.completed_at)
        .limit(limit)
    )
    return [(row.tenant_id, row.id) for row in connection.execute(statement)]


def filter_existing(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    return set(connection.scalars(select(requests.c.id).where(requests.c.id.in_(request_ids))))


@dataclass(frozen=True, slots=True)
class DueCleanup:
    """A request that may have stored objects that no row refers to."""

    tenant_id: UUID
    request_id: UUID
    #: When it was found to be due.
    seen_at: datetime


def list_due_cleanups(connection: Connection, limit: int) -> list[DueCleanup]:
    """Requests whose objects must be compared with their rows now."""
    statement = (
        select(requests.c.tenant_id, requests.c.id, now().label("seen_at"))
        .where(requests.c.cleanup_at <= now())
        .order_by(requests.c.cleanup_at)
        .limit(limit)
    )
    return [DueCleanup(row.tenant_id, row.id, row.seen_at) for row in connection.execute(statement)]


def image_key_stems(connection: Connection, image_ids: Collection[UUID]) -> set[str]:
    """Object keys, without extension, that these images have, or that a worker with the current lease may record."""
    statement = select(
        images.c.id, images.c.request_id, images.c.status, images.c.object_name, images.c.lease_token
    ).where(images.c.id.in_(image_ids))
    return {
        image_key(row.request_id, row.object_name or object_name(row.id, row.lease_token, "")).rpartition(".")[0]
        for row in connection.execute(statement)
        if row.object_name or row.status is ImageStatus.PENDING
    }
