"""SQL of the statistics of a request: its images by media type, by error, and by host.

Every transaction that inserts, ends or reopens images adds to them, after its lanes and before its requests. So they
are exact, and reading them costs the same for any number of images.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from gql_imgproc.database.tables import image_statistics, lanes, requests
from gql_imgproc.database.upsert import insert_or_add
from gql_imgproc.enums import ImageOutcome, ImageStatus, StatisticsKind
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.requests.identity import digest
from gql_imgproc.requests.repository.lanes import lane_id
from gql_imgproc.requests.repository.snapshots import request_of_tenant

#: Number of hosts that are returned: those with the most failed images, then those with the most images.
MAX_HOSTS = 100
#: Rows are locked in this order, in one pass or in several: ingestion adds to hosts first.
_ORDER = (StatisticsKind.HOST, StatisticsKind.ERROR, StatisticsKind.FORMAT)
_COUNTS = ("images", "throttled", "completed", "failed", "bytes_before", "bytes_after")
_KEY = ("request_id", "kind", "name")
_Changes: TypeAlias = defaultdict[tuple[UUID, StatisticsKind, str], Counter[str]]


@dataclass(frozen=True, slots=True)
class FinalImage:
    """The counted values of an image that is completed or failed."""

    request_id: UUID
    product_id: UUID
    lane_id: UUID
    status: ImageStatus
    outcome: ImageOutcome | None
    input_bytes: int | None
    output_bytes: int | None
    format: str | None
    error_code: ImageErrorCode | None
    url_digest: int | None
    object_name: str | None
    #: Size of a source that was not downloaded.
    not_downloaded_bytes: int = 0

    @property
    def digest(self) -> int:
        """What it adds to the fingerprint of its product."""
        return digest(self.url_digest, self.object_name) if self.object_name else 0


@dataclass(frozen=True, slots=True)
class ReopenedImage:
    """A failed image that is pending again."""

    request_id: UUID
    lane_id: UUID
    error_code: ImageErrorCode


@dataclass(frozen=True, slots=True)
class FormatStatistics:
    format: str
    images: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True, slots=True)
class HostStatistics:
    host: str
    images: int
    completed: int
    failed: int
    throttled: int
    #: When an image is due, if none is due now: a retry, the end of the host's pause, or of a lease.
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class RequestStatistics:
    by_format: list[FormatStatistics]
    by_error: dict[ImageErrorCode, int]
    by_host: list[HostStatistics]


def add_hosts(connection: Connection, request_id: UUID, images: Mapping[str, int]) -> None:
    """Adds images that are inserted to their hosts."""
    changes: _Changes = defaultdict(Counter)
    for host, count in images.items():
        changes[request_id, StatisticsKind.HOST, host]["images"] += count
    _write(connection, changes)


def add(
    connection: Connection,
    finals: Collection[FinalImage] = (),
    reopened: Collection[ReopenedImage] = (),
    throttled: Collection[tuple[UUID, UUID]] = (),
) -> None:
    """Adds images that ended or were reopened, and refusals of hosts.

    `throttled` has the request and the lane of each response with which a host asked to slow down.
    """
    lane_ids = {image.lane_id for image in finals} | {image.lane_id for image in reopened}
    lane_ids |= {lane for _, lane in throttled}
    hosts = {row.id: row.host for row in connection.execute(_HOSTS, {"lanes": list(lane_ids)})} if lane_ids else {}
    changes: _Changes = defaultdict(Counter)
    for final in finals:
        host = changes[final.request_id, StatisticsKind.HOST, hosts[final.lane_id]]
        if final.status is ImageStatus.COMPLETED:
            host["completed"] += 1
            changes[final.request_id, StatisticsKind.FORMAT, final.format or ""].update(
                completed=1, bytes_before=final.input_bytes or 0, bytes_after=final.output_bytes or 0
            )
        elif final.error_code is not None:
            host["failed"] += 1
            changes[final.request_id, StatisticsKind.ERROR, final.error_code.value]["failed"] += 1
    for image in reopened:
        changes[image.request_id, StatisticsKind.HOST, hosts[image.lane_id]]["failed"] -= 1
        changes[image.request_id, StatisticsKind.ERROR, image.error_code.value]["failed"] -= 1
    for request_id, lane in throttled:
        changes[request_id, StatisticsKind.HOST, hosts[lane]]["throttled"] += 1
    _write(connection, changes)


_HOSTS = select(lanes.c.id, lanes.c.host).where(lanes.c.id.in_(bindparam("lanes", expanding=True)))


def _write(connection: Connection, changes: _Changes) -> None:
    rows = [
        dict(zip(_KEY, key, strict=True)) | {name: changes[key][name] for name in _COUNTS}
        for key in sorted(changes, key=lambda key: (key[0], _ORDER.index(key[1]), key[2]))
    ]
    if rows:
        connection.execute(insert_or_add(connection, image_statistics, _COUNTS), rows)


def statistics_of_requests(
    connection: Connection, tenant_id: UUID, request_ids: Collection[UUID]
) -> dict[UUID, RequestStatistics]:
    return {id: read_statistics(connection, tenant_id, id) for id in request_ids}


def read_statistics(connection: Connection, tenant_id: UUID, request_id: UUID) -> RequestStatistics:
    """Returns the statistics of a request; empty ones if the tenant has no such request."""
    visible = select(requests.c.id).where(*request_of_tenant(tenant_id, request_id)).scalar_subquery()
    table = image_statistics.c

    def read(kind: StatisticsKind, limit: int | None = None) -> Any:
        statement = select(image_statistics).where(table.request_id == visible, table.kind == kind)
        return connection.execute(statement.order_by(table.failed.desc(), table.images.desc()).limit(limit)).all()

    hosts = read(StatisticsKind.HOST, MAX_HOSTS)
    of_hosts = lanes.c.id.in_([lane_id(request_id, row.name) for row in hosts])
    asleep = select(lanes.c.host, lanes.c.wake_at).where(of_hosts, ~lanes.c.ready, lanes.c.wake_at.is_not(None))
    wake_at = {row.host: row.wake_at for row in connection.execute(asleep)}
    formats = [
        FormatStatistics(row.name, row.completed, row.bytes_before, row.bytes_after)
        for row in read(StatisticsKind.FORMAT)
    ]
    return RequestStatistics(
        sorted(formats, key=lambda each: (-each.images, each.format)),
        {ImageErrorCode(row.name): row.failed for row in read(StatisticsKind.ERROR) if row.failed},
        [
            HostStatistics(
                row.name,
                row.images,
                row.completed,
                row.failed,
                row.throttled,
                # A lane sleeps until the leases of its images end, also of the last ones.
                wake_at.get(row.name) if row.completed + row.failed < row.images else None,
            )
            for row in hosts
        ],
    )
