"""SQL of lanes: the images of one host in one request.

A lane is ready, when one of its images may be due and its host may be asked, or asleep until `wake_at`. Nothing is
handed up from images to requests or tenants, so the choice of what is next reads this table only.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import (
    Connection,
    Float,
    Uuid,
    bindparam,
    case,
    null,
    or_,
    select,
    update,
)

from gql_imgproc.database.tables import images, lanes
from gql_imgproc.database.types import now, now_plus, seconds_since
from gql_imgproc.database.upsert import insert_if_absent
from gql_imgproc.enums import Priority
from gql_imgproc.requests.snapshot import Snapshot

#: A lane's priority is the position in this list.
RANKS = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
#: Requests of a tenant that a choice looks at.
MAX_REQUESTS = 200
#: Lanes of a request that a choice looks at.
MAX_LANES = 8
#: Lanes that are woken in one transaction.
WAKE_CHUNK = 500
#: Shortest sleep of a lane that had fewer due images than asked for, in seconds: others may be returned right now.
SETTLE_SECONDS = 0.2
#: Sleep of a lane whose request is stopping, in seconds: its images are still due, but are cancelled soon.
CLOSED_SECONDS = 5.0
_MAX_LOT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Lane:
    """A ready lane."""

    id: UUID
    request_id: UUID
    host: str


def lane_id(request_id: UUID, host: str) -> UUID:
    return uuid5(request_id, host)


def insert_lanes(connection: Connection, request: Snapshot, hosts: Iterable[str]) -> None:
    """Creates the lanes of these hosts that do not exist yet, asleep: `wake_lanes` follows their images."""
    rows = [
        {
            "id": id,
            "request_id": request.id,
            "tenant_id": request.tenant_id,
            "priority": RANKS.index(request.priority),
            "host": host,
            "lot": random.randrange(_MAX_LOT),
            "ready": False,
        }
        for host in sorted(set(hosts))
        for id in [lane_id(request.id, host)]
    ]
    if rows:
        connection.execute(insert_if_absent(connection, lanes), rows)


_delay_s = bindparam("delay_s", type_=Float)
_WAKE = (
    update(lanes)
    .where(lanes.c.id == bindparam("lane"))
    .values(
        ready=or_(lanes.c.ready, _delay_s <= 0),
        wake_at=case(
            (_delay_s <= 0, lanes.c.wake_at),
            (lanes.c.wake_at < now_plus(_delay_s), lanes.c.wake_at),
            else_=now_plus(_delay_s),
        ),
    )
)


def wake_lanes(connection: Connection, due: Mapping[UUID, float]) -> None:
    """Says that lanes have images that are due after so many seconds.

    Call it after the images were written, in the same transaction. The statement has no condition that could skip a
    row's lock: either `settle` sees the images, or this waits for it and corrects the lane.
    """
    if due:
        # One row after the other, so that they are locked in the order of their IDs.
        connection.execute(_WAKE, [{"lane": id, "delay_s": delay_s} for id, delay_s in sorted(due.items())])


_ready_and_free = (
    select(lanes.c.id)
    .where(lanes.c.id == bindparam("lane"), lanes.c.ready)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_SLEEP = update(lanes).where(lanes.c.id == _ready_and_free).values(ready=False, wake_at=now_plus(_delay_s))


def sleep_lanes(connection: Connection, pauses: Mapping[UUID, float]) -> None:
    """Puts ready lanes to sleep for so many seconds, unless another process changes them right now."""
    if pauses:
        connection.execute(_SLEEP, [{"lane": id, "delay_s": delay_s} for id, delay_s in sorted(pauses.items())])


_FREE = select(lanes.c.id).where(lanes.c.id == bindparam("lane")).with_for_update(skip_locked=True)
# Leases count as well, so that the images of a killed worker become due again.
_NEXT_DUE = (
    select(images.c.due_at)
    .where(images.c.lane_id == bindparam("lane"), images.c.due_at.is_not(None))
    .order_by(images.c.due_at)
    .limit(1)
    .scalar_subquery()
)
_earliest = now_plus(bindparam("min_sleep_s", type_=Float))
_SETTLE = (
    update(lanes)
    .where(lanes.c.id == bindparam("lane"))
    .values(ready=False, wake_at=case((_earliest > _NEXT_DUE, _earliest), else_=_NEXT_DUE))
)


def settle(connection: Connection, id: UUID, min_sleep_s: float = SETTLE_SECONDS) -> None:
    """Puts a lane that had fewer due images than asked for to sleep until its next image is due."""
    # Without a free row another process settles it.
    if connection.execute(_FREE, {"lane": id}).first() is not None:
        connection.execute(_SETTLE, {"lane": id, "min_sleep_s": min_sleep_s})


_WAKING = (
    select(lanes.c.id)
    .where(lanes.c.wake_at <= now())
    .order_by(lanes.c.wake_at)
    .limit(WAKE_CHUNK)
    .with_for_update(skip_locked=True)
    .cte("waking")
)
_WAKE_DUE = update(lanes).where(lanes.c.id == _WAKING.c.id).values(ready=True, wake_at=null()).returning(lanes.c.id)


def wake_due_lanes(connection: Connection) -> int:
    """Makes lanes ready whose time has come; returns their number, at most `WAKE_CHUNK`."""
    return len(connection.execute(_WAKE_DUE).all())


_NEXT_WAKE = select(-seconds_since(lanes.c.wake_at)).where(lanes.c.wake_at.is_not(None)).order_by(lanes.c.wake_at)


def seconds_to_next_wake(connection: Connection) -> float | None:
    """Seconds until the next lane wakes automatically; None when no lane does."""
    seconds = connection.execute(_NEXT_WAKE.limit(1)).scalar_one_or_none()
    return None if seconds is None else max(0.0, seconds)


def _recursive_tenants() -> Any:
    """Each tenant with ready lanes is found by one index seek, whatever the number of its lanes."""
    first = select(lanes.c.tenant_id).where(lanes.c.ready).order_by(lanes.c.tenant_id).limit(1)
    found = select(first.scalar_subquery().label("id")).cte("found", recursive=True)
    following = lanes.alias()
    after = (
        select(following.c.tenant_id)
        .where(following.c.ready, following.c.tenant_id > found.c.id)
        .order_by(following.c.tenant_id)
        .limit(1)
        .correlate(found)
    )
    found = found.union_all(select(after.scalar_subquery()).select_from(found).where(found.c.id.is_not(None)))
    return select(found.c.id).where(found.c.id.is_not(None))


_TENANTS = _recursive_tenants()


def list_tenants(connection: Connection) -> list[UUID]:
    """Tenants with ready lanes."""
    return list(connection.scalars(_TENANTS))


def _recursive_requests() -> Any:
    """Each request with ready lanes is found by one index seek; the next one of every rank before another of any."""
    of_tenant = lanes.c.ready, lanes.c.tenant_id == bindparam("tenant", type_=Uuid)
    firsts = [
        select(lanes.c.id).where(*of_tenant, lanes.c.priority == rank).order_by(lanes.c.request_id).limit(1)
        for rank in range(len(RANKS))
    ]
    first, *others = (select(query.scalar_subquery().label("lane")) for query in firsts)
    found = first.cte("found", recursive=True)
    current = lanes.alias()
    following = lanes.alias()
    after = (
        select(following.c.id)
        .where(
            following.c.ready,
            following.c.tenant_id == bindparam("tenant", type_=Uuid),
            following.c.priority == current.c.priority,
            following.c.request_id > current.c.request_id,
        )
        .order_by(following.c.request_id)
        .limit(1)
        .correlate(current)
        .scalar_subquery()
    )
    found = found.union_all(*others, select(after).select_from(found.join(current, current.c.id == found.c.lane)))
    chosen = select(found.c.lane).limit(bindparam("max_requests")).subquery()
    return select(lanes.c.priority, lanes.c.request_id).join(chosen, chosen.c.lane == lanes.c.id)


_REQUESTS = _recursive_requests()


def list_requests(connection: Connection, tenant_id: UUID) -> list[tuple[int, UUID]]:
    """Rank and ID of the tenant's requests with ready lanes: the oldest of each rank, at most `MAX_REQUESTS`."""
    rows = connection.execute(_REQUESTS, {"tenant": tenant_id, "max_requests": MAX_REQUESTS})
    return sorted((row.priority, row.request_id) for row in rows)


_in_request = (
    lanes.c.ready,
    lanes.c.tenant_id == bindparam("tenant"),
    lanes.c.priority == bindparam("rank"),
    lanes.c.request_id == bindparam("request"),
)
_of_request = select(lanes.c.id, lanes.c.request_id, lanes.c.host).where(*_in_request).order_by(lanes.c.lot)
_FROM_LOT = _of_request.where(lanes.c.lot >= bindparam("lot")).limit(bindparam("max_lanes"))
_BEFORE_LOT = _of_request.where(lanes.c.lot < bindparam("lot")).limit(bindparam("max_lanes"))


def list_lanes(connection: Connection, tenant_id: UUID, rank: int, request_id: UUID) -> list[Lane]:
    """Up to `MAX_LANES` ready lanes of a request, from a random place of its circle of lanes."""
    values = {"tenant": tenant_id, "rank": rank, "request": request_id, "lot": random.randrange(_MAX_LOT)}
    rows = list(connection.execute(_FROM_LOT, {**values, "max_lanes": MAX_LANES}))
    if len(rows) < MAX_LANES:
        rows += connection.execute(_BEFORE_LOT, {**values, "max_lanes": MAX_LANES - len(rows)})
    return [Lane(*row) for row in rows]


_OF_HOSTS = select(lanes.c.id, lanes.c.request_id, lanes.c.host).where(
    lanes.c.id.in_(bindparam("lanes", expanding=True)), lanes.c.ready
)


def list_lanes_of(connection: Connection, request_id: UUID, hosts: Iterable[str]) -> list[Lane]:
    """The ready lanes of these hosts in a request."""
    rows = connection.execute(_OF_HOSTS, {"lanes": [lane_id(request_id, host) for host in hosts]})
    return [Lane(*row) for row in rows]


_closing = (
    select(lanes.c.id)
    .where(*_in_request)
    .order_by(lanes.c.lot)
    .limit(bindparam("max_lanes"))
    .with_for_update(skip_locked=True)
    .cte("closing")
)
_CLOSE = update(lanes).where(lanes.c.id == _closing.c.id).values(ready=False, wake_at=null()).returning(lanes.c.id)


def close_lanes(connection: Connection, request: Snapshot, limit: int) -> int:
    """Puts ready lanes of a stopping request to sleep, or workers would choose them for nothing; their number."""
    rank = RANKS.index(request.priority)
    values = {"tenant": request.tenant_id, "rank": rank, "request": request.id, "max_lanes": limit}
    return len(connection.execute(_CLOSE, values).all())
