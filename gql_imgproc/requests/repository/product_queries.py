"""Pages of products for the API: of a tenant or of requests, filtered by status and by name.

Each takes the caller's tenant, as in `queries`.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, select, true

from gql_imgproc.database import text_search
from gql_imgproc.database.pagination import (
    Bounds,
    CursorKey,
    Page,
    PageWindow,
    apply_window,
    bounds_of,
    has_rows_outside,
    page,
)
from gql_imgproc.database.tables import products, requests
from gql_imgproc.enums import ProductStatus
from gql_imgproc.requests.repository.queries import PRODUCT_COLUMNS, Product
from gql_imgproc.requests.repository.snapshots import request_of_tenant

#: Larger than the position of any product.
_MAX_POSITION = 2**31 - 1


def products_page(
    connection: Connection,
    tenant_id: UUID,
    window: PageWindow,
    *,
    name_contains: str | None = None,
    status: ProductStatus | None = None,
) -> Page[Product]:
    """Products of all requests of the tenant; cursor keys are (ID,)."""
    search = partial(_products, connection, tenant_id, name_contains, status)
    if not name_contains:
        rows, _ = search(window)
        unsearched, bounds = select(products.c.id).where(*_products_of(tenant_id, status)), _product_bounds(window)
        has_earlier, has_later = has_rows_outside(connection, unsearched, (products.c.id,), bounds)
        return page(rows, window, has_earlier=has_earlier, has_later=has_later)
    return text_search.search_page(search, window, text_search.adjacent_id)


def _products(
    connection: Connection,
    tenant_id: UUID,
    name_contains: str | None,
    status: ProductStatus | None,
    window: PageWindow,
) -> tuple[list[tuple[CursorKey, Product]], CursorKey | None]:
    """Products of a window and one more, and the key where a search stopped at its limit, if it did."""
    columns, reached = (products.c.id,), None
    if name_contains:
        unsearched = select(products.c.id).where(*_products_of(tenant_id, status))
        beyond = text_search.find_search_limit(
            connection, apply_window(unsearched, columns, _product_bounds(window), window)
        )
        if beyond is not None:
            reached = text_search.adjacent_id(beyond, 1 if window.backward else -1)
            window = replace(window, after=beyond) if window.backward else replace(window, before=beyond)
    matches = products.c.tenant_id == tenant_id, *_matches(connection, name_contains, status)
    statement = select(*PRODUCT_COLUMNS).where(*matches)
    rows = connection.execute(apply_window(statement, columns, _product_bounds(window), window)).all()
    return [((row.id,), Product(*row)) for row in rows], reached


def _product_bounds(window: PageWindow) -> Bounds:
    return bounds_of(window, lambda key: (literal(key[0], products.c.id.type),))


def count_products(
    connection: Connection,
    tenant_id: UUID,
    *,
    name_contains: str | None = None,
    status: ProductStatus | None = None,
) -> int:
    if not name_contains and status is None:
        # The counters of the requests: counting a million rows is slow.
        statement = select(func.sum(requests.c.ingested_products)).where(requests.c.tenant_id == tenant_id)
        return connection.execute(statement).scalar_one() or 0
    matches = [products.c.tenant_id == tenant_id, *_matches(connection, name_contains, status)]
    if name_contains:
        unsearched = select(products.c.id).where(*_products_of(tenant_id, status)).order_by(products.c.id)
        beyond = text_search.find_search_limit(connection, unsearched)
        if beyond is not None:
            matches.append(products.c.id < beyond[0])
    return connection.execute(select(func.count()).select_from(products).where(*matches)).scalar_one()


def products_of_requests(
    connection: Connection,
    tenant_id: UUID,
    request_ids: Collection[UUID],
    window: PageWindow,
    *,
    name_contains: str | None = None,
    status: ProductStatus | None = None,
) -> dict[UUID, Page[Product]]:
    """The same window of the products of each request, in the order of its CSV; cursor keys are (position,)."""
    if name_contains:
        return {
            request_id: _search_in_request(connection, tenant_id, request_id, window, name_contains, status)
            for request_id in request_ids
        }
    matches = _matches(connection, None, status)
    if len(request_ids) == 1:
        (request_id,) = request_ids
        statement = _of_request(tenant_id, request_id, window, matches)
    else:
        statement = _windows(connection, tenant_id, request_ids, window, status)
    rows: dict[UUID, list[tuple[CursorKey, Product]]] = defaultdict(list)
    for row in connection.execute(statement):
        rows[row.request_id].append(((row.position,), Product(*row)))
    earlier, later = (
        set()
        if key is None
        else _with_products(connection, tenant_id, request_ids, beyond(products.c.position, key[0]), *matches)
        for key, beyond in ((window.after, operator.le), (window.before, operator.ge))
    )
    return {
        request_id: page(rows[request_id], window, has_earlier=request_id in earlier, has_later=request_id in later)
        for request_id in request_ids
    }


def _of_request(
    tenant_id: UUID, request_id: UUID, window: PageWindow, matches: Sequence[ColumnElement[bool]]
) -> Select[Any]:
    """A window of one request's products; rows beyond the window are not read."""
    own_request = select(requests.c.id).where(*request_of_tenant(tenant_id, request_id)).scalar_subquery()
    statement = select(*PRODUCT_COLUMNS).where(products.c.request_id == own_request, *matches)
    return apply_window(statement, (products.c.position,), bounds_of(window, lambda key: (literal(key[0]),)), window)


def _search_in_request(
    connection: Connection,
    tenant_id: UUID,
    request_id: UUID,
    window: PageWindow,
    name_contains: str,
    status: ProductStatus | None,
) -> Page[Product]:
    """A page of a search by name in one request."""
    matches = _matches(connection, name_contains, status)
    ingested = (
        connection.scalar(select(requests.c.ingested_products).where(*request_of_tenant(tenant_id, request_id))) or 0
    )
    return search_page(connection, window, ingested, lambda part: _of_request(tenant_id, request_id, part, matches))


def search_page(
    connection: Connection, window: PageWindow, ingested: int, select_part: Callable[[PageWindow], Select[Any]]
) -> Page[Product]:
    """A page of the products that `select_part` finds in a part of a window; one page searches `SEARCH_ROWS` rows."""

    def search(window: PageWindow) -> tuple[list[tuple[CursorKey, Product]], CursorKey | None]:
        searched, reached = text_search.search_window(window, ingested)
        rows = connection.execute(select_part(searched)).all()
        return [((row.position,), Product(*row)) for row in rows], reached

    return text_search.search_page(search, window, lambda key, step: (key[0] + step,))


def _windows(
    connection: Connection,
    tenant_id: UUID,
    request_ids: Collection[UUID],
    window: PageWindow,
    status: ProductStatus | None,
) -> Select[Any]:
    """The same window of each of several requests."""
    candidate = products.alias()

    def matching(table: Any) -> ColumnElement[bool]:
        terms = [table.c.request_id == requests.c.id]
        if window.after is not None:
            terms.append(table.c.position > window.after[0])
        if window.before is not None:
            terms.append(table.c.position < window.before[0])
        return and_(*terms, *_matches(connection, None, status, table))

    # The end of each request's window is found through the index, so that no row beyond it is read. A window function
    # would read all products of each request.
    end = (
        select(candidate.c.position)
        .where(matching(candidate))
        .order_by(candidate.c.position.desc() if window.backward else candidate.c.position)
        .limit(1)
        .offset(window.size)
        .correlate(requests)
        .scalar_subquery()
    )
    in_window = (
        products.c.position >= func.coalesce(end, 0)
        if window.backward
        else products.c.position <= func.coalesce(end, _MAX_POSITION)
    )
    order = products.c.position.desc() if window.backward else products.c.position
    return (
        select(*PRODUCT_COLUMNS)
        .select_from(requests)
        .join(products, matching(products))
        .where(requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id, in_window)
        .order_by(order)
    )


def _with_products(
    connection: Connection, tenant_id: UUID, request_ids: Collection[UUID], *where: ColumnElement[bool]
) -> set[UUID]:
    """The requests that have such a product."""
    visible = requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id
    matching = select(products.c.id).where(products.c.request_id == requests.c.id, *where).correlate(requests)
    statement = select(requests.c.id).where(*visible, matching.exists())
    return set(connection.execute(statement).scalars())


def count_products_of_requests(
    connection: Connection,
    tenant_id: UUID,
    request_ids: Collection[UUID],
    *,
    name_contains: str | None = None,
    status: ProductStatus | None = None,
) -> dict[UUID, int]:
    """How many matching products each request has; requests without any are left out."""
    visible = requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id
    if not name_contains and status is None:
        statement = select(requests.c.id, requests.c.ingested_products).where(*visible)
    else:
        statement = (
            select(products.c.request_id, func.count())
            .where(products.c.request_id.in_(select(requests.c.id).where(*visible)))
            .where(*_matches(connection, name_contains, status))
            .where(products.c.position < text_search.SEARCH_ROWS if name_contains else true())
            .group_by(products.c.request_id)
        )
    return {request_id: count for request_id, count in connection.execute(statement)}


def _products_of(tenant_id: UUID, status: ProductStatus | None) -> tuple[ColumnElement[bool], ...]:
    of_tenant = products.c.tenant_id == tenant_id
    return (of_tenant,) if status is None else (of_tenant, products.c.status == status)


def _matches(
    connection: Connection, name_contains: str | None, status: ProductStatus | None, table: Any = products
) -> list[ColumnElement[bool]]:
    terms: list[ColumnElement[bool]] = []
    if name_contains:
        terms.append(text_search.contains(connection, table.c.product_name, name_contains))
    if status is not None:
        terms.append(table.c.status == status)
    return terms
