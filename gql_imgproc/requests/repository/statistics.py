"""Statistics of the whole service; the statements stay cheap with a million products."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from gql_imgproc.database.tables import OPEN, images, is_not_done, is_open, lanes, requests
from gql_imgproc.database.types import now, seconds_since
from gql_imgproc.enums import RequestStatus
from gql_imgproc.requests.repository import webhook_outbox

#: Claimable images are counted in so many lanes, and up to a limit: at most a few milliseconds.
COUNTED_LANES, COUNTED_IMAGES = 1_000, 10_000
#: Due webhooks are counted up to this limit.
COUNTED_WEBHOOKS = 1_000


@dataclass(frozen=True, slots=True)
class Statistics:
    """Open work, and how much of it can be done now."""

    open_requests: dict[RequestStatus, int]
    pending_products: int
    pending_images: int
    #: Time since the last change of the open request that is idle for longest; 0 when none is open.
    oldest_idle_s: float
    #: Due images of hosts that may be asked: more workers would help with these only.
    claimable_images: int
    due_webhooks: int


_pending_products = requests.c.total_products - requests.c.processed_products - requests.c.failed_products
_pending_images = (
    requests.c.total_images - requests.c.processed_images - requests.c.failed_images - requests.c.cancelled_images
)
# From the counters of the requests: rows of products are not read.
_OPEN = (
    select(
        requests.c.status,
        func.count().label("requests"),
        func.sum(_pending_products).label("products"),
        func.sum(_pending_images).label("images"),
        func.max(seconds_since(requests.c.updated_at)).label("idle_s"),
    )
    .where(is_not_done, is_open)
    .group_by(requests.c.status)
)
_ready = select(lanes.c.id).where(lanes.c.ready).limit(bindparam("max_lanes")).subquery()
_due = (
    select(images.c.id)
    .join(_ready, _ready.c.id == images.c.lane_id)
    .where(images.c.due_at.is_not(None), images.c.due_at <= now())
    .limit(bindparam("max_images"))
    .subquery()
)
_CLAIMABLE = select(func.count()).select_from(_due)


def read_statistics(connection: Connection) -> Statistics:
    rows = connection.execute(_OPEN).all()
    limits = {"max_lanes": COUNTED_LANES, "max_images": COUNTED_IMAGES}
    return Statistics(
        open_requests=dict.fromkeys(OPEN, 0) | {row.status: row.requests for row in rows},
        pending_products=sum(int(row.products) for row in rows),
        pending_images=sum(int(row.images) for row in rows),
        oldest_idle_s=max((max(0.0, float(row.idle_s)) for row in rows), default=0.0),
        claimable_images=connection.execute(_CLAIMABLE, limits).scalar_one(),
        due_webhooks=len(webhook_outbox.list_due(connection, COUNTED_WEBHOOKS)),
    )
