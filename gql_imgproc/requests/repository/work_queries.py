"""Reads for workers and periodic tasks: which requests need something done, and how much. They span all tenants."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, func, select

from gql_imgproc.database.tables import has_step, is_claiming, is_not_done, requests
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import RequestPhase


def list_waiting(connection: Connection, after: UUID | None, limit: int) -> list[UUID]:
    """Requests with a next step that no process does, in the order of their IDs after one."""
    statement = select(requests.c.id).where(has_step, requests.c.lease_until <= now())
    if after is not None:
        statement = statement.where(requests.c.id > after)
    return list(connection.scalars(statement.order_by(requests.c.id).limit(limit)))


def list_overdue(connection: Connection, deadline_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and ID of requests that process images, and were created or last retried at least `deadline_s` ago."""
    started_at = func.coalesce(requests.c.retried_at, requests.c.created_at)
    statement = (
        select(requests.c.tenant_id, requests.c.id)
        .where(is_not_done, is_claiming, started_at <= now_plus(-deadline_s))
        .limit(limit)
    )
    return [(row.tenant_id, row.id) for row in connection.execute(statement)]


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
