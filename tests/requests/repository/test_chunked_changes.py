"""Retries and deletions of any size run in short transactions and survive interruptions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, lanes, products, requests
from gql_imgproc.enums import ImageStatus, RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.errors import ImageErrorCode, LeaseLost
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import cancel, create, delete, retry, transitions, work_queries
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.transitions import FinalState
from gql_imgproc.requests.snapshot import Snapshot
from tests.support.invariants import assert_counters_equal_rows
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
    given_urls,
    record,
    reopen_all,
    try_claim,
)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_CHUNK", 2)
    monkeypatch.setattr(delete, "DELETE_CHUNK", 2)


def given_failures(database: Database, *temporary: bool) -> UUID:
    """A final request with one failed image per flag; the flag says whether the failure is temporary."""
    request_id = given_request(database, *[1] * len(temporary))
    for is_temporary in temporary:
        record(database, claim_image(database, request_id), replace(FAILED, error_retryable=is_temporary))
    assert finish(database, request_id, RequestStatus.FAILED, max_auto_retries=1) is not None
    return request_id


def start_retry(database: Database, request_id: UUID) -> Snapshot:
    """Starts a retry, and reopens its first chunk."""
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    lease = acquire_lease(database, request_id)
    first = database.write_now(retry.reopen_chunk, lease)
    database.write_now(transitions.release, lease)
    return first


def stop(database: Database, request_id: UUID, reason: TerminationReason) -> None:
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, reason) is not None


def test_retry_reopens_each_failed_image_once(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5)

    first = start_retry(database, request_id)

    assert (first.status, first.failed_images, first.pending_images) == (RequestStatus.PROCESSING, 3, 2)
    assert_counters_equal_rows(database, request_id)
    # Reopened images are processed meanwhile; an image that fails again is not reopened twice.
    record(database, claim_image(database, request_id), FAILED)
    record(database, claim_image(database, request_id), DONE)
    # Nothing is pending, but there are chunks left to reopen.
    assert finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS) is None
    held = acquire_lease(database, request_id)
    chunks = []
    for _ in range(2):
        chunk = database.write_now(retry.reopen_chunk, held)
        chunks.append((chunk.failed_images, chunk.failed_products, chunk.pending_images, chunk.phase))
        assert_counters_equal_rows(database, request_id)
    assert chunks == [(2, 2, 2, RequestPhase.RETRYING), (1, 1, 3, RequestPhase.WORKING)]
    with pytest.raises(LeaseLost):
        database.write_now(retry.reopen_chunk, held)
    assert_counters_equal_rows(database, request_id)


def test_retry_that_is_stopped_can_finish(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5)
    start_retry(database, request_id)
    stop(database, request_id, TerminationReason.CANCELLED)
    with pytest.raises(LeaseLost):
        database.write_now(retry.reopen_chunk, acquire_lease(database, request_id, lease_s=0))
    held = cancel_all(database, request_id)
    assert_counters_equal_rows(database, request_id)

    ended = database.write_now(transitions.finish, held, FinalState(RequestStatus.CANCELLED, None, "output-1.csv"))

    assert ended is not None
    assert (ended.failed_images, ended.cancelled_images) == (3, 2)
    # The next retry starts from the first chunk.
    again = start_retry(database, request_id)
    assert (again.failed_images, again.pending_images) == (1, 2)


def test_automatic_retry_finds_temporary_failures_among_permanent_ones(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5, True, False, True, True)
    assert database.read_now(retry.list_due_auto_retries, 9) == [(DEFAULT_TENANT, request_id)]

    assert database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id) is not None
    held = acquire_lease(database, request_id)
    states = [database.write_now(retry.reopen_chunk, held) for _ in range(2)]

    assert [(state.failed_images, state.pending_images, state.phase) for state in states] == [
        (7, 2, RequestPhase.RETRYING),
        (6, 3, RequestPhase.WORKING),
    ]
    assert_counters_equal_rows(database, request_id)


def test_retry_after_a_deadline_reopens_cancelled_images_first(database: Database) -> None:
    request_id = given_request(database, 2, 2, 1, 1)
    first, _, third = try_claim(database, request_id, 3)
    record(database, first, FAILED)
    record(database, third, FAILED)
    stop(database, request_id, TerminationReason.DEADLINE)
    end = FinalState(RequestStatus.FAILED, RequestFailureCode.DEADLINE, "output-1.csv")
    assert database.write_now(transitions.finish, cancel_all(database, request_id), end) is not None

    states = [start_retry(database, request_id)]
    held = acquire_lease(database, request_id)
    while states[-1].phase is RequestPhase.RETRYING:
        states.append(database.write_now(retry.reopen_chunk, held))
        assert_counters_equal_rows(database, request_id)

    assert [(state.cancelled_images, state.failed_images) for state in states] == [(2, 2), (0, 2), (0, 0), (0, 0)]


@pytest.mark.parametrize(
    ("error_code", "host", "reopened"),
    [
        (ImageErrorCode.TIMEOUT, None, [0, 1, 4]),
        (None, "b.example:443", [3, 4]),
        (ImageErrorCode.TIMEOUT, "b.example:443", [4]),
        (ImageErrorCode.CORRUPT, None, []),
        (None, "c.example:443", []),
        (ImageErrorCode.HTTP_STATUS, "a.example:443", [2]),
    ],
)
def test_retry_is_limited_to_an_error_and_a_host(
    database: Database, error_code: ImageErrorCode | None, host: str | None, reopened: list[int]
) -> None:
    # Given a request whose images failed for two reasons, on two hosts,
    request_id = given_urls(
        database, [f"https://a.example/{n}" for n in range(3)], [f"https://b.example/{n}" for n in range(2)]
    )
    timeout = replace(FAILED, error_code=ImageErrorCode.TIMEOUT)
    failures = [timeout, timeout, FAILED, FAILED, timeout]
    claimed = sorted(try_claim(database, request_id, len(failures)), key=lambda image: image.id)
    for image, failure in zip(claimed, failures, strict=True):
        record(database, image, failure)
    assert finish(database, request_id, RequestStatus.FAILED) is not None

    # when those with one reason or of one host are retried,
    started = database.write_now(retry.start_retry, DEFAULT_TENANT, request_id, None, error_code, host)
    if started is not None:
        reopen_all(database, request_id)

    # then no other image is pending.
    pending = select(images.c.id).where(images.c.status == ImageStatus.PENDING).order_by(images.c.id)
    assert database.read_now(lambda connection: connection.scalars(pending).all()) == [
        claimed[index].id for index in reopened
    ]
    assert (started is None) == (not reopened)
    assert_counters_equal_rows(database, request_id)
    if reopened:
        # And the next retry is not limited.
        for image in try_claim(database, request_id, len(reopened)):
            record(database, image, FAILED)
        assert finish(database, request_id, RequestStatus.FAILED) is not None
        assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
        assert reopen_all(database, request_id).pending_images == 5


def test_limited_retry_after_a_deadline_keeps_other_failures(database: Database) -> None:
    """Images that the deadline cancelled have no error; they are retried with any that failed."""
    request_id = given_request(database, 1, 1, 1)
    record(database, claim_image(database, request_id), FAILED)
    record(database, claim_image(database, request_id), replace(FAILED, error_code=ImageErrorCode.TIMEOUT))
    stop(database, request_id, TerminationReason.DEADLINE)
    end = FinalState(RequestStatus.FAILED, RequestFailureCode.DEADLINE, "output-1.csv")
    assert database.write_now(transitions.finish, cancel_all(database, request_id), end) is not None

    start = partial(retry.start_retry, error_code=ImageErrorCode.CORRUPT)
    assert database.write_now(start, DEFAULT_TENANT, request_id) is None
    start = partial(retry.start_retry, error_code=ImageErrorCode.TIMEOUT)
    assert database.write_now(start, DEFAULT_TENANT, request_id) is not None
    retried = reopen_all(database, request_id)

    assert (retried.cancelled_images, retried.failed_images, retried.pending_images) == (0, 1, 2)
    assert_counters_equal_rows(database, request_id)


def test_retry_of_a_request_with_missing_rows_inserts_them(database: Database) -> None:
    """Its stored CSV could not be read, and can be read again."""
    request_id = given_request(database, 1, total_products=2, total_images=2)
    record(database, claim_image(database, request_id), FAILED)
    held = acquire_lease(database, request_id)
    assert database.write_now(transitions.mark_unreadable, held) is not None
    assert database.write_now(cancel.cancel_chunk, held).phase is RequestPhase.FINISHING
    end = FinalState(RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE, None)
    assert database.write_now(transitions.finish, held, end) is not None

    first = start_retry(database, request_id)
    rest = [NewProduct(1, "2", "second", ["https://x.example/1/0"])]
    complete = database.write_now(create.insert_chunk, acquire_lease(database, request_id), rest)

    assert (first.phase, first.pending_images) == (RequestPhase.INGESTING, 2)
    assert (complete.phase, complete.ingested_products) == (RequestPhase.WORKING, 2)
    assert_counters_equal_rows(database, request_id)


def test_rows_of_a_stopping_request_are_inserted_as_cancelled(database: Database) -> None:
    request_id = given_request(database, 1, total_products=3, total_images=4)
    held = acquire_lease(database, request_id, lease_s=0)
    stop(database, request_id, TerminationReason.CANCELLED)
    rest = [NewProduct(n, str(n), "late", [f"https://x.example/{n}/{i}" for i in range(n)]) for n in (1, 2)]

    with pytest.raises(LeaseLost):
        database.write_now(create.insert_chunk, held, rest)
    stopping = database.write_now(create.insert_cancelled_chunk, held, rest)

    assert (stopping.phase, stopping.ingested_products) == (RequestPhase.STOPPING, 3)
    assert (stopping.cancelled_images, stopping.pending_images) == (3, 1)
    assert_counters_equal_rows(database, request_id)
    cancel_all(database, request_id)
    assert get_snapshot(database, request_id).cancelled_images == 4


def test_rows_that_another_process_has_inserted_are_refused(database: Database) -> None:
    request_id = given_request(database, 1, total_products=2, total_images=2)
    asleep = acquire_lease(database, request_id, lease_s=0)
    rest = [NewProduct(1, "2", "second", ["https://x.example/1/0"])]
    database.write_now(create.insert_chunk, acquire_lease(database, request_id), rest)

    with pytest.raises(LeaseLost):
        database.write_now(create.insert_chunk, asleep, rest)

    assert_counters_equal_rows(database, request_id)
    assert count(database, products) == 2


def test_lanes_are_deleted_in_chunks(database: Database) -> None:
    # Given a request with one product, whose images are on five hosts,
    request_id = given_urls(database, [f"https://{n}.example/a" for n in range(5)])
    for image in try_claim(database, request_id):
        record(database, image, FAILED)
    assert finish(database, request_id, RequestStatus.FAILED) is not None
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)

    # when it is deleted,
    lease = acquire_lease(database, request_id)
    is_deleted = [database.write_now(delete.delete_chunk, lease) for _ in range(3)]

    # then no transaction deletes more than two lanes.
    assert is_deleted == [False, False, True]
    assert [count(database, table) for table in (lanes, images, requests)] == [0, 0, 0]


def test_interrupted_deletion_can_be_completed(database: Database) -> None:
    request_id = given_failures(database, *[True] * 5)
    other = given_request(database, 1)
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)

    assert not database.write_now(delete.delete_chunk, acquire_lease(database, request_id, lease_s=0))

    # A large request still exists. It cannot be retried, and is listed as being deleted.
    deleting = get_snapshot(database, request_id)
    assert (deleting.status, deleting.phase) == (RequestStatus.FAILED, RequestPhase.DELETING)
    assert count(database, products) == 3 + 1
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is None
    assert database.read_now(retry.list_due_auto_retries, 9) == []
    assert database.read_now(work_queries.list_waiting, None, 9) == [request_id]
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id) is None
    delete_all(database, request_id)
    assert [count(database, table) for table in (requests, products, images)] == [1, 1, 1]
    # An open request is not deleted.
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, other) is None
    assert count(database, images, images.c.status == ImageStatus.PENDING) == 1


def count(database: Database, table: object, *where: object) -> int:
    statement = select(func.count()).select_from(table).where(*where)  # type: ignore[arg-type]
    return database.read_now(Connection.scalar, statement) or 0
