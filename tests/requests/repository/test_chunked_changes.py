"""Retries and deletions of any size run in short transactions and survive interruptions."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageStatus, RequestFailureCode, RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import retry, transitions, work_queries
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    claim_product,
    finish,
    get_snapshot,
    given_request,
    record,
)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "RETRY_CHUNK", 2)
    monkeypatch.setattr(transitions, "DELETE_CHUNK_PRODUCTS", 2)


def given_failures(database: Database, *temporary: bool) -> UUID:
    """A final request with one failed image per flag; the flag says whether the failure is temporary."""
    request_id = given_request(database, *[1] * len(temporary))
    for is_temporary in temporary:
        state = record(database, claim_product(database, request_id), 0, replace(FAILED, error_retryable=is_temporary))
    assert finish(database, state, RequestStatus.FAILED, max_auto_retries=1) is not None
    return request_id


def start_retry(database: Database, request_id: UUID) -> Snapshot | None:
    return database.write_now(retry.start_retry, DEFAULT_TENANT, request_id)


def next_chunk(database: Database, held: RequestLease) -> Snapshot | None:
    return database.write_now(retry.reset_chunk, held)


def test_retry_resets_each_failed_image_once(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5)

    first = start_retry(database, request_id)

    assert first is not None
    assert (first.status, first.failed_images, first.pending_images) == (RequestStatus.PROCESSING, 3, 2)
    assert_counters_equal_rows(database, request_id)
    # Reset images are processed meanwhile; an image that fails again is not reset twice.
    record(database, claim_product(database, request_id), 0, FAILED)
    state = record(database, claim_product(database, request_id), 0, DONE)
    # Nothing is pending, but there are chunks left to reset.
    assert finish(database, state, RequestStatus.COMPLETED_WITH_ERRORS) is None
    held = acquire_lease(database, request_id)
    chunks = []
    while chunk := next_chunk(database, held):
        chunks.append((chunk.failed_images, chunk.failed_products, chunk.pending_images))
        assert_counters_equal_rows(database, request_id)
    assert chunks == [(2, 2, 2), (1, 1, 3)]
    database.write_now(transitions.mark_stopping, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    assert next_chunk(database, held) is None


def test_retry_that_is_stopped_can_finish(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5)
    start_retry(database, request_id)
    stopped = database.write_now(transitions.mark_stopping, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    assert stopped is not None
    held = acquire_lease(database, request_id)
    while database.write_now(transitions.cancel_chunk, held):
        assert_counters_equal_rows(database, request_id)

    end = FinalState(RequestStatus.CANCELLED, None, "output-1.csv")
    ended = database.write_now(transitions.finish, held, stopped, end)

    assert ended is not None
    assert (ended.failed_images, ended.cancelled_images) == (3, 2)
    # The next retry starts from the first chunk.
    again = start_retry(database, request_id)
    assert again is not None
    assert (again.failed_images, again.pending_images) == (1, 2)


def test_automatic_retry_finds_temporary_failures_among_permanent_ones(database: Database) -> None:
    request_id = given_failures(database, *[False] * 5, True, False, True, True)
    assert database.read_now(retry.list_due_auto_retries, 9) == [(DEFAULT_TENANT, request_id)]

    first = database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id)
    assert first is not None
    held = acquire_lease(database, request_id)
    second = next_chunk(database, held)

    assert second is not None
    assert next_chunk(database, held) is None
    assert [(state.failed_images, state.pending_images) for state in (first, second)] == [(7, 2), (6, 3)]
    assert_counters_equal_rows(database, request_id)


def test_retry_after_a_deadline_resets_cancelled_images_first(database: Database) -> None:
    request_id = given_request(database, 2, 2, 1, 1)
    record(database, claim_product(database, request_id), 0, FAILED)
    record(database, claim_product(database, request_id), 1, FAILED)
    stopped = database.write_now(transitions.mark_stopping, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE)
    assert stopped is not None
    held = acquire_lease(database, request_id)
    assert database.write_now(transitions.cancel_chunk, held)
    end = FinalState(RequestStatus.FAILED, RequestFailureCode.DEADLINE, "output-1.csv")
    assert database.write_now(transitions.finish, held, stopped, end) is not None

    states = [start_retry(database, request_id)]
    held = acquire_lease(database, request_id)
    while chunk := next_chunk(database, held):
        states.append(chunk)
        assert_counters_equal_rows(database, request_id)

    assert [(state.cancelled_images, state.failed_images) for state in states if state] == [
        (2, 2),
        (0, 2),
        (0, 0),
        (0, 0),
    ]


def test_interrupted_deletion_can_be_completed(database: Database) -> None:
    request_id = given_failures(database, *[True] * 5)
    other = given_request(database, 1)

    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)

    # A large request still exists. It cannot be retried, and is listed as being deleted.
    assert get_snapshot(database, request_id).status is RequestStatus.FAILED
    assert count(database, products) == 3 + 1
    assert start_retry(database, request_id) is None
    assert database.read_now(retry.list_due_auto_retries, 9) == []
    assert database.read_now(work_queries.list_deleting, 60, 9) == []
    assert database.read_now(work_queries.list_deleting, 0, 9) == [(DEFAULT_TENANT, request_id)]
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    assert not database.write_now(transitions.delete_chunk, DEFAULT_TENANT, request_id)
    assert [count(database, table) for table in (requests, products, images)] == [1, 1, 1]
    # An open request is not deleted.
    assert not database.write_now(transitions.start_deletion, DEFAULT_TENANT, other)
    assert count(database, images, images.c.status == ImageStatus.PENDING) == 1


def count(database: Database, table: object, *where: object) -> int:
    statement = select(func.count()).select_from(table).where(*where)  # type: ignore[arg-type]
    return database.read_now(Connection.scalar, statement) or 0
