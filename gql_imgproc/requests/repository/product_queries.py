"""Pages of products for the API: of a tenant or of requests, filtered by status and by name.

Each takes the caller's tenant, as in `queries`.
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select, true

from gql_imgproc.database import text_search
from gql_imgproc.database.pagination import CursorKey, Page, PageWindow, apply_window, page, read_page
from gql_imgproc.database.tables import products, requests
from gql_imgproc.enums import ProductStatus
from gql_imgproc.requests.repository.queries import PRODUCT_COLUMNS, Product, ingested_products
from gql_imgproc.requests.repository.snapshots import request_of_tenant

#: Larger than the position of any product.
_MAX_POSITION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """Selects products by name and status."""

    name_contains: str | None = None
    status: ProductStatus | None = None

    def terms(self, connection: Connection, table: Any = products) -> list[ColumnElement[bool]]:
        terms = [] if self.status is None else [table.c.status == self.status]
        if self.name_contains:
            terms.append(text_search.contains(connection, table.c.product_name, self.name_contains))
        return terms


ALL_PRODUCTS = ProductFilter()
#: Identifies a page of the products of a request, and their number.
PageKey: TypeAlias = tuple[UUID, PageWindow, ProductFilter]
CountKey: TypeAlias = tuple[UUID, ProductFilter]


def products_page(
    connection: Connection, tenant_id: UUID, window: PageWindow, filter: ProductFilter = ALL_PRODUCTS
) -> Page[Product]:
    """Products of all requests of the tenant; cursor keys are (ID,)."""
    columns = (products.c.id,)
    matches = products.c.tenant_id == tenant_id, *filter.terms(connection)
    statement = select(*PRODUCT_COLUMNS).where(*matches)
    if not filter.name_contains:
        return read_page(connection, statement, columns, window, lambda row: ((row.id,), Product(*row)))

    def search(window: PageWindow) -> tuple[list[tuple[CursorKey, Product]], CursorKey | None]:
        reached, unsearched = None, _without_search(connection, tenant_id, filter)
        beyond = text_search.find_search_limit(connection, apply_window(unsearched, columns, window))
        if beyond is not None:
            reached = text_search.adjacent_id(beyond, 1 if window.backward else -1)
            window = replace(window, after=beyond) if window.backward else replace(window, before=beyond)
        rows = connection.execute(apply_window(statement, columns, window)).all()
        return [((row.id,), Product(*row)) for row in rows], reached

    return text_search.search_page(search, window, text_search.adjacent_id)


def count_products(connection: Connection, tenant_id: UUID, filter: ProductFilter = ALL_PRODUCTS) -> int:
    if not filter.name_contains and filter.status is None:
        # The counters of the requests: counting a million rows is slow.
        statement = select(func.sum(requests.c.ingested_products)).where(requests.c.tenant_id == tenant_id)
        return connection.execute(statement).scalar_one() or 0
    matches = [products.c.tenant_id == tenant_id, *filter.terms(connection)]
    if filter.name_contains:
        unsearched = _without_search(connection, tenant_id, filter).order_by(products.c.id)
        beyond = text_search.find_search_limit(connection, unsearched)
        if beyond is not None:
            matches.append(products.c.id < beyond[0])
    return connection.execute(select(func.count()).select_from(products).where(*matches)).scalar_one()


def _without_search(connection: Connection, tenant_id: UUID, filter: ProductFilter) -> Select[Any]:
    """The IDs of the products among which a name is searched."""
    terms = ProductFilter(status=filter.status).terms(connection)
    return select(products.c.id).where(products.c.tenant_id == tenant_id, *terms)


def pages_of_requests(
    connection: Connection, tenant_id: UUID, keys: Collection[PageKey]
) -> dict[PageKey, Page[Product]]:
    groups: defaultdict[tuple[PageWindow, ProductFilter], set[UUID]] = defaultdict(set)
    for request_id, window, filter in keys:
        groups[window, filter].add(request_id)
    return {
        (request_id, window, filter): found
        for (window, filter), ids in groups.items()
        for request_id, found in products_of_requests(connection, tenant_id, ids, window, filter).items()
    }


def products_of_requests(
    connection: Connection,
    tenant_id: UUID,
    request_ids: Collection[UUID],
    window: PageWindow,
    filter: ProductFilter = ALL_PRODUCTS,
) -> dict[UUID, Page[Product]]:
    """The same window of the products of each request, in the order of its CSV; cursor keys are (position,)."""
    matches = filter.terms(connection)
    if filter.name_contains:
        return {
            id: search_page(
                connection,
                window,
                ingested_products(connection, tenant_id, id),
                _of_request(tenant_id, id).where(*matches),
            )
            for id in request_ids
        }
    if len(request_ids) == 1:
        # Rows beyond the window are not read.
        statement = _of_request(tenant_id, *request_ids).where(*matches)
        statement = apply_window(statement, (products.c.position,), window)
    else:
        statement = _windows(connection, tenant_id, request_ids, window, filter)
    rows: dict[UUID, list[tuple[CursorKey, Product]]] = defaultdict(list)
    for row in connection.execute(statement):
        rows[row.request_id].append(((row.position,), Product(*row)))
    earlier, later = (
        set()
        if key is None
        else _with_products(connection, tenant_id, request_ids, beyond(products.c.position, key[0]), *matches)
        for key, beyond in ((window.after, operator.le), (window.before, operator.ge))
    )
    return {id: page(rows[id], window, has_earlier=id in earlier, has_later=id in later) for id in request_ids}


def _of_request(tenant_id: UUID, request_id: UUID) -> Select[Any]:
    own_request = select(requests.c.id).where(*request_of_tenant(tenant_id, request_id)).scalar_subquery()
    return select(*PRODUCT_COLUMNS).where(products.c.request_id == own_request)


def search_page(connection: Connection, window: PageWindow, ingested: int, statement: Select[Any]) -> Page[Product]:
    """A page of the products that a statement finds; one page searches `SEARCH_ROWS` products."""
    columns = (products.c.position,)
    return text_search.page_by_position(
        connection, statement, columns, window, ingested, lambda row: ((row.position,), Product(*row))
    )


def _windows(
    connection: Connection, tenant_id: UUID, request_ids: Collection[UUID], window: PageWindow, filter: ProductFilter
) -> Select[Any]:
    """The same window of each of several requests."""
    candidate = products.alias()

    def matching(table: Any) -> ColumnElement[bool]:
        terms = [table.c.request_id == requests.c.id, *filter.terms(connection, table)]
        if window.after is not None:
            terms.append(table.c.position > window.after[0])
        if window.before is not None:
            terms.append(table.c.position < window.before[0])
        return and_(*terms)

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


def counts_of_requests(connection: Connection, tenant_id: UUID, keys: Collection[CountKey]) -> dict[CountKey, int]:
    """How many matching products each request has."""
    groups: defaultdict[ProductFilter, set[UUID]] = defaultdict(set)
    for request_id, filter in keys:
        groups[filter].add(request_id)
    counts = dict.fromkeys(keys, 0)
    for filter, request_ids in groups.items():
        visible = requests.c.id.in_(request_ids), requests.c.tenant_id == tenant_id
        if filter == ALL_PRODUCTS:
            statement = select(requests.c.id, requests.c.ingested_products).where(*visible)
        else:
            statement = (
                select(products.c.request_id, func.count())
                .where(products.c.request_id.in_(select(requests.c.id).where(*visible)), *filter.terms(connection))
                .where(products.c.position < text_search.SEARCH_ROWS if filter.name_contains else true())
                .group_by(products.c.request_id)
            )
        counts.update({(id, filter): count for id, count in connection.execute(statement)})
    return counts
