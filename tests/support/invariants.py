"""Invariants: counters equal rows (promise P4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Connection, Row, Select, func, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import image_outputs, images, is_open, lanes, products, renditions, requests, tenants
from gql_imgproc.enums import ImageOutcome, ImageStatus, ProductStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.identity import digest, fingerprint
from gql_imgproc.requests.repository.image_statistics import read_statistics
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
    assert request.reused_images == sum(row.outcome is ImageOutcome.REUSED for row in image_rows)
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
        if product.fingerprint is not None:
            stored = [row for row in image_rows if row.product_id == product.id and row.object_name]
            expected = fingerprint(product.product_name, product.input_image_urls)
            assert product.fingerprint == expected + sum(digest(row.url_digest, row.object_name) for row in stored)
        final = product.status not in (ProductStatus.PENDING, ProductStatus.PROCESSING)
        assert final == (own[ImageStatus.PENDING] == 0)
    # A repeat is never due, and final when its original is, unless it was cancelled.
    of_originals = {row.id: row.status for row in image_rows if row.original_id is None}
    expected_due = [row.status is ImageStatus.PENDING and row.original_id is None for row in image_rows]
    assert [row.due_at is not None for row in image_rows] == expected_due
    waiting = [row for row in image_rows if row.original_id and row.status is ImageStatus.PENDING]
    assert {of_originals[row.original_id] for row in waiting} <= {ImageStatus.PENDING, ImageStatus.CANCELLED}
    assert_statistics_equal_rows(database, request_id, image_rows)
    assert_stored_bytes_are_counted(database)


def assert_statistics_equal_rows(database: Database, request_id: UUID, image_rows: Sequence[Row[Any]]) -> None:
    """Images by media type, by error and by host."""
    found = database.read_now(read_statistics, DEFAULT_TENANT, request_id)
    lane_rows = database.read_now(_fetch_all, select(lanes.c.id, lanes.c.host).where(lanes.c.request_id == request_id))
    hosts = {row.id: row.host for row in lane_rows}
    completed = [row for row in image_rows if row.status is ImageStatus.COMPLETED]
    failed = [row for row in image_rows if row.status is ImageStatus.FAILED]
    by_format = [
        (
            name,
            sum(row.format == name for row in completed),
            sum(row.input_bytes or 0 for row in completed if row.format == name),
            sum(row.output_bytes or 0 for row in completed if row.format == name),
        )
        for name in {row.format for row in completed}
    ]
    assert sorted(astuple(each) for each in found.by_format) == sorted(by_format)
    assert found.by_error == Counter(row.error_code for row in failed)
    by_host = [
        (
            host,
            sum(hosts[row.lane_id] == host for row in image_rows),
            sum(hosts[row.lane_id] == host for row in completed),
            sum(hosts[row.lane_id] == host for row in failed),
        )
        for host in set(hosts.values())
    ]
    assert sorted(astuple(each)[:4] for each in found.by_host) == sorted(by_host)


def assert_stored_bytes_are_counted(database: Database) -> None:
    """The stored bytes of each tenant are those of its renditions and CSVs, less those of open requests."""
    stored = _sum(renditions.c.output_bytes).where(renditions.c.tenant_id == tenants.c.id).scalar_subquery()
    of_open = _sum(requests.c.stored_bytes).where(requests.c.tenant_id == tenants.c.id, is_open).scalar_subquery()
    of_csvs = _sum(requests.c.own_bytes).where(requests.c.tenant_id == tenants.c.id).scalar_subquery()
    expected = stored + of_csvs - of_open
    wrong = select(tenants.c.name, tenants.c.stored_bytes, expected).where(tenants.c.stored_bytes != expected)
    assert database.read_now(_fetch_all, wrong) == []


def assert_images_have_their_renditions(database: Database) -> None:
    """Every completed image refers to a rendition that exists, and has its name (promise P15)."""
    is_stored = images.c.status == ImageStatus.COMPLETED
    statement = select(images.c.object_name, renditions.c.object_name, images.c.stored_by, renditions.c.stored_by)
    joined = statement.select_from(images.outerjoin(renditions, images.c.rendition_id == renditions.c.id))
    for name, expected_name, stored_by, expected_stored_by in database.read_now(_fetch_all, joined.where(is_stored)):
        assert (name, stored_by) == (expected_name, expected_stored_by)
    # So does every further output, which belongs to a completed image.
    further = select(images.c.status, renditions.c.fingerprint).select_from(
        image_outputs.outerjoin(images, images.c.id == image_outputs.c.image_id).outerjoin(
            renditions, renditions.c.id == image_outputs.c.rendition_id
        )
    )
    for status, used in database.read_now(_fetch_all, further):
        assert (status, used is not None) == (ImageStatus.COMPLETED, True)


def _sum(column: Column[int]) -> Select[tuple[int]]:
    return select(func.coalesce(func.sum(column), 0))


def _fetch_all(connection: Connection, statement: Select[Any]) -> Sequence[Row[Any]]:
    return connection.execute(statement).all()
