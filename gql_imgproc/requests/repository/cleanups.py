"""SQL of cleanups: when the stored objects of a request are compared with the rows that refer to them.

A worker that lost its lease may have stored an object that no row refers to. The plan outlives the request.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, case, delete, select, update

from gql_imgproc.database.tables import images, object_cleanups, renditions, requests
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.database.upsert import insert_or_update
from gql_imgproc.enums import ImageStatus
from gql_imgproc.requests.repository import work_queries
from gql_imgproc.storage.paths import (
    csv_name,
    image_id_from_legacy_key,
    input_key,
    legacy_image_key,
    legacy_object_name,
    output_key,
    rendition_id_from_key,
    report_key,
)

#: Delay after the end of a request, or after a lost lease, until its objects are compared with its rows. Objects that
#: were stored before are then past their grace time, and late workers have stopped.
CLEANUP_DELAY_SECONDS = 660.0


@dataclass(frozen=True, slots=True)
class DueCleanup:
    """A request that may have stored objects that no row refers to. It may have been deleted."""

    request_id: UUID
    #: When it was found to be due.
    seen_at: datetime


def list_due(connection: Connection, limit: int) -> list[DueCleanup]:
    """Requests whose objects must be compared with rows now."""
    statement = (
        select(object_cleanups.c.request_id, now().label("seen_at"))
        .where(object_cleanups.c.due_at <= now())
        .order_by(object_cleanups.c.due_at)
        .limit(limit)
    )
    return [DueCleanup(row.request_id, row.seen_at) for row in connection.execute(statement)]


def plan(connection: Connection, request_id: UUID) -> None:
    """Plans a cleanup. Call it after the request's row was changed: rows are locked in that order.

    A planned cleanup stays. One that is due may be running and have missed the object, so it is due again.
    """
    planned = case((object_cleanups.c.due_at <= now(), now()), else_=object_cleanups.c.due_at)
    _set(connection, request_id, {"due_at": planned})


def postpone(connection: Connection, request_id: UUID) -> None:
    """Plans a cleanup, or postpones the planned one: workers may still store objects of the request."""
    _set(connection, request_id, {"due_at": now_plus(CLEANUP_DELAY_SECONDS)})


def _set(connection: Connection, request_id: UUID, changed: dict[str, Any]) -> None:
    new = {"request_id": request_id, "due_at": now_plus(CLEANUP_DELAY_SECONDS)}
    connection.execute(insert_or_update(connection, object_cleanups, changed).values(new))


def end(connection: Connection, cleanup: DueCleanup, recheck_s: float | None) -> None:
    """Records a cleanup, unless another one was planned since. `recheck_s`: the delay of the next, if any."""
    same_plan = object_cleanups.c.request_id == cleanup.request_id, object_cleanups.c.due_at <= cleanup.seen_at
    if recheck_s is None:
        connection.execute(delete(object_cleanups).where(*same_plan))
    else:
        connection.execute(update(object_cleanups).where(*same_plan).values(due_at=now_plus(recheck_s)))


def filter_renditions(connection: Connection, keys: Collection[str]) -> set[str]:
    """Returns the keys that belong to renditions."""
    ids = {id: key for key in keys if (id := rendition_id_from_key(key)) is not None}
    return {ids[id] for id in connection.scalars(select(renditions.c.id).where(renditions.c.id.in_(ids)))}


def filter_storing(connection: Connection, request_ids: Collection[UUID]) -> set[UUID]:
    """Returns the requests that exist, or that stored a rendition that exists."""
    stored_by = select(renditions.c.stored_by).where(renditions.c.stored_by.in_(request_ids)).distinct()
    return set(connection.scalars(stored_by)) | work_queries.filter_existing(connection, request_ids)


def keys_of_request(connection: Connection, request_id: UUID) -> set[str] | None:
    """Keys of the CSVs of a request; None if it was deleted."""
    statement = select(requests.c.output_name).where(requests.c.id == request_id)
    if (row := connection.execute(statement).one_or_none()) is None:
        return None
    if not row.output_name:
        return {input_key(request_id)}
    outputs = {output_key(request_id, name) for name in (row.output_name, csv_name(row.output_name))}
    return {input_key(request_id), report_key(request_id, row.output_name), *outputs}


def filter_used(files: Collection[str], connection: Connection, keys: Collection[str]) -> set[str]:
    """Returns the used keys of a request: those in `files`, and those of images that earlier versions stored."""
    image_ids = {id for key in keys if (id := image_id_from_legacy_key(key)) is not None}
    stems = legacy_key_stems(connection, image_ids) if image_ids else ()
    return {key for key in keys if key in files or key.rpartition(".")[0] in stems}


def legacy_key_stems(connection: Connection, image_ids: Collection[UUID]) -> set[str]:
    """Object keys, without extension, that images without renditions have, or that an older worker may record.

    Also keys that repeats of them have: after a crash between two transactions, those name an earlier object.
    """
    own = select(images.c.id, images.c.request_id, images.c.status, images.c.object_name, images.c.lease_token)
    of_repeats = select(images.c.request_id, images.c.object_name).where(
        images.c.original_id.in_(image_ids), images.c.object_name.is_not(None)
    )
    names = {(row.request_id, row.object_name) for row in connection.execute(of_repeats.distinct())} | {
        (row.request_id, row.object_name or legacy_object_name(row.id, row.lease_token))
        for row in connection.execute(own.where(images.c.id.in_(image_ids)))
        if row.object_name or row.status is ImageStatus.PENDING
    }
    return {legacy_image_key(request_id, name).rpartition(".")[0] for request_id, name in names}
