"""Claims of images, stopping, finishing and retries, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Column, Connection, select, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, lanes, products, requests
from gql_imgproc.database.types import now_plus
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
from gql_imgproc.requests.repository import cancel, claims, results, retry, transitions
from gql_imgproc.requests.repository import lanes as lane_statements
from gql_imgproc.requests.repository.claims import Claim, ClaimedImage
from gql_imgproc.requests.repository.image_results import ReturnReason
from gql_imgproc.requests.repository.transitions import FinalState
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    cancel_all,
    claim_image,
    delete_all,
    finish,
    finished_image,
    get_snapshot,
    give_back,
    given_request,
    given_urls,
    ready_lanes,
    record,
    reopen_all,
    try_claim,
)
from tests.support.statements import collect_statements


def read_column(database: Database, column: Column[Any]) -> list[Any]:
    """The values of a column of `products` or `images`, by position."""

    def read(connection: Connection) -> list[Any]:
        return list(connection.scalars(select(column).order_by(column.table.c.position)))

    return database.read_now(read)


def claim_once(database: Database, request_id: UUID, count: int = 1) -> Claim:
    """Claims through the lanes that are ready now; none is woken before."""

    def claim(connection: Connection) -> Claim:
        wanted = dict.fromkeys(ready_lanes(connection, request_id), count)
        return claims.claim_images(connection, wanted, {}, 60)

    return database.write_now(claim)


def record_late(database: Database, image: ClaimedImage) -> frozenset[UUID]:
    """Records a result of an image whose lease may be lost. Returns the images that were dropped."""
    return database.write_now(results.record, [finished_image(image)], []).lost


def stop(database: Database, request_id: UUID) -> None:
    reason = TerminationReason.CANCELLED
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, reason) is not None


def test_images_are_claimed_once(database: Database) -> None:
    request_id = given_request(database, 1, 2, 1)

    found = [claim_once(database, request_id) for _ in range(5)]

    assert [len(claim.images) for claim in found] == [1, 1, 1, 1, 0]
    assert {image.url for claim in found for image in claim.images} == {
        "https://x.example/0/0",
        "https://x.example/1/0",
        "https://x.example/1/1",
        "https://x.example/2/0",
    }
    (image,) = found[0].images
    assert (image.host, image.lease_token, image.attempts, image.is_suspect) == ("x.example:443", 1, 1, False)
    # The first claim starts the request, and the first one of a product starts that.
    assert [[request.sequence for request in claim.started] for claim in found] == [[2], [], [], [], []]
    assert get_snapshot(database, request_id).status is RequestStatus.PROCESSING
    assert read_column(database, products.c.status) == [ProductStatus.PROCESSING] * 3


def test_images_that_were_due_first_are_claimed_first(database: Database) -> None:
    request_id = given_request(database, 1, 1, 1)
    images = try_claim(database, request_id, 3)
    for image in images:
        give_back(database, image)

    assert [claim_image(database, request_id).id for _ in images] == [image.id for image in images]


def test_claim_takes_as_many_images_of_each_lane_as_wanted(database: Database) -> None:
    urls = [f"https://{host}.example/{n}" for host in ("a", "b") for n in range(5)]
    request_id = given_urls(database, urls)

    found = [claim_once(database, request_id, 3).images for _ in range(3)]

    hosts = [Counter(image.host for image in images) for images in found]
    assert hosts == [{"a.example:443": 3, "b.example:443": 3}, {"a.example:443": 2, "b.example:443": 2}, {}]
    assert sorted(image.url for images in found for image in images) == urls


def test_expired_lease_is_claimed_again_and_fences_off_the_old_worker(database: Database) -> None:
    """Promise P2: nothing is counted twice. The image may have killed its worker, or not: it loses no attempt."""
    request_id = given_request(database, 1)
    expired = claim_image(database, request_id, lease_s=0)

    successor = claim_image(database, request_id)

    assert (expired.lease_token, expired.attempts, expired.is_suspect) == (1, 1, False)
    assert (successor.lease_token, successor.attempts, successor.is_suspect) == (2, 1, True)
    assert record_late(database, expired) == {expired.id}
    assert database.write_now(claims.renew_leases, [expired], 60) == set()
    assert not database.write_now(claims.mark_crash_suspect, expired)
    assert record(database, successor, DONE).processed_images == 1
    assert_counters_equal_rows(database, request_id)


def test_suspect_that_ends_in_order_is_innocent(database: Database) -> None:
    request_id = given_request(database, 1)
    claim_image(database, request_id, lease_s=0)

    give_back(database, claim_image(database, request_id))
    again = claim_image(database, request_id)

    assert (again.attempts, again.unfinished_claims) == (2, 1)


def test_suspect_that_is_given_back_untried_stays_one(database: Database) -> None:
    request_id = given_request(database, 1)
    claim_image(database, request_id, lease_s=0)

    give_back(database, claim_image(database, request_id), reason=ReturnReason.GIVEN_BACK)
    again = claim_image(database, request_id)

    assert (again.attempts, again.unfinished_claims) == (1, 2)


def test_crash_suspect_is_marked_once_per_claim(database: Database) -> None:
    request_id = given_request(database, 1)
    claim_image(database, request_id, lease_s=0)
    suspect = claim_image(database, request_id, lease_s=0)

    # A transaction whose answer was lost runs again.
    assert database.write_now(claims.mark_crash_suspect, suspect)
    assert database.write_now(claims.mark_crash_suspect, suspect)

    successor = claim_image(database, request_id)
    assert (successor.crashes, successor.unfinished_claims, successor.attempts) == (1, 3, 1)
    assert not database.write_now(claims.mark_crash_suspect, suspect)
    assert read_column(database, images.c.crashes) == [1]


@pytest.mark.parametrize("reason", ReturnReason)
def test_returned_suspect_did_not_crash(database: Database, reason: ReturnReason) -> None:
    """For example, because its worker stopped while it was decoded in isolation."""
    request_id = given_request(database, 1)
    claim_image(database, request_id, lease_s=0)
    suspect = claim_image(database, request_id)
    assert database.write_now(claims.mark_crash_suspect, suspect)

    give_back(database, suspect, reason=reason)

    assert claim_image(database, request_id).crashes == 0


def test_leases_are_renewed_in_one_statement(database: Database) -> None:
    request_id = given_request(database, *[2] * 20)
    held = try_claim(database, request_id, 40, lease_s=0)
    lost = {image.id for image in try_claim(database, request_id, 4)}
    recorded = next(image for image in held if image.id not in lost)
    record(database, recorded, DONE)

    with collect_statements(database) as statements:
        renewed = database.write_now(claims.renew_leases, held, 60)

    assert len(statements) == 1
    assert renewed == {image.id for image in held} - lost - {recorded.id}
    assert len(renewed) == 35
    assert try_claim(database, request_id, 40) == ()
    assert database.write_now(claims.renew_leases, [], 60) == set()


def test_image_is_recorded_once(database: Database) -> None:
    request_id = given_request(database, 2)
    image = claim_image(database, request_id)
    record(database, image, DONE)

    record(database, image, FAILED)

    assert_counters_equal_rows(database, request_id)
    assert (get_snapshot(database, request_id).processed_images, get_snapshot(database, request_id).failed_images) == (
        1,
        0,
    )


def test_product_status_follows_from_its_images(database: Database) -> None:
    request_id = given_request(database, 2, 2, 2)
    images = sorted(try_claim(database, request_id, 6), key=lambda image: image.url)
    for image, result in zip(images, (DONE, DONE, DONE, FAILED, FAILED, FAILED), strict=True):
        state = record(database, image, result)

    assert read_column(database, products.c.status) == [
        ProductStatus.COMPLETED,
        ProductStatus.COMPLETED_WITH_ERRORS,
        ProductStatus.FAILED,
    ]
    assert (state.processed_products, state.failed_products) == (1, 2)
    assert (state.processed_images, state.failed_images, state.pending_images) == (3, 3, 0)
    assert_counters_equal_rows(database, request_id)


@pytest.mark.parametrize(
    ("reason", "attempts", "refusals"),
    [
        (ReturnReason.FAILED, 3, 0),
        (ReturnReason.REFUSED, 1, 2),
        (ReturnReason.HOST_PAUSED, 1, 0),
        (ReturnReason.GIVEN_BACK, 1, 0),
    ],
)
def test_returned_image_counts_what_its_reason_says(
    database: Database, reason: ReturnReason, attempts: int, refusals: int
) -> None:
    request_id = given_request(database, 1)
    for _ in range(2):
        give_back(database, claim_image(database, request_id), reason=reason)

    third = claim_image(database, request_id)

    assert (third.attempts, third.refusals, third.unfinished_claims, third.lease_token) == (attempts, refusals, 1, 5)
    assert get_snapshot(database, request_id).pending_images == 1
    assert_counters_equal_rows(database, request_id)


def test_returned_image_is_due_after_its_delay(database: Database) -> None:
    request_id = given_request(database, 1)
    image = claim_image(database, request_id)

    give_back(database, image, 60)

    assert try_claim(database, request_id) == ()
    assert record_late(database, image) == {image.id}
    assert database.write_now(claims.renew_leases, [image], 60) == set()
    # The lane sleeps as long as the image.
    created_at = get_snapshot(database, request_id).created_at
    database.write_now(Connection.execute, update(lanes).values(wake_at=created_at))
    assert try_claim(database, request_id) == ()
    database.write_now(Connection.execute, update(images).values(due_at=created_at))
    database.write_now(Connection.execute, update(lanes).values(wake_at=created_at))
    assert claim_image(database, request_id).attempts == 2


def test_request_that_is_stopping_is_not_claimed(database: Database) -> None:
    request_id = given_request(database, 1, 1)
    image = claim_image(database, request_id)

    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    assert claim_once(database, request_id).images == ()
    # Its lane sleeps, and is not tried by every claim until its images are cancelled.
    assert database.read_now(ready_lanes, request_id) == []
    # What was stored before the cancellation is recorded: the user gets it.
    assert record(database, image, DONE).processed_images == 1
    assert_counters_equal_rows(database, request_id)
    assert database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED) is None


def test_cancelling_raises_tokens_so_that_late_results_are_dropped(database: Database) -> None:
    request_id = given_request(database, 2, 1)
    finished, late, returned = try_claim(database, request_id, 3)
    record(database, finished, DONE)
    stop(database, request_id)

    cancel_all(database, request_id)

    assert record_late(database, late) == {late.id}
    give_back(database, returned)
    assert database.write_now(claims.renew_leases, [finished, late, returned], 60) == set()
    assert try_claim(database, request_id) == ()
    state = get_snapshot(database, request_id)
    assert (state.processed_images, state.cancelled_images, state.pending_images) == (1, 2, 0)
    assert_counters_equal_rows(database, request_id)


def test_cancelling_changes_pending_images_only(database: Database) -> None:
    request_id = given_request(database, 2, 1, 1)
    by_url = {image.url: image for image in try_claim(database, request_id, 4)}
    record(database, by_url["https://x.example/0/0"], DONE)
    record(database, by_url["https://x.example/1/0"], DONE)
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
    held = claim_image(database, request_id)

    assert finish(database, request_id, RequestStatus.COMPLETED) is None
    record(database, held, DONE)
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
    by_url = {image.url: image for image in try_claim(database, request_id, 3)}
    failed = by_url["https://x.example/0/1"]
    for image in by_url.values():
        state = record(database, image, FAILED if image is failed else DONE)
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS)

    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    assert (reopened.status, reopened.generation) == (RequestStatus.PROCESSING, 2)
    assert (reopened.processed_images, reopened.failed_images, reopened.failed_products) == (2, 0, 0)
    assert_counters_equal_rows(database, request_id)
    # A result of the first generation is too late.
    assert record_late(database, failed) == {failed.id}
    again = claim_image(database, request_id)
    assert (again.url, again.attempts) == ("https://x.example/0/1", 1)
    assert record(database, again, DONE).processed_products == 2
    assert_counters_equal_rows(database, request_id)


def test_deletion_removes_a_final_request_and_refuses_an_open_one(database: Database) -> None:
    request_id = given_request(database, 1)
    other = given_request(database, 1)
    state = record(database, claim_image(database, request_id), DONE)

    assert not database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    finish(database, state.id, RequestStatus.COMPLETED)
    assert database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    delete_all(database, request_id)

    left = database.read_now(lambda connection: connection.execute(select(images.c.request_id, images.c.status)).all())
    assert left == [(other, ImageStatus.PENDING)]


def test_lost_request_lease_cannot_write(database: Database) -> None:
    """Promise P4: a suspended process cannot undo what another process did meanwhile."""
    request_id = given_request(database, 1, 1)
    record(database, claim_image(database, request_id), FAILED)
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
    record(database, claim_image(database, request_id), FAILED)
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
    outcomes = {
        "https://x.example/0/0": FAILED,
        "https://x.example/0/1": replace(FAILED, error_retryable=True),
        "https://x.example/1/0": FAILED,
        "https://x.example/2/0": DONE,
    }
    for image in try_claim(database, request_id, 4):
        state = record(database, image, outcomes[image.url])
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS, max_auto_retries=1, retry_after_s=0)
    assert database.read_now(retry.list_due_auto_retries, 10) == [(DEFAULT_TENANT, request_id)]

    assert database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    assert (reopened.failed_images, reopened.failed_products, reopened.pending_images) == (2, 1, 1)
    assert_counters_equal_rows(database, request_id)
    again = claim_image(database, request_id)
    assert again.url == "https://x.example/0/1"
    state = record(database, again, replace(FAILED, error_retryable=True))
    assert state.failed_products == 2
    finish(database, state.id, RequestStatus.COMPLETED_WITH_ERRORS, max_auto_retries=1, retry_after_s=0)
    assert database.read_now(retry.list_due_auto_retries, 10) == []
    assert database.write_now(retry.start_auto_retry, DEFAULT_TENANT, request_id) is None


def test_images_of_a_hopeless_lane_are_claimed_once_its_request_has_worked_long_enough(database: Database) -> None:
    request_id = given_urls(database, ["https://dead.example/1", "https://dead.example/2"])
    (lane,) = database.read_now(ready_lanes, request_id)

    early = database.write_now(claims.claim_images, {}, {lane: 60.0}, 60, {lane: 3_600.0})
    is_ready = database.read_now(ready_lanes, request_id) != []
    database.write_now(lane_statements.wake_lanes, {lane.id: 0.0})
    late = database.write_now(claims.claim_images, {}, {lane: 60.0}, 60, {lane: 0.0})

    # Until then, the lane sleeps as that of any paused host.
    assert (early.images, is_ready) == ((), False)
    assert len(late.images) == 2


def test_retry_gives_a_hopeless_lane_another_chance(database: Database) -> None:
    request_id = given_urls(database, ["https://dead.example/1"])
    (lane,) = database.read_now(ready_lanes, request_id)
    long_ago = {"created_at": now_plus(-7_200), "retried_at": now_plus(-10)}
    database.write_now(lambda connection: connection.execute(update(requests).values(long_ago)))

    assert database.write_now(claims.claim_images, {}, {lane: 60.0}, 60, {lane: 3_600.0}).images == ()
