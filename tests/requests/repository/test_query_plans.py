"""How the databases read pages: through an index, and never more the more rows there are."""

from __future__ import annotations

import json
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
from gql_imgproc.enums import AuditAction, ProductStatus, RequestFailureCode, RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import (
    claims,
    product_queries,
    queries,
    retry,
    transitions,
    webhook_outbox,
    work_queries,
)
from gql_imgproc.requests.repository.output_rows import read_output_rows
from gql_imgproc.requests.repository.transitions import FinalState
from tests.support.scenarios import FAILED, given_request

MOMENT, ID = 1_700_000_000.0, UUID(int=1 << 100)
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
            (MOMENT, ID),
            lambda connection, window, _, status=status, oldest=oldest: queries.requests_page(
                connection, DEFAULT_TENANT, window, status=status, oldest_first=oldest
            ),
        )
        for status in (None, RequestStatus.FAILED)
        for oldest in (False, True)
    },
    **{
        f"products, name {name}, status {status}": (
            (ID,),
            lambda connection, window, _, name=name, status=status: product_queries.products_page(
                connection, DEFAULT_TENANT, window, name_contains=name, status=status
            ),
        )
        for name in (None, "shirt")
        for status in (None, ProductStatus.FAILED)
    },
    **{
        f"products of requests, status {status}": (
            (3,),
            lambda connection, window, ids, status=status: product_queries.products_of_requests(
                connection, DEFAULT_TENANT, ids, window, status=status
            ),
        )
        for status in (None, ProductStatus.FAILED)
    },
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


#: Of one request, PostgreSQL takes either index when its products are few.
OF_A_STATUS = [
    name for name in PAGES if "status" in name and "status None" not in name and "products of requests" not in name
]


class Plans:
    """How the database means to run each statement that reaches it, as one line per step."""

    def __init__(self, database: Database, *, writing: bool = False) -> None:
        self._engine = database._writer if writing else database._reader
        self._sqlite = database.sqlite
        self._asking = False
        self.steps: list[str] = []

    def __enter__(self) -> Plans:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self._asking or not statement.startswith(("SELECT", "UPDATE", "DELETE")):
            return
        self._asking = True
        try:
            if self._sqlite:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                self.steps += [row[3] for row in rows]
            else:
                found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
                plan = found if isinstance(found, list) else json.loads(found)
                self.steps += list(_steps(plan[0]["Plan"]))
        finally:
            self._asking = False


def _steps(plan: dict[str, Any]) -> Iterator[str]:
    where = plan.get("Index Name") or plan.get("Relation Name") or ""
    yield f"{plan['Node Type']} {where} {plan.get('Index Cond', '')}"
    for inner in plan.get("Plans", ()):
        yield from _steps(inner)


def steps(database: Database, read: Callable[[Connection], Any], *, writing: bool = False) -> list[str]:
    def work(connection: Connection) -> None:
        if not database.sqlite:
            # What it does when there are few rows tells nothing of many.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_sort = off"))
        read(connection)

    with Plans(database, writing=writing) as plans:
        (database.write_now if writing else database.read_now)(work)
    return plans.steps


def grows_with_the_table(step: str) -> bool:
    """Whether all rows are looked through or put in order; a walk along an index ends with the page."""
    return (
        "Seq Scan" in step
        or step.startswith(("Sort", "Incremental Sort"))
        or "TEMP B-TREE" in step
        or (step.startswith("SCAN") and "USING INDEX" not in step and "USING COVERING INDEX" not in step)
    )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_along_an_index(database: Database, name: str, window: str) -> None:
    request_id = given_request(database, 1)
    key, read = PAGES[name]
    asked = WINDOWS[window](key)

    found = steps(database, lambda connection: read(connection, asked, [request_id]))

    assert found
    growing = [step for step in found if grows_with_the_table(step)]
    if name.startswith("products of requests"):
        # The rows of the page, which other steps have found, are put in order.
        assert len(growing) <= 1
        assert all("Sort" in step or "TEMP B-TREE FOR ORDER BY" in step for step in growing)
    else:
        assert growing == []


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", OF_A_STATUS)
def test_a_page_of_one_status_reads_no_rows_of_others(database: Database, name: str, window: str) -> None:
    request_id = given_request(database, 1)
    key, read = PAGES[name]

    found = steps(database, lambda connection: read(connection, WINDOWS[window](key), [request_id]))

    through = [step for step in found if "Scan" in step or step.startswith(("SCAN", "SEARCH"))]
    assert through
    assert [step for step in through if "status" not in step.replace("_status_", "")] == []


def test_a_table_that_is_looked_through_is_noticed(database: Database) -> None:
    given_request(database, 1)

    found = steps(
        database,
        lambda connection: connection.execute(select(products.c.id).order_by(products.c.product_name)).all(),
    )

    assert any(grows_with_the_table(step) for step in found)


def test_images_are_read_through_an_index(database: Database) -> None:
    request_id = given_request(database, 1)

    found = steps(database, lambda connection: queries.images_of_products(connection, DEFAULT_TENANT, [request_id]))

    assert any("uq_images_product_id_position" in step for step in found)
    # Those that were found are put in order.
    assert sum(grows_with_the_table(step) for step in found) <= 1
    assert not any("Seq Scan" in step or step.startswith("SCAN") for step in found)


def test_nothing_that_is_done_to_a_request_looks_through_a_table(database: Database) -> None:
    """From the first claim to the deletion: the time of each statement is that of its chunk, whatever the size."""
    request_id = given_request(database, 1, 1, webhook_url="https://hooks.example")
    found: list[str] = []

    def do(deed: Callable[[Connection], Any]) -> Any:
        told = []
        found.extend(steps(database, lambda connection: told.append(deed(connection)), writing=True))
        return told[-1]

    claim = do(lambda connection: claims.claim_product(connection, request_id, 60))
    do(lambda connection: claims.renew_lease(connection, claim, 60))
    do(lambda connection: claims.mark_crash_suspect(connection, claim, claim.images[0].id))
    failed = replace(FAILED, error_retryable=True)
    state = do(lambda connection: claims.record_image(connection, claim, claim.images[0].id, failed))
    do(lambda connection: claims.release_product(connection, claim, 0))
    do(lambda connection: work_queries.list_open_requests(connection, None, 500))
    do(lambda connection: work_queries.count_claimable(connection, request_id, 32))
    for again in (retry.start_auto_retry, retry.start_retry):
        state = do(
            lambda connection: transitions.mark_stopping(
                connection, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE
            )
        )
        held = do(lambda connection: transitions.acquire(connection, request_id, 60))
        do(lambda connection, held=held: transitions.renew(connection, held, 60))
        do(lambda connection, held=held: transitions.cancel_chunk(connection, held))
        do(lambda connection, held=held: list(read_output_rows(connection, request_id, 0, 1_000)))
        failure = RequestFailureCode.DEADLINE if again is retry.start_retry else None
        end = FinalState(RequestStatus.FAILED, failure, "output-1.csv", max_auto_retries=1)
        ended = do(lambda connection, held=held, state=state, end=end: transitions.finish(connection, held, state, end))
        assert ended is not None
        do(lambda connection: webhook_outbox.list_due(connection, 500))
        do(lambda connection: retry.list_due_auto_retries(connection, 500))
        assert do(lambda connection, again=again: again(connection, DEFAULT_TENANT, request_id)) is not None
        held = do(lambda connection: transitions.acquire(connection, request_id, 60))
        do(lambda connection, held=held: retry.reset_chunk(connection, held))
        do(lambda connection, held=held: transitions.release(connection, held))
    state = do(
        lambda connection: transitions.mark_stopping(
            connection, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED
        )
    )
    held = do(lambda connection: transitions.acquire(connection, request_id, 60))
    do(lambda connection: transitions.cancel_chunk(connection, held))
    end = FinalState(RequestStatus.CANCELLED, None, "output-1.csv")
    assert do(lambda connection: transitions.finish(connection, held, state, end)) is not None
    for look in (work_queries.list_expired, work_queries.list_deleting):
        do(lambda connection, look=look: look(connection, 0, 500))
    do(lambda connection: work_queries.list_with_leftover_objects(connection, 500))
    assert do(lambda connection: transitions.start_deletion(connection, DEFAULT_TENANT, request_id))

    assert len(found) > 60
    # What a step has found may be put in order.
    tables = tuple(f"SCAN {table}" for table in metadata.tables)
    assert [step for step in found if "Seq Scan" in step or (step.startswith(tables) and "USING" not in step)] == []
    for index in ("ix_images_failed_in_order", "ix_images_failed_for_now"):
        assert any(index in step for step in found)
