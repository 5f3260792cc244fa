"""Comparisons of requests: what was added, changed, is gone, or is unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from gql_imgproc.database import text_search
from gql_imgproc.database.engine import Database
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.database.tables import products
from gql_imgproc.enums import ChangeKind, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.identity import ProductIdentities
from gql_imgproc.requests.repeated_urls import RepeatedUrls
from gql_imgproc.requests.repository import changes, create, retry, transitions
from gql_imgproc.requests.repository.changes import ChangeCounts, Comparison
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.renditions import Rendition
from gql_imgproc.requests.repository.results import record
from tests.support.api_keys import given_tenant
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    cancel_all,
    delete_all,
    finish,
    finished_image,
    given_request,
    reopen_all,
    reused_image,
    try_claim,
)

#: Serial number, name, and images of a product: their names in URLs, and the bytes at these; None for a failed one.
Row = tuple[str, str, Sequence[tuple[str, str | None]]]
#: What is stored of the bytes at a URL.
Stored = dict[str, Rendition]

YESTERDAY: list[Row] = [
    ("1", "chair", [("chair", "a"), ("chair-back", "b")]),
    ("2", "table", [("table", "c")]),
    ("3", "lamp", [("lamp", "d"), ("lamp-on", None)]),
    ("4", "sofa", [("sofa", "e")]),
]
TODAY: list[Row] = [
    ("5", "shelf", [("shelf", "f")]),
    # Unchanged, with its images in another order.
    ("1", "chair", [("chair-back", "b"), ("chair", "a")]),
    # Another name.
    ("2", "round table", [("table", "c")]),
    # An image with other bytes, one that failed again, and one more.
    ("3", "lamp", [("lamp", "D"), ("lamp-on", None), ("lamp-off", "g")]),
]


def given_finished(database: Database, rows: Sequence[Row], stored: Stored, **given: Any) -> UUID:
    """A finished request; images are reused if their bytes are stored."""
    images = {f"https://x.example/{name}": bytes_of for _, _, each in rows for name, bytes_of in each}
    request_id = given_request(
        database, total_products=len(rows), total_images=sum(len(images) for *_, images in rows), **given
    )
    repeated_urls, identities, chunk = RepeatedUrls(), ProductIdentities(), list[NewProduct]()
    for position, (serial, name, own) in enumerate(rows):
        urls = [f"https://x.example/{each}" for each, _ in own]
        repeats = repeated_urls.find(position, urls)
        chunk.append(NewProduct(position, serial, name, urls, repeats, identity=identities.identify(serial)))
    lease = database.write_now(transitions.acquire, request_id, 0)
    assert lease is not None
    database.write_now(create.insert_chunk, lease, chunk)
    process(database, request_id, images, stored)
    has_failed = None in images.values()
    status = RequestStatus.COMPLETED_WITH_ERRORS if has_failed else RequestStatus.COMPLETED
    assert finish(database, request_id, status) is not None
    if "tenant_id" not in given:
        assert_counters_equal_rows(database, request_id)
    return request_id


def process(database: Database, request_id: UUID, images: Mapping[str, str | None], stored: Stored) -> None:
    for image in try_claim(database, request_id, 100):
        content = images[image.url]
        if content is None:
            item = finished_image(image, FAILED)
        elif content in stored:
            item = reused_image(image, stored[content])
        else:
            item = finished_image(image, DONE, content.encode())
            stored[content] = item.outputs[0].rendition
        database.write_now(record, [item], [])


def compare(database: Database, request_id: UUID, earlier_id: UUID | None = None) -> Comparison:
    found = database.read_now(changes.find_comparison, DEFAULT_TENANT, request_id, earlier_id)
    assert found is not None
    return found


def find_earlier(database: Database, request_id: UUID, earlier_id: UUID | None = None) -> UUID | None:
    found = database.read_now(changes.find_comparison, DEFAULT_TENANT, request_id, earlier_id)
    return None if found is None else found.earlier.id


def count(database: Database, comparison: Comparison) -> tuple[ChangeCounts, ChangeCounts]:
    """Numbers of products and of images."""
    return (
        database.read_now(changes.count_products, DEFAULT_TENANT, comparison),
        database.read_now(changes.count_images, DEFAULT_TENANT, comparison),
    )


def list_products(database: Database, comparison: Comparison, kind: ChangeKind, size: int = 100) -> list[str]:
    """Serial numbers."""
    page = database.read_now(changes.products_page, DEFAULT_TENANT, comparison, PageWindow(size), kind)
    return [product.serial_number for _, product in page.rows]


def list_images(database: Database, comparison: Comparison, kind: ChangeKind) -> list[str]:
    """The ends of source URLs."""
    page = database.read_now(changes.images_page, DEFAULT_TENANT, comparison, PageWindow(100), kind)
    return [url.removeprefix("https://x.example/") for _, (_, url) in page.rows]


def test_products_and_images_are_found_by_kind(database: Database) -> None:
    # Given a catalogue that was uploaded yesterday, and again today with changes,
    stored: Stored = {}
    yesterday = given_finished(database, YESTERDAY, stored)
    today = given_finished(database, TODAY, stored)

    # when they are compared,
    comparison = compare(database, today)

    # then each product and image is of exactly one kind,
    assert comparison.earlier.id == yesterday
    assert {kind: list_products(database, comparison, kind) for kind in ChangeKind} == {
        ChangeKind.ADDED: ["5"],
        ChangeKind.CHANGED: ["2", "3"],
        ChangeKind.GONE: ["4"],
        ChangeKind.UNCHANGED: ["1"],
    }
    assert {kind: list_images(database, comparison, kind) for kind in ChangeKind} == {
        ChangeKind.ADDED: ["shelf", "lamp-off"],
        ChangeKind.CHANGED: ["lamp"],
        ChangeKind.GONE: ["sofa"],
        ChangeKind.UNCHANGED: ["chair-back", "chair", "table", "lamp-on"],
    }
    # and the counts are those of the lists.
    assert count(database, comparison) == (ChangeCounts(1, 2, 1, 1), ChangeCounts(2, 1, 1, 4))


def test_same_file_is_unchanged(database: Database) -> None:
    stored: Stored = {}
    given_finished(database, YESTERDAY, stored)
    again = given_finished(database, YESTERDAY, stored)

    comparison = compare(database, again)

    assert count(database, comparison) == (ChangeCounts(0, 0, 0, 4), ChangeCounts(0, 0, 0, 6))


def test_image_that_fails_or_recovers_is_changed(database: Database) -> None:
    stored: Stored = {}
    first = given_finished(database, [("1", "chair", [("chair", "a")])], stored)
    failed = given_finished(database, [("1", "chair", [("chair", None)])], stored)
    recovered = given_finished(database, [("1", "chair", [("chair", "a")])], stored)

    for earlier, later in ((first, failed), (failed, recovered)):
        comparison = compare(database, later, earlier)
        assert count(database, comparison) == (ChangeCounts(0, 1, 0, 0), ChangeCounts(0, 1, 0, 0))
    comparison = compare(database, recovered, first)
    assert count(database, comparison) == (ChangeCounts(0, 0, 0, 1), ChangeCounts(0, 0, 0, 1))


def test_retry_changes_the_comparison(database: Database) -> None:
    # Given an image that failed in the later request only,
    stored: Stored = {}
    first = given_finished(database, [("1", "chair", [("chair", "a")])], stored)
    later = given_finished(database, [("1", "chair", [("chair", None)])], stored)

    # when it is retried, then there is no comparison until that ends,
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, later) is not None
    assert find_earlier(database, later) is None
    reopen_all(database, later)
    process(database, later, {"https://x.example/chair": "a"}, stored)
    assert finish(database, later, RequestStatus.COMPLETED) is not None

    # and after it, nothing is changed.
    assert_counters_equal_rows(database, later)
    assert count(database, compare(database, later, first)) == (ChangeCounts(0, 0, 0, 1), ChangeCounts(0, 0, 0, 1))


def test_rows_of_one_product_are_compared_in_their_order(database: Database) -> None:
    """Rows of a shop's product that are not consecutive, or a product with too many images for one row."""
    stored: Stored = {}
    rows: list[Row] = [("mug", "mug", [("red", "a")]), ("cup", "cup", [("cup", "b")]), ("mug", "mug", [("blue", "c")])]
    given_finished(database, rows, stored)
    again = given_finished(database, [*rows[:2], ("mug", "mug", [("blue", "d")])], stored)

    comparison = compare(database, again)

    assert count(database, comparison) == (ChangeCounts(0, 1, 0, 2), ChangeCounts(0, 1, 0, 2))


def test_repeated_urls_are_compared_within_their_product(database: Database) -> None:
    # Given an image of two products, both repeated within one of them,
    stored: Stored = {}
    shared = [("shared", "a"), ("shared", "a")]
    first = given_finished(database, [("1", "chair", shared), ("2", "table", [("shared", "a")])], stored)

    # when the other product gets another one,
    later = given_finished(database, [("1", "chair", shared), ("2", "table", [("table", "b")])], stored)

    # then it is gone from that product only.
    comparison = compare(database, later, first)
    assert count(database, comparison) == (ChangeCounts(0, 1, 0, 1), ChangeCounts(1, 0, 1, 2))


def test_pages_have_every_match_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given ten products, of which every third has another name,
    stored: Stored = {}
    rows: list[Row] = [(str(n), "old", [(str(n), "a")]) for n in range(10)]
    given_finished(database, rows, stored)
    renamed = [(serial, "new" if int(serial) % 3 == 0 else name, images) for serial, name, images in rows]
    comparison = compare(database, given_finished(database, renamed, stored))
    # and pages that search two products at most,
    monkeypatch.setattr(text_search, "SEARCH_ROWS", 2)

    # when they are read from the start,
    found, after, pages = list[str](), None, 0
    while True:
        window = PageWindow(2, after)
        page = database.read_now(changes.products_page, DEFAULT_TENANT, comparison, window, ChangeKind.CHANGED)
        found += [product.serial_number for _, product in page.rows]
        pages += 1
        after = page.reached or (page.rows[-1][0] if page.has_more else None)
        if after is None:
            break

    # then they have each changed product once.
    assert (found, pages) == (["0", "3", "6", "9"], 5)


def test_earlier_request_is_the_last_completed_one_with_the_same_name(database: Database) -> None:
    stored: Stored = {}
    rows: list[Row] = [("1", "chair", [("chair", "a")])]
    first = given_finished(database, rows, stored)
    second = given_finished(database, rows, stored)
    given_finished(database, rows, stored, csv_filename="other.csv")
    given_finished(database, rows, stored, tenant_id=given_tenant(database, "other"))
    cancelled = given_request(database, 1)
    database.write_now(transitions.stop, DEFAULT_TENANT, cancelled, transitions.TerminationReason.CANCELLED)
    lease = cancel_all(database, cancelled)
    final = transitions.FinalState(RequestStatus.CANCELLED, None, None)
    assert database.write_now(transitions.finish, lease, final) is not None
    third = given_finished(database, rows, stored)
    given_finished(database, rows, stored)
    unfinished = given_request(database, 1)

    assert [find_earlier(database, id) for id in (first, second, third, unfinished)] == [None, first, second, None]
    # Any finished request of the tenant can be named.
    assert [find_earlier(database, third, id) for id in (first, third, cancelled)] == [first, third, cancelled]
    assert find_earlier(database, third, unfinished) is None


def test_other_tenants_and_deleted_requests_are_not_found(database: Database) -> None:
    stored: Stored = {}
    rows: list[Row] = [("1", "chair", [("chair", "a")])]
    foreign = given_finished(database, rows, {}, tenant_id=given_tenant(database, "other"))
    earlier = given_finished(database, rows, stored)
    later = given_finished(database, rows, stored)

    assert find_earlier(database, later, foreign) is None
    assert database.read_now(changes.find_comparison, DEFAULT_TENANT, foreign, earlier) is None

    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, earlier) is not None
    assert [find_earlier(database, later), find_earlier(database, later, earlier)] == [None, None]
    delete_all(database, earlier)
    assert [find_earlier(database, later), find_earlier(database, later, earlier)] == [None, None]


def test_requests_of_earlier_versions_are_not_compared(database: Database) -> None:
    stored: Stored = {}
    rows: list[Row] = [("1", "chair", [("chair", "a")])]
    earlier = given_finished(database, rows, stored)
    later = given_finished(database, rows, stored)
    without = update(products).where(products.c.request_id == earlier).values(identity=None, fingerprint=None)
    database.write_now(lambda connection: connection.execute(without))

    assert [find_earlier(database, later), find_earlier(database, later, earlier)] == [None, None]
