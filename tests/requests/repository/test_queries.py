"""Keyset pages, counts, and batched reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.database.tables import products, requests
from gql_imgproc.enums import ProductStatus, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests.repository import create, product_queries, queries
from gql_imgproc.requests.repository.product_queries import ProductFilter
from tests.support.scenarios import acquire_lease, given_request


def requests_page(database: Database, window: PageWindow, **wanted: Any) -> Page[Any]:
    return database.read_now(queries.requests_page, DEFAULT_TENANT, window, **wanted)


def products_page(database: Database, window: PageWindow, **wanted: Any) -> Page[Any]:
    return database.read_now(product_queries.products_page, DEFAULT_TENANT, window, ProductFilter(**wanted))


def products_of(database: Database, request_ids: list[UUID], window: PageWindow, **wanted: Any) -> dict[UUID, Any]:
    wanted_filter = ProductFilter(**wanted)
    return database.read_now(product_queries.products_of_requests, DEFAULT_TENANT, request_ids, window, wanted_filter)


def counts_of(database: Database, request_id: UUID, *filters: ProductFilter) -> list[int]:
    keys = [(request_id, filter) for filter in filters]
    counts = database.read_now(product_queries.counts_of_requests, DEFAULT_TENANT, keys)
    return [counts[key] for key in keys]


def walk(page_of: Callable[[PageWindow], Page[Any]], size: int, *, backward: bool = False) -> list[Any]:
    """Reads all pages of a list and returns their rows."""
    found: list[Any] = []
    window = PageWindow(size, backward=backward)
    while True:
        page = page_of(window)
        rows = [row for _, row in page.rows]
        found = [*rows, *found] if backward else [*found, *rows]
        if not page.has_more:
            return found
        edge = page.rows[0 if backward else -1][0]
        window = PageWindow(size, before=edge, backward=True) if backward else PageWindow(size, after=edge)


def given_names(database: Database, *names: str) -> UUID:
    """A request whose products have these names."""
    request_id = given_request(database, *(1 for _ in names))
    for position, name in enumerate(names):
        statement = update(products).where(products.c.request_id == request_id, products.c.position == position)
        database.write_now(lambda connection, s=statement, n=name: connection.execute(s.values(product_name=n)))
    return request_id


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_request_pages_are_complete_and_ordered(database: Database, oldest_first: bool, backward: bool) -> None:
    made = [given_request(database, 1) for _ in range(10)]

    found = walk(lambda window: requests_page(database, window, oldest_first=oldest_first), size=3, backward=backward)

    assert [row.id for row in found] == (made if oldest_first else made[::-1])


def test_requests_created_at_the_same_time_are_paged_once_each(database: Database) -> None:
    made = [given_request(database, 1) for _ in range(7)]
    moment = requests_page(database, PageWindow(1)).rows[0][1].created_at
    database.write_now(Connection.execute, update(requests).values(created_at=moment))

    found = walk(lambda window: requests_page(database, window), size=2)

    assert [row.id for row in found] == sorted(made, reverse=True)


def test_page_does_not_shift_when_requests_are_added(database: Database) -> None:
    made = [given_request(database, 1) for _ in range(4)]
    first = requests_page(database, PageWindow(2))

    given_request(database, 1)
    second = requests_page(database, PageWindow(2, after=first.rows[-1][0]))
    newer = requests_page(database, PageWindow(5, before=first.rows[0][0], backward=True))

    assert [row.id for _, row in second.rows] == [made[1], made[0]]
    assert not second.has_more
    assert len(newer.rows) == 1


def test_page_between_two_keys(database: Database) -> None:
    made = [given_request(database, 1) for _ in range(5)]
    keys = [key for key, _ in requests_page(database, PageWindow(5, backward=False), oldest_first=True).rows]

    between = requests_page(database, PageWindow(9, after=keys[0], before=keys[4]), oldest_first=True)
    last = requests_page(database, PageWindow(1, after=keys[0], before=keys[4], backward=True), oldest_first=True)

    assert [row.id for _, row in between.rows] == made[1:4]
    assert [row.id for _, row in last.rows] == [made[3]]
    assert (between.has_more, last.has_more) == (False, True)


def test_requests_filtered_by_status(database: Database) -> None:
    kept = given_request(database, 1)
    failed = given_request(database, 1)
    statement = update(requests).where(requests.c.id == failed).values(status=RequestStatus.FAILED)
    database.write_now(Connection.execute, statement)

    page = requests_page(database, PageWindow(5), filter=queries.RequestFilter(RequestStatus.PENDING))
    wanted = queries.RequestFilter(RequestStatus.FAILED)
    count = database.read_now(queries.count_requests, DEFAULT_TENANT, filter=wanted)

    assert [row.id for _, row in page.rows] == [kept]
    assert count == 1


@pytest.mark.parametrize("backward", [False, True])
def test_product_pages_of_several_requests(database: Database, backward: bool) -> None:
    small, large, empty = given_request(database, 1, 1), given_request(database, *[1] * 7), new_id()

    pages = products_of(database, [small, large, empty], PageWindow(3, backward=backward))

    positions = {request_id: [key for key, _ in page.rows] for request_id, page in pages.items()}
    assert positions == {
        small: [(0,), (1,)],
        large: [(4,), (5,), (6,)] if backward else [(0,), (1,), (2,)],
        empty: [],
    }
    assert {request_id: page.has_more for request_id, page in pages.items()} == {
        small: False,
        large: True,
        empty: False,
    }


@pytest.mark.parametrize("backward", [False, True])
def test_search_within_a_request_continues_across_pages(database: Database, backward: bool) -> None:
    request_id = given_names(database, "Red sock", "Blue sock", "RED lamp", "red_x", "Tired", "Green")
    given_names(database, "Red in another request")

    found = walk(
        lambda window: products_of(database, [request_id], window, name_contains="red")[request_id],
        size=2,
        backward=backward,
    )
    literal = products_of(database, [request_id], PageWindow(9), name_contains="d_")[request_id]
    failed = products_of(database, [request_id], PageWindow(9), name_contains="red", status=ProductStatus.FAILED)
    counts = counts_of(database, request_id, ProductFilter("red"))

    assert [row.product_name for row in found] == ["Red sock", "RED lamp", "red_x", "Tired"]
    assert [row.product_name for _, row in literal.rows] == ["red_x"]
    assert failed[request_id].rows == []
    assert counts == [4]


def test_search_page_flags_ignore_products_that_do_not_match(database: Database) -> None:
    alone = given_names(database, "Blue sock", "Red sock", "Blue lamp")
    among = given_names(database, "Red sock", "Red lamp", "Red hat")

    pages = products_of(database, [alone, among], PageWindow(9, after=(0,), before=(2,)), name_contains="red")

    assert [len(pages[request_id].rows) for request_id in (alone, among)] == [1, 1]
    assert (pages[alone].has_earlier, pages[alone].has_later) == (False, False)
    assert (pages[among].has_earlier, pages[among].has_later) == (True, True)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_product_pages_contain_every_product_once(database: Database, size: int, backward: bool) -> None:
    request_id = given_request(database, *[1] * 7)

    found = walk(lambda window: products_of(database, [request_id], window)[request_id], size=size, backward=backward)

    assert [row.position for row in found] == list(range(7))


def test_products_of_requests_filtered_by_status(database: Database) -> None:
    request_id = given_request(database, *[1] * 6)
    odd = update(products).where(products.c.position.in_([1, 3, 5])).values(status=ProductStatus.FAILED)
    database.write_now(Connection.execute, odd)

    page = products_of(database, [request_id], PageWindow(2), status=ProductStatus.FAILED)[request_id]
    rest = products_of(database, [request_id], PageWindow(2, after=page.rows[-1][0]), status=ProductStatus.FAILED)[
        request_id
    ]
    statuses = None, ProductStatus.FAILED, ProductStatus.COMPLETED
    counts = counts_of(database, request_id, *(ProductFilter(status=status) for status in statuses))

    assert [row.position for _, row in page.rows] == [1, 3]
    assert page.has_more
    assert [row.position for _, row in rest.rows] == [5]
    assert not rest.has_more
    assert counts == [6, 3, 0]


def test_empty_page_reports_more_rows(database: Database) -> None:
    request_id = given_request(database, 1)

    page = products_of(database, [request_id], PageWindow(0))[request_id]
    whole = requests_page(database, PageWindow(0))

    assert (page.rows, page.has_more) == ([], True)
    assert (list(whole.rows), whole.has_more) == ([], True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100%", ["100% cotton"]),
        ("a_b", ["a_b"]),
        ("COTTON", ["100% cotton", "Cotton sock"]),
        ("äpfel", ["ÄPFEL"]),
        ("Äpf", ["ÄPFEL"]),
        ("*", ["*star*"]),
        ("[x]?", ["[x]?"]),
        ("\\", ["back\\slash"]),
        ("nothing has this", []),
    ],
)
def test_search_is_literal_and_ignores_case(database: Database, text: str, expected: list[str]) -> None:
    given_names(database, "100% cotton", "Cotton sock", "a_b", "axb", "ÄPFEL", "*star*", "[x]?", "x", "back\\slash")

    page = products_page(database, PageWindow(20), name_contains=text)
    count = database.read_now(product_queries.count_products, DEFAULT_TENANT, ProductFilter(text))

    assert sorted(row.product_name for _, row in page.rows) == expected
    assert count == len(expected)


def test_products_of_all_requests_are_ordered_by_id(database: Database) -> None:
    first, second = given_request(database, 1, 1, 1), given_request(database, 1, 1)

    found = walk(lambda window: products_page(database, window), size=2)
    back = walk(lambda window: products_page(database, window), size=2, backward=True)
    count = database.read_now(product_queries.count_products, DEFAULT_TENANT)

    assert [row.id for row in found] == sorted(row.id for row in found)
    assert [row.id for row in back] == [row.id for row in found]
    assert {row.request_id for row in found} == {first, second}
    assert len(found) == count == 5


def test_single_objects_are_found_only_by_their_tenant(database: Database) -> None:
    request_id = given_request(database, 2)
    product_id = products_page(database, PageWindow(1)).rows[0][1].id

    request = database.read_now(queries.get_request, DEFAULT_TENANT, request_id)
    product = database.read_now(queries.get_product, DEFAULT_TENANT, product_id)
    by_product = database.read_now(queries.images_of_products, DEFAULT_TENANT, [product_id, request_id])
    second = by_product[product_id][1]
    image = database.read_now(queries.get_image, DEFAULT_TENANT, second.id)
    nothing = [
        database.read_now(query, *asked)
        for query, own in (
            (queries.get_request, request_id),
            (queries.get_product, product_id),
            (queries.get_image, second.id),
        )
        # An unknown ID, and an object of another tenant.
        for asked in ((DEFAULT_TENANT, new_id()), (new_id(), own))
    ]

    assert request is not None
    assert (request.id, request.total_images) == (request_id, 2)
    assert product is not None
    assert product.product_name == "product 0"
    assert [row.position for row in by_product[product_id]] == [0, 1]
    assert by_product[request_id] == []
    assert image == (second, "https://x.example/0/1")
    assert nothing == [None] * 6


def test_product_count_grows_with_ingestion(database: Database) -> None:
    request_id = given_request(database, 1, total_products=2, total_images=2)
    before = database.read_now(product_queries.count_products, DEFAULT_TENANT)

    more = [create.NewProduct(1, "2", "second", ["https://x.example/2"])]
    held = acquire_lease(database, request_id)
    database.write_now(create.insert_chunk, held, more)
    after = database.read_now(product_queries.count_products, DEFAULT_TENANT)

    assert (before, after) == (1, 2)
