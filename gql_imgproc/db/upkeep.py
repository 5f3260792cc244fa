"""Statements of the sweep: what is open, what of it could be done, what was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select

from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db.columns import now, seconds_since
from gql_imgproc.db.models import OPEN, is_open, products, requests
from gql_imgproc.db.rows import SNAPSHOT_COLUMNS, snapshot
from gql_imgproc.states import Priority


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An open request as the sweep sees it."""

    request: Snapshot
    #: Whether nobody holds its ingestion or its finishing.
    free: bool
    #: Since it was made, or its failed images were retried.
    age_s: float


def open_requests(connection: Connection, after: UUID | None, limit: int) -> list[OpenRequest]:
    """Open requests in the order of their identifiers, a page of them."""
    statement = (
        select(
            *SNAPSHOT_COLUMNS,
            (requests.c.due_at <= now()).label("free"),
            seconds_since(func.coalesce(requests.c.reopened_at, requests.c.created_at)).label("age_s"),
        )
        .where(is_open)
        .order_by(requests.c.id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(requests.c.id > after)
    return [OpenRequest(snapshot(row), bool(row.free), row.age_s) for row in connection.execute(statement)]


def claimable(connection: Connection, request_id: UUID, limit: int) -> int:
    """How many products of a request could be claimed now, `limit` at the most."""
    due = (
        select(products.c.id)
        .where(products.c.request_id == request_id, products.c.due_at <= now())
        .limit(limit)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(due)).scalar_one()


def open_beside(connection: Connection, request_id: UUID) -> int:
    """How many requests of a request's tenant are open."""
    tenant = select(requests.c.tenant_id).where(requests.c.id == request_id).scalar_subquery()
    siblings = requests.alias("siblings")
    open_ones = siblings.c.tenant_id == tenant, siblings.c.status.in_(OPEN)
    return connection.execute(select(func.count()).select_from(siblings).where(*open_ones)).scalar_one()


def open_of(connection: Connection, tenant_id: UUID, limit: int) -> list[tuple[UUID, Priority]]:
    """Open requests of a tenant, the oldest first, `limit` of them at the most."""
    which = select(requests.c.id, requests.c.priority).where(requests.c.tenant_id == tenant_id, is_open)
    return [(row.id, row.priority) for row in connection.execute(which.order_by(requests.c.id).limit(limit))]
