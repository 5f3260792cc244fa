"""SQL of sources and renditions: the last known bytes at a URL, and the objects that were stored for such bytes.

Any number of images of a tenant refer to a rendition. A transaction that lets an image refer to it locks its row, and
so does the one that ends its use: either that one sees the image, or this one finds the rendition ended. Then the image
is processed again. A rendition is checked after images were deleted; no count of its images has to be kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Float, Row, bindparam, delete, exists, null, select, update

from gql_imgproc.access import quotas
from gql_imgproc.database.tables import image_outputs, images, renditions, sources
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.database.upsert import insert_if_absent, insert_or_update
from gql_imgproc.enums import ImageOutcome
from gql_imgproc.net.validators import Validators

#: Delay after images were deleted until renditions that no other image refers to are deleted, in seconds.
GRACE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Rendition:
    """A stored object; the fields are columns of `renditions`."""

    id: UUID
    content_id: UUID
    fingerprint: UUID | None
    stored_by: UUID
    object_name: str
    outcome: ImageOutcome
    input_bytes: int
    output_bytes: int
    sha256: str
    format: str
    width: int
    height: int
    similarity: float | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """The bytes at a URL and their validators, as of the last download."""

    id: UUID
    content_id: UUID
    validators: Validators


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source whose bytes have a rendition for each of the wanted outputs."""

    source: Source
    renditions: tuple[Rendition, ...]


_COLUMNS = tuple(renditions.c[name] for name in Rendition.__slots__)


def source_id(tenant_id: UUID, url: str) -> UUID:
    return _digest(tenant_id.bytes, url.encode())


def content_id(tenant_id: UUID, data: bytes) -> UUID:
    """Identifies equal bytes of one tenant. Another tenant's equal bytes have another ID, so nothing is shared."""
    return _digest(tenant_id.bytes, hashlib.sha256(data).digest())


def _digest(*parts: bytes) -> UUID:
    return UUID(bytes=hashlib.sha256(b"\0".join(parts)).digest()[:16])


_KNOWN = (
    select(sources.c.id.label("source_id"), sources.c.etag, sources.c.last_modified, *_COLUMNS)
    .join(renditions, renditions.c.content_id == sources.c.content_id)
    .where(
        sources.c.id.in_(bindparam("sources", expanding=True)),
        renditions.c.fingerprint.in_(bindparam("fingerprints", expanding=True)),
    )
)


#: A source, and the fingerprint of each wanted output.
_WantedSource = tuple[UUID, tuple[UUID, ...]]


def find_known(connection: Connection, wanted: Collection[_WantedSource]) -> dict[_WantedSource, KnownSource]:
    """The sources that have a rendition for each output."""
    if not wanted:
        return {}
    fingerprints = {fingerprint for _, each in wanted for fingerprint in each}
    rows = connection.execute(_KNOWN, {"sources": list({id for id, _ in wanted}), "fingerprints": list(fingerprints)})
    sources_found: dict[UUID, Source] = {}
    found: dict[tuple[UUID, UUID], Rendition] = {}
    for row in rows:
        sources_found[row.source_id] = Source(row.source_id, row.content_id, Validators(row.etag, row.last_modified))
        found[row.source_id, row.fingerprint] = _to_rendition(row)
    return {
        (id, each): KnownSource(sources_found[id], tuple(found[id, fingerprint] for fingerprint in each))
        for id, each in wanted
        if all((id, fingerprint) in found for fingerprint in each)
    }


_WITH_CONTENT = select(*_COLUMNS).where(
    renditions.c.content_id.in_(bindparam("contents", expanding=True)), renditions.c.fingerprint.is_not(None)
)
_LOCK = _WITH_CONTENT.order_by(renditions.c.id)
_LOCK_FOR_USE, _LOCK_FOR_CHANGE = _LOCK.with_for_update(read=True), _LOCK.with_for_update()


def find(connection: Connection, wanted: Collection[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID | None], Rendition]:
    """The renditions that exist, by content and fingerprint."""
    rows = connection.execute(_WITH_CONTENT, {"contents": list({content for content, _ in wanted})})
    return {(row.content_id, row.fingerprint): _to_rendition(row) for row in rows}


_REPLACE = (
    update(renditions)
    .where(
        renditions.c.content_id == bindparam("content"),
        renditions.c.fingerprint == bindparam("replaced"),
        renditions.c.id != bindparam("new_id"),
    )
    # The images that refer to it may have been deleted already.
    .values(fingerprint=null(), check_at=now())
)


def use(
    connection: Connection, new: Mapping[Rendition, UUID], used: Collection[Rendition]
) -> tuple[dict[tuple[UUID, UUID | None], Rendition], set[UUID]]:
    """Inserts new renditions, unless there are equal ones, and locks them and those that are used again.

    `new` has the tenant of each. Returns what exists then, by content and fingerprint, and the IDs of inserted ones.
    """
    inserted: set[UUID] = set()
    if new:
        rows = [
            {**{name: getattr(item, name) for name in Rendition.__slots__}, "tenant_id": new[item]}
            for item in sorted(new, key=_key)
        ]
        statement = insert_if_absent(connection, renditions).values(created_at=now())
        inserted.update(connection.scalars(statement.returning(renditions.c.id), rows))
    contents = {item.content_id for item in (*new, *used)}
    rows_found = connection.execute(_LOCK_FOR_USE, {"contents": list(contents)}) if contents else ()
    return {(row.content_id, row.fingerprint): _to_rendition(row) for row in rows_found}, inserted


def replace(connection: Connection, new: Collection[Rendition]) -> None:
    """Ends the use of renditions in whose place there are new ones. Call it before `use`."""
    if new:
        # All at once, in the order in which others lock them.
        connection.execute(_LOCK_FOR_CHANGE, {"contents": [item.content_id for item in new]}).all()
        values = [
            {"content": item.content_id, "replaced": item.fingerprint, "new_id": item.id}
            for item in sorted(new, key=_key)
        ]
        connection.execute(_REPLACE, values)


def upsert_sources(connection: Connection, seen: Iterable[Source]) -> None:
    rows = {
        source.id: {
            "id": source.id,
            "content_id": source.content_id,
            "etag": source.validators.etag,
            "last_modified": source.validators.last_modified,
        }
        for source in seen
    }
    if rows:
        statement = insert_or_update(connection, sources).values(fetched_at=now())
        connection.execute(statement, [rows[id] for id in sorted(rows)])


# --- The end of renditions.


def of_products(connection: Connection, product_ids: Collection[UUID]) -> list[UUID]:
    """The renditions that images of these products refer to."""
    refers = images.c.product_id.in_(product_ids), images.c.rendition_id.is_not(None)
    return list(connection.scalars(select(images.c.rendition_id).where(*refers).distinct()))


_dropped = (
    select(renditions.c.id)
    .where(renditions.c.id.in_(bindparam("renditions", expanding=True)))
    .order_by(renditions.c.id)
    .with_for_update()
    .cte("dropped")
)
_PLAN_CHECK = (
    update(renditions)
    .where(renditions.c.id == _dropped.c.id)
    .values(check_at=now_plus(bindparam("grace_s", type_=Float)))
)


def plan_check(connection: Connection, ids: Collection[UUID]) -> None:
    """Plans a check of renditions whose images were deleted, after `GRACE_SECONDS`."""
    if ids:
        connection.execute(_PLAN_CHECK, {"renditions": list(ids), "grace_s": GRACE_SECONDS})


def end_unused(connection: Connection, limit: int) -> tuple[int, list[Rendition]]:
    """Ends the use of due renditions that no image has as an output, and returns how many were due, and these.

    Their objects can be deleted now. They stay due, so that a crash before `delete_ended` loses none.
    """
    due = select(renditions.c.id).where(renditions.c.check_at <= now()).order_by(renditions.c.check_at).limit(limit)
    locked = connection.scalars(due.with_for_update(skip_locked=True)).all()
    # After the locks: an image that refers to one was committed before, or will find it ended.
    referred = {
        id
        for column in (images.c.rendition_id, image_outputs.c.rendition_id)
        for id in connection.scalars(select(column).where(column.in_(locked)).distinct())
    }
    unused = [id for id in locked if id not in referred]
    connection.execute(update(renditions).where(renditions.c.id.in_(referred)).values(check_at=null()))
    ended = update(renditions).where(renditions.c.id.in_(unused)).values(fingerprint=null()).returning(*_COLUMNS)
    return len(locked), [_to_rendition(row) for row in connection.execute(ended)]


def delete_ended(connection: Connection, ended: Collection[Rendition]) -> None:
    """Deletes renditions whose objects are deleted, and sources that have no rendition any more."""
    deleted = delete(renditions).where(renditions.c.id.in_([item.id for item in ended]))
    rows = connection.execute(deleted.returning(renditions.c.tenant_id, renditions.c.output_bytes)).all()
    has_rendition = exists().where(renditions.c.content_id == sources.c.content_id)
    contents = {item.content_id for item in ended}
    unused = select(sources.c.id).where(sources.c.content_id.in_(contents), ~has_rendition)
    locked = connection.scalars(unused.order_by(sources.c.id).with_for_update()).all()
    connection.execute(delete(sources).where(sources.c.id.in_(locked)))
    for tenant_id in sorted({row.tenant_id for row in rows}):
        freed = sum(row.output_bytes for row in rows if row.tenant_id == tenant_id)
        quotas.add_stored_bytes(connection, tenant_id, -freed)


def tenant_of(connection: Connection, rendition_id: UUID, /) -> UUID | None:
    """The tenant of any rendition: call it only for a caller that may see it, for example by a signed URL."""
    statement = select(renditions.c.tenant_id).where(renditions.c.id == rendition_id)
    return connection.execute(statement).scalar_one_or_none()


_own = renditions.alias("own")
_OF_SAME_SOURCE = (
    select(*_COLUMNS)
    .join(_own, _own.c.content_id == renditions.c.content_id)
    .where(_own.c.id == bindparam("own"), renditions.c.id.in_(bindparam("renditions", expanding=True)))
)


def of_same_source(connection: Connection, own_id: UUID, /, ids: Collection[UUID]) -> list[Rendition]:
    """Those of these renditions that were made of the same bytes for the same tenant as one. Call it as `tenant_of`."""
    rows = connection.execute(_OF_SAME_SOURCE, {"own": own_id, "renditions": list(ids)})
    return [_to_rendition(row) for row in rows]


def _key(item: Rendition) -> tuple[UUID, UUID | None]:
    return item.content_id, item.fingerprint


def _to_rendition(row: Row[*tuple[Any, ...]]) -> Rendition:
    return Rendition(**{name: row._mapping[name] for name in Rendition.__slots__})
