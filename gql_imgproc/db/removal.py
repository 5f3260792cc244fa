"""Statements that remove a request, and those that tell which may be removed."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Connection, delete, select, update

from gql_imgproc.core.locations import image_key
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import quotas
from gql_imgproc.db.columns import later, now
from gql_imgproc.db.models import images, is_open, products, requests
from gql_imgproc.db.rows import own

#: Products that are removed in one transaction, with their images.
REMOVAL_CHUNK = 500


def delete_final(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Begins to remove a final request with its products, images and deliveries; False when it is open or not there.

    A small one is gone at once. What is left of a larger one is `remove_chunk`'s, now or after whatever happens.
    """
    begun = connection.execute(
        update(requests).where(*own(tenant_id, request_id), ~is_open).values(removing_at=now(), retry_at=None)
    ).rowcount
    if begun:
        remove_chunk(connection, tenant_id, request_id)
    return begun == 1


def remove_chunk(connection: Connection, tenant_id: UUID, request_id: UUID) -> bool:
    """Removes some products of a request that is being removed, and itself with the last; whether any are left."""
    some = select(products.c.id).where(products.c.request_id == request_id, products.c.tenant_id == tenant_id)
    ids = connection.scalars(some.limit(REMOVAL_CHUNK)).all()
    connection.execute(delete(products).where(products.c.id.in_(ids)))
    if len(ids) == REMOVAL_CHUNK:
        return True
    freed = connection.execute(
        delete(requests)
        .where(*own(tenant_id, request_id), requests.c.removing_at.is_not(None))
        .returning(requests.c.output_bytes)
    ).scalar_one_or_none()
    if freed is not None:
        quotas.count_stored(connection, tenant_id, -freed)
    return False


def begun(connection: Connection, quiet_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of requests whose removal began longer ago than that: nobody may be at it any more."""
    statement = select(requests.c.tenant_id, requests.c.id).where(requests.c.removing_at <= later(-quiet_s))
    return [(row.tenant_id, row.id) for row in connection.execute(statement.limit(limit))]


def expired(connection: Connection, retention_s: float, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of final requests that ended longer ago than that, the oldest first."""
    statement = (
        select(requests.c.tenant_id, requests.c.id)
        .where(requests.c.completed_at <= later(-retention_s), ~is_open)
        .order_by(requests.c.completed_at)
        .limit(limit)
    )
    return [(row.tenant_id, row.id) for row in connection.execute(statement)]


def known(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Those of the requests that there are."""
    return set(connection.scalars(select(requests.c.id).where(requests.c.id.in_(request_ids))))


def untidy(connection: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Tenant and identifier of final requests that ended a while ago and may have objects that no row names."""
    which = select(requests.c.tenant_id, requests.c.id).where(requests.c.tidy_at <= now())
    return [(row.tenant_id, row.id) for row in connection.execute(which.order_by(requests.c.tidy_at).limit(limit))]


def tidied(connection: Connection, seen: Snapshot) -> None:
    """Says that it was looked after, unless it has been opened again since it was `seen`."""
    same = requests.c.id == seen.id, requests.c.generation == seen.generation
    connection.execute(update(requests).where(*same, ~is_open).values(tidy_at=None))


def image_keys(connection: Connection, image_ids: Collection[UUID]) -> set[str]:
    """Keys of the objects that these images name."""
    statement = select(images.c.request_id, images.c.object_name).where(
        images.c.id.in_(image_ids), images.c.object_name.is_not(None)
    )
    return {image_key(row.request_id, row.object_name) for row in connection.execute(statement)}
