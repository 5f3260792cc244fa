"""Statistics of the whole service; the statements stay cheap with a million products."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from gql_imgproc.database.tables import OPEN, is_claiming, is_not_done, is_open, products, requests
from gql_imgproc.database.types import now, seconds_since
from gql_imgproc.enums import RequestStatus
from gql_imgproc.requests.repository import webhook_outbox

#: Claimable products are counted in the oldest open requests only, and up to a limit in each: at most 40 ms.
COUNTED_REQUESTS, COUNTED_PRODUCTS = 200, 1_000
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
    claimable_products: int
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
_oldest = (
    select(requests.c.id)
    .where(is_not_done, is_claiming)
    .order_by(requests.c.id)
    .limit(bindparam("max_requests"))
    .subquery()
)
# Ordered, so that PostgreSQL uses the index and does not scan all products for due ones.
_due = (
    select(products.c.id)
    .where(products.c.request_id == _oldest.c.id, products.c.due_at <= now())
    .order_by(products.c.due_at)
    .limit(bindparam("max_products"))
    .correlate(_oldest)
    .subquery()
)
_CLAIMABLE = select(func.sum(select(func.count()).select_from(_due).scalar_subquery())).select_from(_oldest)


def read_statistics(connection: Connection) -> Statistics:
    rows = connection.execute(_OPEN).all()
    limits = {"max_requests": COUNTED_REQUESTS, "max_products": COUNTED_PRODUCTS}
    return Statistics(
        open_requests=dict.fromkeys(OPEN, 0) | {row.status: row.requests for row in rows},
        pending_products=sum(int(row.products) for row in rows),
        pending_images=sum(int(row.images) for row in rows),
        oldest_idle_s=max((max(0.0, float(row.idle_s)) for row in rows), default=0.0),
        claimable_products=int(connection.execute(_CLAIMABLE, limits).scalar_one() or 0),
        due_webhooks=len(webhook_outbox.list_due(connection, COUNTED_WEBHOOKS)),
    )
