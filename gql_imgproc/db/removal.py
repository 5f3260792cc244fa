"""Statements that remove a request, and those that tell which may be removed."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, delete, select

from gql_imgproc.db.columns import seconds_since
from gql_imgproc.db.models import images, is_open, requests


def delete_final(connection: Connection, request_id: UUID) -> bool:
    """Removes a final request with its products, images and deliveries; False when it is open or not there."""
    return connection.execute(delete(requests).where(requests.c.id == request_id, ~is_open)).rowcount == 1


def expired(connection: Connection, retention_s: float, limit: int) -> list[UUID]:
    """Final requests that ended longer ago than that, the oldest first."""
    statement = (
        select(requests.c.id)
        .where(seconds_since(requests.c.completed_at) > retention_s, ~is_open)
        .order_by(requests.c.completed_at)
        .limit(limit)
    )
    return list(connection.scalars(statement))


def known(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Those of the requests that there are."""
    return set(connection.scalars(select(requests.c.id).where(requests.c.id.in_(request_ids))))


def object_names(connection: Connection, request_id: UUID) -> set[str]:
    """Names of the pictures that rows of a request name."""
    statement = select(images.c.object_name).where(images.c.request_id == request_id, images.c.object_name.is_not(None))
    return {name for name in connection.scalars(statement) if name}
