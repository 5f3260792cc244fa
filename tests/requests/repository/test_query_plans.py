"""Query plans: pages are read through an index, and their cost does not grow with the table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, select, text

from gql_imgproc.access import audit_log, key_repository
from gql_imgproc.database.engine import Database
from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.database.tables import metadata, products
from gql_imgproc.enums import (
    AuditAction,
    ChangeKind,
    ProductStatus,
    RequestFailureCode,
    RequestStatus,
    TerminationReason,
)
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import (
    cancel,
    changes,
    claims,
    cleanups,
    create,
    delete,
    image_queries,
    lanes,
    product_queries,
    queries,
    renditions,
    results,
    retry,
    transitions,
    webhook_outbox,
    work_queries,
)
from gql_imgproc.requests.repository.changes import Comparison
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.requests.repository.output_rows import read_output_rows
from gql_imgproc.requests.repository.product_queries import ProductFilter
from gql_imgproc.requests.repository.transitions import FinalState
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.storage.paths import image_key, object_name
from tests.conftest import migrated_database
from tests.support.scenarios import FAILED, finished_image, get_snapshot, given_request, given_urls, ready_lanes

CREATED_AT, ID = 1_700_000_000.0, UUID(int=1 << 100)
WINDOWS: dict[str, Callable[[Any], PageWindow]] = {
    "first": lambda _: PageWindow(2),
    "last": lambda _: PageWindow(2, backward=True),
    "after": lambda key: PageWindow(2, after=key),
    "before": lambda key: PageWindow(2, before=key, backward=True),
    "between": lambda key: PageWindow(2, after=key, before=key),
    "between, backward": lambda key: PageWindow(2, after=key, before=key, backward=True),
}
Read = Callable[[Connection, PageWindow, list[UUID]], Any]
PAGES: dict[str, tuple[Any, Read]] = {
    **{
        f"requests, status {status}, {'oldest' if oldest else 'newest'} first": (
            (CREATED_AT, ID),
            lambda connection, window, _, status=status, oldest=oldest: queries.requests_page(
                connection, DEFAULT_TENANT, window, filter=queries.RequestFilter(status), oldest_first=oldest
            ),
        )
        for status in (None, RequestStatus.FAILED)
        for oldest in (False, True)
    },
    **{
        f"products, name {name}, status {status}": (
            (ID,),
            lambda connection, window, _, name=name, status=status: product_queries.products_page(
                connection, DEFAULT_TENANT, window, ProductFilter(name, status)
            ),
        )
        for name in (None, "shirt")
        for status in (None, ProductStatus.FAILED)
    },
    **{
        f"products of requests, status {status}": (
            (3,),
            lambda connection, window, ids, status=status: product_queries.products_of_requests(
                connection, DEFAULT_TENANT, ids, window, ProductFilter(status=status)
            ),
        )
        for status in (None, ProductStatus.FAILED)
    },
    "images by similarity": (
        (50.0, ID),
        lambda connection, window, ids: image_queries.images_by_similarity(connection, DEFAULT_TENANT, ids[0], window),
    ),
    "API keys": ((ID,), lambda connection, window, _: key_repository.keys_page(connection, DEFAULT_TENANT, window)),
    **{
        f"audit log, action {action}, subject {subject}": (
            (ID,),
            lambda connection, window, _, action=action, subject=subject: audit_log.events_page(
                connection, DEFAULT_TENANT, window, action=action, subject_id=subject
            ),
        )
        for action, subject in ((None, None), (AuditAction.REQUEST_DELETED, None), (None, "req_x"))
    },
}


#: Not `products of requests`: with few products in a request, PostgreSQL takes either index.
FILTERED_BY_STATUS = [
    name for name in PAGES if "status" in name and "status None" not in name and "products of requests" not in name
]


class Plans:
    """Collects the query plan of each statement, one line per step."""

    def __init__(self, database: Database, *, writing: bool = False) -> None:
        self._engine = database._writer if writing else database._reader
        self._sqlite = database.sqlite
        self._is_explaining = False
        self.steps: list[str] = []

    def __enter__(self) -> Plans:
        event.listen(self._engine, "before_cursor_execute", self._explain)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._explain)

    def _explain(self, connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self._is_explaining or not statement.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            return
        if isinstance(parameters, list):
            # A statement that is executed for several rows.
            parameters = parameters[0]
        self._is_explaining = True
        try:
            if self._sqlite:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                self.steps += [row[3] for row in rows]
            else:
                found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
                plan = found if isinstance(found, list) else json.loads(found)
                self.steps += list(_steps(plan[0]["Plan"]))
        finally:
            self._is_explaining = False


def _steps(plan: dict[str, Any]) -> Iterator[str]:
    where = plan.get("Index Name") or plan.get("Relation Name") or ""
    yield f"{plan['Node Type']} {where} {plan.get('Index Cond', '')}"
    for inner in plan.get("Plans", ()):
        yield from _steps(inner)


def steps(database: Database, read: Callable[[Connection], Any], *, writing: bool = False) -> list[str]:
    def work(connection: Connection) -> None:
        if not database.sqlite:
            # Otherwise PostgreSQL scans tables that have few rows.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        read(connection)

    with Plans(database, writing=writing) as plans:
        (database.write_now if writing else database.read_now)(work)
    return plans.steps


def grows_with_the_table(step: str) -> bool:
    """Whether the step scans or sorts a whole table; an index scan ends with the page."""
    return (
        "Seq Scan" in step
        or step.startswith(("Sort", "Incremental Sort"))
        or "TEMP B-TREE" in step
        or (step.startswith("SCAN") and "USING INDEX" not in step and "USING COVERING INDEX" not in step)
    )


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def read_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, UUID]]:
    """A database with one request; tests that only read share it."""
    with migrated_database(request, tmp_path_factory.mktemp("plans")) as url:
        opened = Database(url)
        yield opened, given_request(opened, 1)
        opened.close()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", PAGES)
def test_page_is_read_through_an_index(read_database: tuple[Database, UUID], name: str, window: str) -> None:
    database, request_id = read_database
    key, read = PAGES[name]
    page_window = WINDOWS[window](key)

    found = steps(database, lambda connection: read(connection, page_window, [request_id]))

    assert found
    growing = [step for step in found if grows_with_the_table(step)]
    if name.startswith("products of requests"):
        # The rows of the page are sorted after other steps have found them.
        assert len(growing) <= 1
        assert all("Sort" in step or "TEMP B-TREE FOR ORDER BY" in step for step in growing)
    else:
        assert growing == []


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", FILTERED_BY_STATUS)
def test_page_filtered_by_status_reads_only_that_status(
    read_database: tuple[Database, UUID], name: str, window: str
) -> None:
    database, request_id = read_database
    key, read = PAGES[name]

    found = steps(database, lambda connection: read(connection, WINDOWS[window](key), [request_id]))

    through = [step for step in found if "Scan" in step or step.startswith(("SCAN", "SEARCH"))]
    assert through
    assert [step for step in through if "status" not in step.replace("_status_", "")] == []


def test_full_table_scan_is_detected(read_database: tuple[Database, UUID]) -> None:
    database, _ = read_database

    found = steps(
        database,
        lambda connection: connection.execute(select(products.c.id).order_by(products.c.product_name)).all(),
    )

    assert any(grows_with_the_table(step) for step in found)


def test_images_of_products_are_read_through_an_index(read_database: tuple[Database, UUID]) -> None:
    database, request_id = read_database

    found = steps(database, lambda connection: queries.images_of_products(connection, DEFAULT_TENANT, [request_id]))

    assert any("uq_images_product_id_position" in step for step in found)
    # The images found are sorted.
    assert sum(grows_with_the_table(step) for step in found) <= 1
    assert not any("Seq Scan" in step or step.startswith("SCAN") for step in found)


def test_no_statement_on_a_request_scans_a_table(database: Database) -> None:
    """The cost of each statement, from the first claim to the deletion, depends on its chunk and not on the table."""
    urls = [["https://x.example/same"], ["https://x.example/other", "https://x.example/same"]]
    rows = {"total_products": 3, "total_images": 4}
    request_id = given_urls(database, *urls, webhook_url="https://hooks.example", **rows)
    found: list[str] = []

    def do(statement: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        results = []

        def run(connection: Connection) -> None:
            results.append(statement(connection, *arguments, **options))

        found.extend(steps(database, run, writing=True))
        return results[-1]

    _run_life_cycle(do, request_id)

    assert len(found) > 60
    tables = tuple(f"SCAN {table}" for table in metadata.tables)
    assert [step for step in found if "Seq Scan" in step or (step.startswith(tables) and "USING" not in step)] == []
    for index in (
        "ix_images_failed_in_order",
        "ix_images_failed_for_now",
        "ix_images_original_id",
        "ix_requests_not_done",
    ):
        assert any(index in step for step in found)


def _run_life_cycle(do: Callable[..., Any], request_id: UUID) -> None:
    """Inserts, claims, fails, stops, retries twice, cancels and deletes a request of three products."""
    lease = do(transitions.acquire, request_id, 60)
    do(create.insert_chunk, lease, [NewProduct(2, "3", "p", ["https://x.example/same"], {0: (0, 0)})])
    do(transitions.release, lease)
    wanted = do(ready_lanes, request_id)
    image, returned = do(claims.claim_images, dict.fromkeys(wanted, 8), {}, 60).images
    do(claims.renew_leases, [image, returned], 60)
    do(claims.mark_crash_suspect, image)
    do(claims.unmark_crash_suspect, image)
    failed = FinishedImage(image, replace(FAILED, error_retryable=True))
    do(results.record, [failed], [ReturnedImage(returned, ReturnReason.REFUSED)])
    do(cleanups.legacy_key_stems, [image.id])
    do(cleanups.filter_storing, [request_id])
    do(cleanups.filter_renditions, [image_key(request_id, object_name(request_id, "jpg"))])
    item = finished_image(image)
    assert item.source is not None
    key = item.outputs[0].rendition.content_id, image.fingerprints[0]
    do(renditions.find_known, [(item.source.id, image.fingerprints)])
    do(renditions.find, [key])
    do(renditions.of_same_source, item.outputs[0].rendition.id, [item.outputs[0].rendition.id])
    do(renditions.replace, [item.outputs[0].rendition])
    do(renditions.use, {item.outputs[0].rendition: DEFAULT_TENANT}, [])
    do(renditions.upsert_sources, [item.source])
    do(renditions.plan_check, [item.outputs[0].rendition.id])
    do(renditions.end_unused, 500)
    do(renditions.delete_ended, [item.outputs[0].rendition])
    do(work_queries.list_waiting, request_id, 500)
    do(work_queries.list_overdue, 0, 500)
    for start_retry in (retry.start_auto_retry, retry.start_retry):
        do(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE)
        lease = do(transitions.acquire, request_id, 60)
        do(transitions.renew, lease, 60)
        do(cancel.cancel_chunk, lease)
        do(read_output_rows, request_id, 0, 1_000)
        failure_code = RequestFailureCode.DEADLINE if start_retry is retry.start_retry else None
        final = FinalState(RequestStatus.FAILED, failure_code, "output-1.csv", max_auto_retries=1)
        assert do(transitions.finish, lease, final) is not None
        do(webhook_outbox.list_due, 500)
        do(retry.list_due_auto_retries, 500)
        assert do(start_retry, DEFAULT_TENANT, request_id) is not None
        lease = do(transitions.acquire, request_id, 60)
        do(retry.reopen_chunk, lease)
        do(transitions.start_finishing, lease)
        do(transitions.release, lease)
    do(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    lease = do(transitions.acquire, request_id, 60)
    do(cancel.cancel_chunk, lease)
    assert do(transitions.finish, lease, FinalState(RequestStatus.CANCELLED, None, "output-1.csv")) is not None
    do(work_queries.list_expired, 0, 500)
    do(cleanups.list_due, 500)
    assert do(transitions.start_deletion, DEFAULT_TENANT, request_id)
    assert do(delete.delete_chunk, do(transitions.acquire, request_id, 60))


COMPARISONS: dict[str, Callable[[Connection, Comparison], Any]] = {
    "find": lambda connection, pair: changes.find_comparison(connection, DEFAULT_TENANT, pair.request.id),
    "find by ID": lambda connection, pair: changes.find_comparison(
        connection, DEFAULT_TENANT, pair.request.id, pair.earlier.id
    ),
    "count products": lambda connection, pair: changes.count_products(connection, DEFAULT_TENANT, pair),
    "count images": lambda connection, pair: changes.count_images(connection, DEFAULT_TENANT, pair),
    **{
        f"{name} {kind}": lambda connection, pair, read=read, kind=kind: read(
            connection, DEFAULT_TENANT, pair, PageWindow(2), kind
        )
        for name, read in (("products", changes.products_page), ("images", changes.images_page))
        for kind in ChangeKind
    },
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_requests_are_compared_through_indexes(read_database: tuple[Database, UUID], name: str) -> None:
    database, request_id = read_database
    request = get_snapshot(database, request_id)

    found = steps(database, lambda connection: COMPARISONS[name](connection, Comparison(request, request)))

    assert [step for step in found if "Seq Scan" in step or step.startswith("SCAN")] == []
    if name == "find":
        assert any("ix_requests_tenant_id_csv_filename_created_at_id" in step for step in found)
    elif name != "find by ID" and database.sqlite:
        # PostgreSQL may also build a hash table of the other request. SQLite would read all of it for each product.
        assert any("ix_products_request_id_identity (request_id=? AND identity=?)" in step for step in found)


READY, WAKE, DUE = "ix_lanes_ready", "ix_lanes_wake_at", "ix_images_due"
LANE_READS: dict[str, tuple[str, Callable[[Connection, UUID], Any]]] = {
    "tenants": (READY, lambda connection, _: lanes.list_tenants(connection)),
    "requests of a tenant": (READY, lambda connection, _: lanes.list_requests(connection, DEFAULT_TENANT)),
    "lanes of a request": (READY, lambda connection, id: lanes.list_lanes(connection, DEFAULT_TENANT, 1, id)),
    "next wake-up": (WAKE, lambda connection, _: lanes.seconds_to_next_wake(connection)),
}
LANE_WRITES: dict[str, tuple[str, Callable[[Connection, Lane], Any]]] = {
    "claim": (DUE, lambda connection, lane: claims.claim_images(connection, {lane: 1}, {}, 60)),
    "settle": (DUE, lambda connection, lane: lanes.settle(connection, lane.id)),
    "wake those that are due": (WAKE, lambda connection, _: lanes.wake_due_lanes(connection)),
    "wake": ("pk_lanes", lambda connection, lane: lanes.wake_lanes(connection, {lane.id: 1.0})),
    "sleep": ("pk_lanes", lambda connection, lane: lanes.sleep_lanes(connection, {lane.id: 1.0})),
    "close": (READY, lambda connection, lane: lanes.close_lanes(connection, read_request(connection, lane), 500)),
}


def read_request(connection: Connection, lane: Lane) -> Snapshot:
    request = queries.get_request(connection, DEFAULT_TENANT, lane.request_id)
    assert request is not None
    return request


def assert_uses_index(database: Database, found: list[str], index: str) -> None:
    scans = [step for step in found if re.search(r"(?i)(?:scan|search)\b.*(?:lanes|images)", step)]
    assert any(
        index.replace("pk_lanes", "sqlite_autoindex_lanes_1" if database.sqlite else index) in step for step in found
    )
    assert [step for step in scans if grows_with_the_table(step)] == []


@pytest.mark.parametrize("name", LANE_READS)
def test_lanes_are_chosen_through_an_index(read_database: tuple[Database, UUID], name: str) -> None:
    database, request_id = read_database
    index, read = LANE_READS[name]

    found = steps(database, lambda connection: read(connection, request_id))

    assert_uses_index(database, found, index)


@pytest.mark.parametrize("name", LANE_WRITES)
def test_lanes_are_changed_through_an_index(database: Database, name: str) -> None:
    request_id = given_request(database, 3)
    (lane,) = database.read_now(ready_lanes, request_id)
    index, write = LANE_WRITES[name]

    found = steps(database, lambda connection: write(connection, lane), writing=True)

    assert_uses_index(database, found, index)
