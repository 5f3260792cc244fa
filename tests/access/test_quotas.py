"""Quotas are exact, also for concurrent uploads, and follow every change of a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, event, func, insert, select, text, update

from gql_imgproc.access import quotas
from gql_imgproc.access.quotas import Limits, QuotaItem, QuotaUsage
from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, products, requests, tenants
from gql_imgproc.database.tables import renditions as rendition_table
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import Quota, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.errors import QuotaExceeded
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import renditions, retry, transitions
from tests.support.api_keys import given_tenant
from tests.support.invariants import assert_stored_bytes_are_counted
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    cancel_all,
    claim_image,
    delete_all,
    finish,
    get_snapshot,
    given_request,
    record,
    reopen_all,
)


def read_usage(database: Database, limits: Limits, tenant_id: UUID = DEFAULT_TENANT) -> QuotaUsage:
    return database.read_now(quotas.read_usage, tenant_id, limits)


def rows(database: Database) -> list[int]:
    counts = [select(func.count()).select_from(table) for table in (requests, products, images)]
    return database.read_now(lambda connection: [connection.execute(count).scalar_one() for count in counts])


def given_quotas(database: Database, tenant_id: UUID, **own: int) -> None:
    database.write_now(Connection.execute, update(tenants).where(tenants.c.id == tenant_id).values(own))


@pytest.mark.parametrize(
    ("limits", "quota", "limit"),
    [
        (Limits(open_requests=5), Quota.OPEN_REQUESTS, 5),
        (Limits(pending_images=17), Quota.PENDING_IMAGES, 17),
        (Limits(open_rows=11), Quota.OPEN_ROWS, 11),
    ],
)
def test_concurrent_uploads_do_not_exceed_a_quota(database: Database, limits: Limits, quota: Quota, limit: int) -> None:
    """Two `Database` objects, as in two processes."""
    other = Database(database.url)

    def upload(number: int) -> QuotaExceeded | None:
        try:
            given_request(database if number % 2 else other, 1, 2, limits=limits)
        except QuotaExceeded as refused:
            return refused
        return None

    try:
        with ThreadPoolExecutor(10) as threads:
            outcomes = list(threads.map(upload, range(10)))
    finally:
        other.close()

    errors = [outcome for outcome in outcomes if outcome]
    assert len(errors) == 5
    assert {(each.quota, each.limit) for each in errors} == {(quota, limit)}
    # Refused uploads leave no rows.
    assert rows(database) == [5, 10, 15]
    found = read_usage(database, limits)
    assert (found.open_requests.used, found.pending_images.used, found.open_rows.used) == (5, 15, 10)


def test_quotas_are_separate_and_can_be_overridden_per_tenant(database: Database) -> None:
    limits = Limits(open_requests=1, csv_bytes=1000)
    large, unbound = given_tenant(database, "large"), given_tenant(database, "unbound")
    given_quotas(database, large, max_open_requests=2, max_csv_bytes=5)
    given_quotas(database, unbound, max_open_requests=0, max_csv_bytes=0)

    given_request(database, 1, limits=limits)
    for _ in range(2):
        given_request(database, 1, limits=limits, tenant_id=large)
    for _ in range(3):
        given_request(database, 1, limits=limits, tenant_id=unbound)

    for tenant_id in (DEFAULT_TENANT, large):
        with pytest.raises(QuotaExceeded, match=r"^Quota exceeded: \d of \d open requests\. "):
            given_request(database, 1, limits=limits, tenant_id=tenant_id)
    assert read_usage(database, limits, large).open_requests == QuotaItem(2, 2)
    assert read_usage(database, limits, unbound).open_requests == QuotaItem(3, None)
    assert [read_usage(database, limits, each).csv_bytes for each in (DEFAULT_TENANT, large, unbound)] == [
        1000,
        5,
        None,
    ]


def test_stored_bytes_follow_finish_retry_and_deletion(database: Database) -> None:
    limits = Limits(stored_bytes=800)

    def stored() -> int:
        assert_stored_bytes_are_counted(database)
        return read_usage(database, limits).stored_bytes.used

    request_id = given_request(database, 2, 1)
    record(database, claim_image(database, request_id), DONE)
    assert stored() == 400
    record(database, claim_image(database, request_id), FAILED)
    record(database, claim_image(database, request_id), DONE)
    assert stored() == 800
    finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS)
    assert stored() == 800

    # Neither a new request nor a retry fits.
    with pytest.raises(
        QuotaExceeded,
        match=r"^Quota exceeded: 800 of 800 bytes of stored images and files, without those of this request\. Delete",
    ):
        given_request(database, 1, limits=limits)
    with pytest.raises(QuotaExceeded):
        database.write_now(retry.start_retry, DEFAULT_TENANT, request_id, limits)
    assert get_snapshot(database, request_id).status is RequestStatus.COMPLETED_WITH_ERRORS
    assert get_snapshot(database, request_id).failed_images == 1

    # After a retry without limits,
    database.write_now(retry.start_retry, DEFAULT_TENANT, request_id)
    assert stored() == 800
    reopen_all(database, request_id)
    assert stored() == 800
    record(database, claim_image(database, request_id), DONE)
    assert stored() == 1200
    finish(database, request_id, RequestStatus.COMPLETED)
    assert stored() == 1200
    other = given_tenant(database, "other")
    assert not database.write_now(transitions.start_deletion, other, request_id)
    assert stored() == 1200
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    assert stored() == 1200
    delete_all(database, request_id)
    assert stored() == 1200
    # There is room after their grace time, when the objects are deleted.
    due = update(rendition_table).values(check_at=now_plus(-1))
    database.write_now(lambda connection: connection.execute(due))
    _, ended = database.write_now(renditions.end_unused, 10)
    assert stored() == 1200
    database.write_now(renditions.delete_ended, ended)
    assert stored() == 0
    given_request(database, 1, limits=limits)


def test_files_count_until_their_request_is_deleted(database: Database) -> None:
    limits = Limits(stored_bytes=1_000)

    def stored() -> int:
        assert_stored_bytes_are_counted(database)
        return read_usage(database, limits).stored_bytes.used

    request_id = given_request(database, 2, limits=limits, own_bytes=300)
    assert stored() == 300
    record(database, claim_image(database, request_id), DONE)
    record(database, claim_image(database, request_id), FAILED)
    finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS, output_file_bytes=60)
    # An image has 400 bytes.
    assert stored() == 760

    # A file that does not fit is refused, and one that does is not.
    expected = r"^Quota exceeded: 760 of 1,000 bytes of stored images and files, without those of this request\. "
    with pytest.raises(QuotaExceeded, match=expected):
        given_request(database, 1, limits=limits, own_bytes=241)
    cancelled = given_request(database, 1, limits=limits, own_bytes=240)
    assert stored() == 1_000
    database.write_now(transitions.stop, DEFAULT_TENANT, cancelled, TerminationReason.CANCELLED)
    database.write_now(transitions.release, cancel_all(database, cancelled))
    finish(database, cancelled, RequestStatus.CANCELLED)
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, cancelled)
    delete_all(database, cancelled)
    assert stored() == 760

    # The output after a retry takes the place of the earlier one.
    database.write_now(retry.start_retry, DEFAULT_TENANT, request_id, limits)
    reopen_all(database, request_id)
    assert stored() == 760
    record(database, claim_image(database, request_id), DONE)
    finish(database, request_id, RequestStatus.COMPLETED, output_file_bytes=50)
    assert stored() == 300 + 2 * 400 + 50
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    delete_all(database, request_id)
    assert stored() == 2 * 400


def test_rows_count_until_their_request_is_final(database: Database) -> None:
    limits = Limits(open_rows=3)
    request_id = given_request(database, 1, 1, limits=limits)

    expected = r"^Quota exceeded: 2 of 3 rows in open requests, without those of this request\. Wait until one is done"
    with pytest.raises(QuotaExceeded, match=expected):
        given_request(database, 1, 1, limits=limits)
    record(database, claim_image(database, request_id), DONE)
    record(database, claim_image(database, request_id), FAILED)
    assert read_usage(database, limits).open_rows == QuotaItem(2, 3)
    finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS)

    other = given_request(database, 1, 1, limits=limits)
    # A retry opens all rows of its request.
    with pytest.raises(QuotaExceeded) as refused:
        database.write_now(retry.start_retry, DEFAULT_TENANT, request_id, limits)
    assert (refused.value.quota, refused.value.used, refused.value.limit) == (Quota.OPEN_ROWS, 2, 3)
    assert get_snapshot(database, other).total_products == 2


def test_retry_after_is_estimated_from_the_current_rate(database: Database) -> None:
    slow, fast = given_request(database, 40), given_request(database, 10)

    def refusal(limits: Limits, images_of_new: int = 1) -> QuotaExceeded:
        with pytest.raises(QuotaExceeded) as refused:
            given_request(database, images_of_new, limits=limits)
        return refused.value

    still = refusal(Limits(open_requests=2))
    for request_id, rate in ((slow, 1.5), (fast, 0.5)):
        database.write_now(
            lambda connection, which=request_id, rate=rate: connection.execute(
                update(requests).where(requests.c.id == which).values(images_per_second=rate)
            )
        )

    assert (still.used, still.limit, still.retry_after_s) == (2, 2, None)
    # Ten images of the smaller request at two per second; six images too many.
    assert refusal(Limits(open_requests=2)).retry_after_s == 5
    assert refusal(Limits(pending_images=52), 8).retry_after_s == 3
    # More than the whole quota never fits.
    assert refusal(Limits(pending_images=50), 51).retry_after_s is None


def test_open_requests_of_a_tenant_are_read_through_an_index(database: Database) -> None:
    # Given a tenant with many requests, nearly all of which are done,
    given_finished_copies(database, given_request(database, 1), 2_000)
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    engines = {database._reader, database._writer}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    read_usage(database, Limits())
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)

    explain = "EXPLAIN QUERY PLAN " if database.sqlite else "EXPLAIN "
    asked = [each for each in statements if each[0].startswith("SELECT")]
    assert len(asked) == 1
    for statement, parameters in asked:

        def plan(connection: Any, statement: str = statement, parameters: Any = parameters) -> str:
            if not database.sqlite:
                connection.execute(text("SET LOCAL enable_seqscan = off"))
            return str(connection.exec_driver_sql(explain + statement, parameters).all())

        assert "ix_requests_tenant_id_status_created_at_id" in database.read_now(plan)


def given_finished_copies(database: Database, request_id: UUID, count: int) -> None:
    def copy(connection: Connection) -> None:
        (row,) = connection.execute(select(requests).where(requests.c.id == request_id)).mappings()
        values = {**row, "status": RequestStatus.COMPLETED, "phase": RequestPhase.DONE, "idempotency_key": None}
        connection.execute(insert(requests), [{**values, "id": uuid4()} for _ in range(count)])
        if not database.sqlite:
            connection.execute(text("ANALYZE"))

    database.write_now(copy)


def test_stopping_request_counts_until_it_is_final(database: Database) -> None:
    limits = Limits(open_requests=1)
    request_id = given_request(database, 1, limits=limits)
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    with pytest.raises(QuotaExceeded):
        given_request(database, 1, limits=limits)
    database.write_now(transitions.release, cancel_all(database, request_id))
    assert finish(database, request_id, RequestStatus.CANCELLED)

    given_request(database, 1, limits=limits)


def test_retry_counts_all_its_images_from_the_first_chunk_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "RETRY_CHUNK", 2)
    limits = Limits(pending_images=8)
    ended = [given_failed(database, 5) for _ in range(2)]

    def start_retry(request_id: UUID) -> None:
        database.write_now(retry.start_retry, DEFAULT_TENANT, request_id, limits=limits)

    start_retry(ended[0])
    assert read_usage(database, limits).pending_images == QuotaItem(5, 8)
    with pytest.raises(QuotaExceeded):
        start_retry(ended[1])
    holder = acquire_lease(database, ended[0])
    while database.write_now(retry.reopen_chunk, holder).phase is RequestPhase.RETRYING:
        assert read_usage(database, limits).pending_images == QuotaItem(5, 8)
    database.write_now(transitions.stop, DEFAULT_TENANT, ended[0], TerminationReason.CANCELLED)
    assert read_usage(database, limits).pending_images == QuotaItem(5, 8)


def given_failed(database: Database, number: int) -> UUID:
    """A final request whose products have one failed image each."""
    request_id = given_request(database, *[1] * number)
    for _ in range(number):
        state = record(database, claim_image(database, request_id), FAILED)
    assert finish(database, state.id, RequestStatus.FAILED) is not None
    return request_id
