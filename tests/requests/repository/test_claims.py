"""Claims, results, stopping, finishing and retries, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Column, Connection, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import (
    ImageStatus,
    ProductStatus,
    RequestFailureCode,
    RequestPhase,
    RequestStatus,
    TerminationReason,
)
from gql_imgproc.errors import LeaseLost
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import cancel, claims, retry, transitions
from gql_imgproc.requests.repository.transitions import FinalState
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    cancel_all,
    claim_product,
    delete_all,
    finish,
    get_snapshot,
    given_request,
    record,
    reopen_all,
    try_claim,
)


def read_column(database: Database, column: Column[Any]) -> list[Any]:
    """The values of a column of `products`, in the order of the CSV."""

    def read(connection: Connection) -> list[Any]:
        return list(connection.scalars(select(column).order_by(products.c.position)))

    return database.read_now(read)


def test_products_are_claimed_once_in_csv_order(database: Database) -> None:
    request_id = given_request(database, 1, 2, 1)

    first, second, third, none = (try_claim(database, request_id) for _ in range(4))

    assert [held and held.images[0].url for held in (first, second, third)] == [
        "https://x.example/0/0",
        "https://x.example/1/0",
        "https://x.example/2/0",
    ]
    assert none is None
    assert first is not None
    assert first.started is not None
    assert first.started.status is RequestStatus.PROCESSING
    assert first.started.sequence == 2
    assert second is not None
    assert second.started is None


def test_expired_lease_is_claimed_again_and_fences_off_the_old_worker(database: Database) -> None:
    """Promise P2: nothing is counted twice."""
    request_id = given_request(database, 1)
    expired = claim_product(database, request_id, lease_s=0)

    successor = claim_product(database, request_id)

    assert (successor.lease_token, successor.attempts) == (2, 2)
    assert successor.images[0].attempts == 2
    with pytest.raises(LeaseLost):
        record(database, expired, 0, DONE)
    assert not database.write_now(claims.renew_lease, expired, 60)
    assert record(database, successor, 0, DONE).processed_images == 1
    assert_counters_equal_rows(database, request_id)


def test_worker_keeps_its_lease_after_recording_the_last_image(database: Database) -> None:
    """Otherwise the message that finishes the request, which comes next, would be dropped."""
    request_id = given_request(database, 1, 1)
    ended, stopped = claim_product(database, request_id), claim_product(database, request_id)
    record(database, ended, 0, DONE)

    assert database.write_now(claims.renew_lease, ended, 60)

    assert try_claim(database, request_id) is None
    assert_counters_equal_rows(database, request_id)
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    cancel_all(database, request_id)
    assert not database.write_now(claims.renew_lease, stopped, 60)


def test_image_is_recorded_once(database: Database) -> None:
    request_id = given_request(database, 2)
    held = claim_product(database, request_id)
    record(database, held, 0, DONE)

    with pytest.raises(LeaseLost):
        record(database, held, 0, FAILED)

    assert_counters_equal_rows(database, request_id)
    assert get_snapshot(database, request_id).failed_images == 0


def test_product_status_follows_from_its_images(database: Database) -> None:
    request_id = given_request(database, 2, 2, 2)
    for results in ((DONE, DONE), (DONE, FAILED), (FAILED, FAILED)):
        held = claim_product(database, request_id)
        for number, result in enumerate(results):
            state = record(database, held, number, result)

    statuses = read_column(database, products.c.status)
    outputs = read_column(database, products.c.output_image_urls)
    path = f"/api/image/{request_id.hex}/0-1.jpg"
    assert statuses == [ProductStatus.COMPLETED, ProductStatus.COMPLETED_WITH_ERRORS, ProductStatus.FAILED]
    assert outputs == [[path, path], [path, None], [None, None]]
    assert (state.processed_products, state.failed_products) == (1, 2)
    assert (state.processed_images, state.failed_images, state.pending_images) == (3, 3, 0)
    assert_counters_equal_rows(database, request_id)


def test_released_product_is_due_after_its_delay_and_resets_its_attempts(database: Database) -> None:
    request_id = given_request(database, 1)
    held = claim_product(database, request_id)

    database.write_now(claims.release_product, held, 60)
    assert try_claim(database, request_id) is None

    database.write_now(claims.release_product, held, 0)
    again = claim_product(database, request_id)
    assert (again.attempts, again.images[0].attempts) == (1, 2)


def test_stopping_request_refuses_claims_and_results(database: Database) -> None:
    request_id = given_request(database, 1, 1)
    held = claim_product(database, request_id)

    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    assert try_claim(database, request_id) is None
    with pytest.raises(LeaseLost):
        record(database, held, 0, DONE)
    assert_counters_equal_rows(database, request_id)
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED) is None


def test_cancelling_changes_pending_images_only(database: Database) -> None:
    request_id = given_request(database, 2, 1, 1)
    record(database, claim_product(database, request_id), 0, DONE)
    done = claim_product(database, request_id)
    record(database, done, 0, DONE)
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    held = cancel_all(database, request_id)
    # The request is FINISHING now.
    with pytest.raises(LeaseLost):
        database.write_now(cancel.cancel_chunk, held)

    statuses = read_column(database, products.c.status)
    assert statuses == [ProductStatus.CANCELLED, ProductStatus.COMPLETED, ProductStatus.CANCELLED]
    assert_counters_equal_rows(database, request_id)


def test_final_status_is_set_once(database: Database) -> None:
    """Promise P4: of two processes, one finishes a request; none finishes a request with pending images."""
    request_id = given_request(database, 1)
    held = claim_product(database, request_id)

    assert finish(database, request_id, RequestStatus.COMPLETED) is None
    record(database, held, 0, DONE)
    slow, quick = acquire_lease(database, request_id, lease_s=0), acquire_lease(database, request_id)
    end = FinalState(RequestStatus.COMPLETED, None, "output-3.csv")
    assert database.write_now(transitions.start_finishing, slow) is None
    assert database.write_now(transitions.finish, quick, end) is None
    assert database.write_now(transitions.start_finishing, quick) is not None
    assert database.write_now(transitions.finish, slow, end) is None
    assert database.write_now(transitions.finish, quick, end) is not None
    assert database.write_now(transitions.finish, quick, end) is None
    final = get_snapshot(database, request_id)
    assert (final.status, final.output_name) == (RequestStatus.COMPLETED, "output-3.csv")


def test_retry_resets_failed_images_only(database: Database) -> None:
    request_id = given_request(database, 2, 1)
    mixed = claim_product(database, request_id)
    record(database, mixed, 0, DONE)
    record(database, mixed, 1, FAILED)
    state = record(database, claim_product(database, request_id), 0, DONE)
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS)

    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    assert (reopened.status, reopened.generation) == (RequestStatus.PROCESSING, 2)
    assert (reopened.processed_images, reopened.failed_images, reopened.failed_products) == (2, 0, 0)
    assert_counters_equal_rows(database, request_id)
    # A result of the first generation is too late.
    with pytest.raises(LeaseLost):
        record(database, mixed, 1, FAILED)
    again = claim_product(database, request_id)
    assert [image.url for image in again.images] == ["https://x.example/0/1"]
    assert record(database, again, 0, DONE).processed_products == 2
    assert_counters_equal_rows(database, request_id)


def test_deletion_removes_a_final_request_and_refuses_an_open_one(database: Database) -> None:
    request_id = given_request(database, 1)
    other = given_request(database, 1)
    state = record(database, claim_product(database, request_id), 0, DONE)

    assert not database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    finish(database, state.id, RequestStatus.COMPLETED)
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    delete_all(database, request_id)

    left = database.read_now(lambda connection: connection.execute(select(images.c.request_id, images.c.status)).all())
    assert left == [(other, ImageStatus.PENDING)]


def test_lost_request_lease_cannot_write(database: Database) -> None:
    """Promise P4: a suspended process cannot undo what another process did meanwhile."""
    request_id = given_request(database, 1, 1)
    record(database, claim_product(database, request_id), 0, FAILED)
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    asleep = acquire_lease(database, request_id, lease_s=0)
    awake = acquire_lease(database, request_id)

    with pytest.raises(LeaseLost):
        database.write_now(cancel.cancel_chunk, asleep)
    assert not database.write_now(transitions.renew, asleep, 60)
    database.write_now(transitions.release, asleep)
    assert database.write_now(transitions.acquire, request_id, 60) is None
    end = FinalState(RequestStatus.CANCELLED, None, "output-2.csv")
    assert database.write_now(cancel.cancel_chunk, awake)
    assert database.write_now(transitions.finish, awake, end) is not None
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None

    # Nor what was started after that.
    for stale in (asleep, awake):
        for write_chunk in (cancel.cancel_chunk, retry.reopen_chunk):
            with pytest.raises(LeaseLost):
                database.write_now(write_chunk, stale)
        assert database.write_now(transitions.finish, stale, end) is None
    assert get_snapshot(database, request_id).cancelled_images == 1
    assert_counters_equal_rows(database, request_id)


def test_only_the_lease_holder_marks_a_csv_unreadable(database: Database) -> None:
    request_id = given_request(database, 1, total_products=2)
    asleep = acquire_lease(database, request_id, lease_s=0)
    awake = acquire_lease(database, request_id)
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    assert database.write_now(transitions.mark_unreadable, asleep) is None
    assert get_snapshot(database, request_id).termination_reason is TerminationReason.CANCELLED
    stopped = database.write_now(transitions.mark_unreadable, awake)

    assert stopped is not None
    assert (stopped.phase, stopped.termination_reason) == (RequestPhase.STOPPING, TerminationReason.CSV_UNREADABLE)
    cancel_chunk = database.write_now(cancel.cancel_chunk, awake)
    assert cancel_chunk.phase is RequestPhase.FINISHING
    assert database.write_now(transitions.mark_unreadable, awake) is None


def test_retry_after_a_deadline_includes_cancelled_images(database: Database) -> None:
    request_id = given_request(database, 2, 1)
    record(database, claim_product(database, request_id), 0, FAILED)
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE)
    held = cancel_all(database, request_id)
    end = FinalState(RequestStatus.FAILED, RequestFailureCode.DEADLINE, "output-1.csv")
    assert database.write_now(transitions.finish, held, end) is not None

    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    assert (reopened.failed_images, reopened.cancelled_images, reopened.pending_images) == (0, 0, 3)
    assert_counters_equal_rows(database, request_id)


def test_automatic_retries_are_limited_to_temporary_failures(database: Database) -> None:
    request_id = given_request(database, 2, 1, 1)
    mixed = claim_product(database, request_id)
    record(database, mixed, 0, FAILED)
    record(database, mixed, 1, replace(FAILED, error_retryable=True))
    record(database, claim_product(database, request_id), 0, FAILED)
    state = record(database, claim_product(database, request_id), 0, DONE)
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS, max_auto_retries=1, retry_after_s=0)
    assert database.read_now(retry.list_due_auto_retries, 10) == [(DEFAULT_TENANT, request_id)]

    assert database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    assert (reopened.failed_images, reopened.failed_products, reopened.pending_images) == (2, 1, 1)
    assert_counters_equal_rows(database, request_id)
    again = claim_product(database, request_id)
    assert [image.url for image in again.images] == ["https://x.example/0/1"]
    state = record(database, again, 0, replace(FAILED, error_retryable=True))
    assert state.failed_products == 2
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS, max_auto_retries=1, retry_after_s=0)
    assert database.read_now(retry.list_due_auto_retries, 10) == []
    assert database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id) is None
