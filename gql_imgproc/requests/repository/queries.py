"""Reads for the API: single objects, pages of requests, and the images and deliveries of many objects at once.

Each takes the caller's tenant; objects of other tenants are not found.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, select, type_coerce

from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.database import text_search
from gql_imgproc.database.pagination import Page, PageWindow, read_page
from gql_imgproc.database.tables import images, products, requests, webhook_deliveries
from gql_imgproc.database.types import EpochSeconds
from gql_imgproc.enums import ImageOutcome, ImageStatus, ProductStatus, RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.repository.snapshots import SNAPSHOT_COLUMNS, request_of_tenant, to_snapshot
from gql_imgproc.requests.repository.webhook_outbox import Delivery
from gql_imgproc.requests.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Product:
    """One data row of a CSV, with its state."""

    id: UUID
    request_id: UUID
    #: 0 for the first data row.
    position: int
    serial_number: str
    product_name: str
    input_image_urls: list[str]
    status: ProductStatus
    total_images: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a product; `position` is its index in the product's URLs, `file_name` the product's template."""

    id: UUID
    request_id: UUID
    product_id: UUID
    position: int
    status: ImageStatus
    outcome: ImageOutcome | None
    attempts: int
    error_code: ImageErrorCode | None
    error_message: str | None
    error_http_status: int | None
    input_bytes: int | None
    output_bytes: int | None
    object_name: str | None
    sha256: str | None
    format: str | None
    width: int | None
    height: int | None
    similarity: float | None
    file_name: str | None
    #: The request that stored its object, which may be an earlier one.
    stored_by: UUID


#: Columns of `Product` and `Image`, in the order of their fields.
PRODUCT_COLUMNS = tuple(products.c[name] for name in Product.__slots__)
#: Images of earlier versions, which were stored for their own request, have no `stored_by`.
STORED_BY = func.coalesce(images.c.stored_by, images.c.request_id)
IMAGE_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(images.c[name] for name in Image.__slots__ if name not in ("file_name", "stored_by")),
    products.c.file_name,
    STORED_BY,
)


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Selects requests of a tenant; times are inclusive."""

    status: RequestStatus | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    name_contains: str | None = None


ALL_REQUESTS = RequestFilter()


def get_request(connection: Connection, tenant_id: UUID, request_id: UUID) -> Snapshot | None:
    row = connection.execute(select(*SNAPSHOT_COLUMNS).where(*request_of_tenant(tenant_id, request_id))).one_or_none()
    return None if row is None else to_snapshot(row)


def ingested_products(connection: Connection, tenant_id: UUID, request_id: UUID) -> int:
    """The number of a request's rows that are inserted; 0 if the tenant has no such request."""
    own = request_of_tenant(tenant_id, request_id)
    return connection.scalar(select(requests.c.ingested_products).where(*own)) or 0


def get_csv_layout(connection: Connection, request_id: UUID) -> CsvLayout:
    """How the CSV of a request is read."""
    stored = connection.execute(select(requests.c.csv_layout).where(requests.c.id == request_id)).scalar_one_or_none()
    return CsvLayout.from_json(stored)


def get_product(connection: Connection, tenant_id: UUID, product_id: UUID) -> Product | None:
    of_tenant = products.c.id == product_id, products.c.tenant_id == tenant_id
    row = connection.execute(select(*PRODUCT_COLUMNS).where(*of_tenant)).one_or_none()
    return None if row is None else Product(*row)


def get_image(connection: Connection, tenant_id: UUID, image_id: UUID) -> tuple[Image, str] | None:
    """The image and its source URL."""
    statement = select(*IMAGE_COLUMNS, products.c.input_image_urls).join(products, products.c.id == images.c.product_id)
    of_tenant = images.c.id == image_id, products.c.tenant_id == tenant_id
    row = connection.execute(statement.where(*of_tenant)).one_or_none()
    if row is None:
        return None
    *values, urls = row
    return Image(*values), urls[row.position]


def tenant_of_request(connection: Connection, request_id: UUID, /) -> UUID | None:
    """The tenant of any request: call it only for a caller that may see the request, for example by a signed URL."""
    return connection.execute(select(requests.c.tenant_id).where(requests.c.id == request_id)).scalar_one_or_none()


def tenant_of_image(connection: Connection, image_id: UUID) -> UUID | None:
    """The tenant of any image: call it only for a caller that may see the image, for example by a signed URL."""
    statement = select(products.c.tenant_id).join(images, images.c.product_id == products.c.id)
    return connection.execute(statement.where(images.c.id == image_id)).scalar_one_or_none()


def requests_page(
    connection: Connection,
    tenant_id: UUID,
    window: PageWindow,
    *,
    filter: RequestFilter = ALL_REQUESTS,
    oldest_first: bool = False,
) -> Page[Snapshot]:
    """Requests by creation time; cursor keys are (seconds since 1970, ID)."""
    # Not rounded to a datetime: that key would skip or repeat rows.
    created_at = type_coerce(requests.c.created_at, EpochSeconds())
    statement = select(*SNAPSHOT_COLUMNS, created_at.label("seconds")).where(*_filters(connection, tenant_id, filter))
    return read_page(
        connection,
        statement,
        (created_at, requests.c.id),
        window,
        lambda row: ((row.seconds, row.id), to_snapshot(row)),
        descending=not oldest_first,
    )


def count_requests(connection: Connection, tenant_id: UUID, *, filter: RequestFilter = ALL_REQUESTS) -> int:
    filters = _filters(connection, tenant_id, filter)
    statement = select(func.count()).select_from(requests).where(*filters)
    return connection.execute(statement).scalar_one()


def get_traceparent(connection: Connection, request_id: UUID) -> str | None:
    """The trace context of the upload, if tracing was enabled."""
    return connection.execute(select(requests.c.traceparent).where(requests.c.id == request_id)).scalar_one_or_none()


def images_of_products(
    connection: Connection, tenant_id: UUID, product_ids: Collection[UUID]
) -> dict[UUID, list[Image]]:
    """The images of each product, in the order of its URLs."""
    visible = products.c.id.in_(product_ids), products.c.tenant_id == tenant_id
    statement = select(*IMAGE_COLUMNS).join(products, products.c.id == images.c.product_id).where(*visible)
    found: dict[UUID, list[Image]] = {product_id: [] for product_id in product_ids}
    for row in connection.execute(statement.order_by(images.c.position)).all():
        image = Image(*row)
        found[image.product_id].append(image)
    return found


def options_of_requests(connection: Connection, tenant_id: UUID, request_ids: Collection[UUID]) -> dict[UUID, Options]:
    visible = requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id
    rows = connection.execute(select(requests.c.id, requests.c.options).where(*visible))
    return {row.id: Options.from_json(row.options) for row in rows}


def deliveries_of_requests(
    connection: Connection, tenant_id: UUID, runs: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], Delivery]:
    """The webhook delivery of each (request, generation) that has one."""
    table = webhook_deliveries
    request_ids = {request_id for request_id, _ in runs}
    visible = select(requests.c.id).where(requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id)
    rows = connection.execute(select(table).where(table.c.request_id.in_(visible)))
    found = {(row.request_id, row.generation): Delivery.from_row(row) for row in rows}
    return {run: found[run] for run in runs if run in found}


def _filters(connection: Connection, tenant_id: UUID, filter: RequestFilter) -> list[ColumnElement[bool]]:
    terms = [requests.c.tenant_id == tenant_id]
    if filter.status is not None:
        terms.append(requests.c.status == filter.status)
    if filter.created_after is not None:
        terms.append(requests.c.created_at >= filter.created_after)
    if filter.created_before is not None:
        terms.append(requests.c.created_at <= filter.created_before)
    if filter.name_contains:
        terms.append(text_search.contains(connection, requests.c.csv_filename, filter.name_contains))
    return terms
