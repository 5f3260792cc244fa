"""Invariants: counters equal rows (promise P4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, is_open, products, requests, tenants
from gql_imgproc.enums import ImageOutcome, ImageStatus, ProductStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository.queries import get_request as get


def assert_counters_equal_rows(database: Database, request_id: UUID) -> None:
    request = database.read_now(get, DEFAULT_TENANT, request_id)
    assert request is not None
    image_rows = database.read_now(_fetch_all, select(images).where(images.c.request_id == request_id))
    product_rows = database.read_now(_fetch_all, select(products).where(products.c.request_id == request_id))
    by_status = Counter(row.status for row in image_rows)
    assert request.processed_images == by_status[ImageStatus.COMPLETED]
    assert request.failed_images == by_status[ImageStatus.FAILED]
    assert request.cancelled_images == by_status[ImageStatus.CANCELLED]
    assert request.kept_images == sum(row.outcome is ImageOutcome.KEPT for row in image_rows)
    assert request.input_bytes == sum(row.input_bytes or 0 for row in image_rows)
    assert request.output_bytes == sum(row.output_bytes or 0 for row in image_rows)
    products_by_status = Counter(row.status for row in product_rows)
    assert request.processed_products == products_by_status[ProductStatus.COMPLETED]
    assert request.failed_products == (
        products_by_status[ProductStatus.FAILED] + products_by_status[ProductStatus.COMPLETED_WITH_ERRORS]
    )
    for product in product_rows:
        own = Counter(row.status for row in image_rows if row.product_id == product.id)
        assert (product.processed_images, product.failed_images, product.cancelled_images) == (
            own[ImageStatus.COMPLETED],
            own[ImageStatus.FAILED],
            own[ImageStatus.CANCELLED],
        )
        final = product.status not in (ProductStatus.PENDING, ProductStatus.PROCESSING)
        assert final == (own[ImageStatus.PENDING] == 0)
    assert [row.id for row in image_rows if (row.status is ImageStatus.PENDING) != (row.due_at is not None)] == []
    assert_stored_bytes_are_counted(database)


def assert_stored_bytes_are_counted(database: Database) -> None:
    """The stored bytes of each tenant are the sum over its final requests."""
    of_final = (
        select(func.coalesce(func.sum(requests.c.output_bytes), 0))
        .where(requests.c.tenant_id == tenants.c.id, ~is_open)
        .scalar_subquery()
    )
    wrong = select(tenants.c.name, tenants.c.stored_bytes, of_final).where(tenants.c.stored_bytes != of_final)
    assert database.read_now(_fetch_all, wrong) == []


def _fetch_all(connection: Connection, statement: Select[Any]) -> Sequence[Row[Any]]:
    return connection.execute(statement).all()
