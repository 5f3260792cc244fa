"""Reads for the API: single rows, pages of requests, and what belongs to many rows at once.

Each takes the tenant that asks: what is another's is read as if it were not there.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Row,
    func,
    literal,
    select,
    type_coerce,
)

from gql_imgproc.database.pagination import Page, PageWindow, apply_window, bounds_of, has_rows_outside, page
from gql_imgproc.database.tables import images, products, requests, webhook_deliveries
from gql_imgproc.enums import RequestStatus
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.snapshot import Snapshot


def get_request(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    row = connection.execute(select(*SNAPSHOT_COLUMNS).where(*request_of_tenant(tenant_id, request_id))).one_or_none()
    return None if row is None else to_snapshot(row)


def get_product(connection: Connection, tenant_id: UUID, product_id: UUID) -> Row[Any] | None:
    own_product = products.c.id == product_id, products.c.tenant_id == tenant_id
    return connection.execute(select(products).where(*own_product)).one_or_none()


def get_image(connection: Connection, tenant_id: UUID, image_id: UUID) -> Row[Any] | None:
    """The image, and `input_image_urls` of its product, which `position` points into."""
    statement = select(images, products.c.input_image_urls).join(products, products.c.id == images.c.product_id)
    own_image = images.c.id == image_id, products.c.tenant_id == tenant_id
    return connection.execute(statement.where(*own_image)).one_or_none()


def tenant_of_request(connection: Connection, request_id: UUID) -> UUID | None:
    """The tenant whose it is: for those alone who have proved that they may see it."""
    return connection.execute(select(requests.c.tenant_id).where(requests.c.id == request_id)).scalar_one_or_none()


def owner_of_image(connection: Connection, image_id: UUID) -> UUID | None:
    """As `tenant_of_request`."""
    statement = select(products.c.tenant_id).join(images, images.c.product_id == products.c.id)
    return connection.execute(statement.where(images.c.id == image_id)).scalar_one_or_none()


def requests_page(
    connection: Connection,
    tenant_id: UUID,
    window: PageWindow,
    *,
    status: RequestStatus | None = None,
    oldest_first: bool = False,
) -> Page[Snapshot]:
    """Requests by the moment of their creation; keys are (seconds since 1970, identifier)."""
    # As the database has it: on SQLite a moment is finer than a datetime can say, and a rounded key would
    # leave rows out or give them twice.
    moment = type_coerce(requests.c.created_at, _raw_moment(connection))
    columns = (moment, requests.c.id)
    bounds = bounds_of(window, lambda key: (_moment(connection, key[0]), literal(key[1], requests.c.id.type)))
    wanted = _requests_of(tenant_id, status)
    statement = select(*SNAPSHOT_COLUMNS, moment.label("moment")).where(*wanted)
    rows = connection.execute(apply_window(statement, columns, bounds, window, descending=not oldest_first)).all()
    others = has_rows_outside(
        connection, select(requests.c.id).where(*wanted), columns, bounds, descending=not oldest_first
    )
    return page([((_seconds(row.moment), row.id), to_snapshot(row)) for row in rows], window, *others)


def count_requests(connection: Connection, tenant_id: UUID, *, status: RequestStatus | None = None) -> int:
    statement = select(func.count()).select_from(requests).where(*_requests_of(tenant_id, status))
    return connection.execute(statement).scalar_one()


def get_traceparent(connection: Connection, request_id: UUID) -> str | None:
    """The trace in which a request was uploaded, if traces were on."""
    return connection.execute(select(requests.c.traceparent).where(requests.c.id == request_id)).scalar_one_or_none()


def images_of_products(
    connection: Connection, tenant_id: UUID, product_ids: Collection[UUID]
) -> dict[UUID, list[Row[Any]]]:
    """The images of each product in the order of its row."""
    visible = select(products.c.id).where(products.c.id.in_(product_ids), products.c.tenant_id == tenant_id)
    statement = select(images).where(images.c.product_id.in_(visible)).order_by(images.c.position)
    found: dict[UUID, list[Row[Any]]] = {product_id: [] for product_id in product_ids}
    for row in connection.execute(statement):
        found[row.product_id].append(row)
    return found


def deliveries_of_requests(
    connection: Connection, tenant_id: UUID, runs: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Row[Any]]:
    """The webhook delivery of each (request, generation) that has one."""
    table = webhook_deliveries
    wanted = {request_id for request_id, _ in runs}
    visible = select(requests.c.id).where(requests.c.id.in_(wanted), requests.c.tenant_id == tenant_id)
    rows = connection.execute(select(table).where(table.c.request_id.in_(visible)))
    found = {(row.request_id, row.generation): row for row in rows}
    return {run: found[run] for run in runs if run in found}


def _requests_of(tenant_id: UUID, status: RequestStatus | None) -> tuple[ColumnElement[bool], ...]:
    own_requests = requests.c.tenant_id == tenant_id
    return (own_requests,) if status is None else (own_requests, requests.c.status == status)


def _raw_moment(connection: Connection) -> Double[float] | DateTime:
    return Double() if connection.dialect.name == "sqlite" else DateTime(timezone=True)


def _seconds(raw: float | datetime) -> float:
    return raw.timestamp() if isinstance(raw, datetime) else raw


def _moment(connection: Connection, seconds: float) -> ColumnElement[Any]:
    raw = seconds if connection.dialect.name == "sqlite" else datetime.fromtimestamp(seconds, UTC)
    return literal(raw, _raw_moment(connection))
