"""Images of one URL in a request are downloaded once, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, renditions
from gql_imgproc.enums import ImageStatus, RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repeated_urls import RepeatedUrls
from gql_imgproc.requests.repository import cleanups, create, results, retry, transitions
from gql_imgproc.requests.repository.create import NewProduct
from gql_imgproc.requests.repository.image_results import FinishedImage
from gql_imgproc.requests.repository.transitions import FinalState, RequestLease
from gql_imgproc.requests.snapshot import Snapshot
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    cancel_all,
    claim_image,
    finish,
    finished_image,
    get_snapshot,
    given_urls,
    record,
    reopen_all,
    try_claim,
)

SAME, OTHER = "https://x.example/same", "https://x.example/other"


def read_images(database: Database, *columns: Any) -> list[Any]:
    statement = select(*columns).order_by(images.c.id)
    return database.read_now(lambda connection: [tuple(row) for row in connection.execute(statement)])


def insert_rest(database: Database, lease: RequestLease, *urls_per_product: list[str]) -> Snapshot:
    """Inserts the products after the first one, whose only URL is SAME."""
    repeated_urls = RepeatedUrls()
    repeated_urls.find(0, [SAME])
    rest = [
        NewProduct(position, str(position), "p", urls, repeated_urls.find(position, urls))
        for position, urls in enumerate(urls_per_product, 1)
    ]
    return database.write_now(create.insert_chunk, lease, rest)


def test_url_is_claimed_once_per_request(database: Database) -> None:
    # Given a URL that one request has four times, in three products, and another request once,
    request_id = given_urls(database, [SAME, OTHER, SAME], [SAME], [SAME])
    other_id = given_urls(database, [SAME])

    # when all is claimed that is due,
    claimed = try_claim(database, request_id, 9)

    # then each URL is claimed once,
    assert [image.url for image in claimed] == [SAME, OTHER]
    assert [image.url for image in try_claim(database, other_id, 9)] == [SAME]
    # and its result is that of all images, with one object.
    state = record(database, claimed[0], DONE)
    assert (state.processed_images, state.processed_products, state.pending_images) == (4, 2, 1)
    assert (state.input_bytes, state.output_bytes) == (4_000, 1_600)
    assert_counters_equal_rows(database, request_id)
    columns = images.c.status, images.c.object_name, images.c.attempts, images.c.similarity
    done = [row for row in read_images(database, *columns) if row[1]]
    assert [(status, *rest) for status, _, *rest in done] == [(ImageStatus.COMPLETED, 1, 81.5)] * 4
    assert len({name for _, name, *_ in done}) == 1
    # A second run, after a commit whose answer was lost, counts nothing twice.
    (again,) = database.write_now(results.record, [FinishedImage(claimed[0], DONE)], []).snapshots
    assert again == state


def test_failure_is_that_of_all_images_of_the_url_and_so_is_the_retry(database: Database) -> None:
    request_id = given_urls(database, [SAME], [SAME, OTHER])
    first, other = try_claim(database, request_id, 9)
    record(database, other, DONE)
    assert record(database, first, FAILED).failed_images == 2
    assert finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS) is not None

    # When the failed images are retried,
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    reopened = reopen_all(database, request_id)

    # then the URL is claimed once.
    assert (reopened.pending_images, reopened.failed_images) == (2, 0)
    assert_counters_equal_rows(database, request_id)
    final = record(database, claim_image(database, request_id), DONE)
    assert (final.processed_images, final.processed_products, final.pending_images) == (3, 2, 0)
    assert try_claim(database, request_id) == ()
    assert_counters_equal_rows(database, request_id)


@pytest.mark.parametrize("result", [DONE, FAILED])
def test_repeat_that_is_inserted_after_the_result_gets_it(database: Database, result: Any) -> None:
    # Given a request whose first image is final, and whose second chunk is not inserted yet,
    request_id = given_urls(database, [SAME], total_products=3, total_images=4)
    record(database, claim_image(database, request_id), result)

    # when the chunk is inserted,
    state = insert_rest(database, acquire_lease(database, request_id), [SAME], [OTHER, SAME])

    # then only the other URL is left.
    assert (state.phase, state.pending_images) == (RequestPhase.WORKING, 1)
    assert (state.processed_images, state.failed_images) == ((3, 0) if result is DONE else (0, 3))
    assert_counters_equal_rows(database, request_id)
    assert [image.url for image in try_claim(database, request_id, 9)] == [OTHER]


def test_repeat_that_is_inserted_before_the_result_gets_it(database: Database) -> None:
    request_id = given_urls(database, [SAME], total_products=3, total_images=4)
    claimed = claim_image(database, request_id)

    insert_rest(database, acquire_lease(database, request_id), [SAME], [OTHER, SAME])

    assert record(database, claimed, DONE).processed_images == 3
    assert_counters_equal_rows(database, request_id)


def test_many_repeats_are_finished_in_several_transactions_before_their_original(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P1: the worker that claims the image after a crash finishes the rest; the object is counted once."""
    # Given an image with five repeats, of which two fit into a transaction,
    monkeypatch.setattr(results, "MAX_COPIES", 2)
    request_id = given_urls(database, [SAME] * 4, [SAME, SAME])
    killed = claim_image(database, request_id, lease_s=0)

    # when its worker is killed after the first transaction,
    recorded = database.write_now(results.record, [finished_image(killed)], [])
    assert (recorded.postponed, recorded.copies) == ({killed.id}, {killed.id: 2})
    assert (recorded.snapshots[0].processed_images, recorded.snapshots[0].stored_bytes) == (2, 400)
    assert_counters_equal_rows(database, request_id)
    successor = finished_image(claim_image(database, request_id))

    # then another one finishes the others, and the image last.
    states = [database.write_now(results.record, [successor], []) for _ in range(3)]
    assert [state.snapshots[0].processed_images for state in states] == [4, 6, 6]
    assert [bool(state.postponed) for state in states] == [True, False, False]
    assert database.write_now(results.record, [finished_image(killed)], []).lost == {killed.id}
    assert_counters_equal_rows(database, request_id)
    assert get_snapshot(database, request_id).stored_bytes == 400


def test_object_that_only_repeats_name_is_kept(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an image that was claimed again after some of its repeats were finished,
    monkeypatch.setattr(results, "MAX_COPIES", 1)
    request_id = given_urls(database, [SAME, SAME, SAME])
    killed = claim_image(database, request_id, lease_s=0)
    first = FinishedImage(killed, _stored(killed.id, 1))
    database.write_now(results.record, [first], [])
    successor = claim_image(database, request_id)

    # when the successor has stored another object,
    second = FinishedImage(successor, _stored(successor.id, 2))
    while database.write_now(results.record, [second], []).postponed:
        pass

    # then both are kept.
    stems = database.read_now(cleanups.legacy_key_stems, [killed.id])
    folder = f"requests/{request_id.hex}/images/{killed.id.hex}"
    assert stems == {f"{folder}-1", f"{folder}-2"}


def test_object_of_an_image_that_is_cancelled_before_its_result_is_checked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two images with repeats, of which one fits into a transaction,
    monkeypatch.setattr(results, "MAX_COPIES", 1)
    request_id = given_urls(database, [SAME, SAME, SAME], [OTHER, OTHER])
    first, second = (
        finished_image(claim_image(database, request_id), content=content) for content in (b"first", b"second")
    )

    # when both are recorded, and the request is cancelled before the next transaction,
    recorded = database.write_now(results.record, [first, second], [])
    assert recorded.postponed == {first.image.id, second.image.id}
    assert recorded.copies == {first.image.id: 1, second.image.id: 0}
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    cancel_all(database, request_id)

    # then the object to which no image refers is checked, and so deleted.
    planned = select(renditions.c.id).where(renditions.c.check_at.is_not(None))
    assert database.read_now(lambda connection: connection.scalars(planned).all()) == [second.outputs[0].rendition.id]
    assert_counters_equal_rows(database, request_id)


def test_failure_with_repeats_waits_for_room_in_a_transaction(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a transaction with room for one repeat, which another image takes,
    monkeypatch.setattr(results, "MAX_COPIES", 1)
    request_id = given_urls(database, [SAME, SAME], [OTHER, OTHER])
    claimed = try_claim(database, request_id, 9)
    items = [finished_image(claimed[0]), finished_image(claimed[1], FAILED)]

    # when an image that failed, and so has no object, waits for the next one,
    recorded = database.write_now(results.record, items, [])
    assert recorded.copies == {claimed[0].id: 1, claimed[1].id: 0}
    while recorded.postponed:
        recorded = database.write_now(results.record, items, [])

    # then each repeat gets the result of its image.
    state = get_snapshot(database, request_id)
    assert (state.processed_images, state.failed_images, state.pending_images) == (2, 2, 0)
    assert_counters_equal_rows(database, request_id)


def _stored(image_id: UUID, token: int) -> Any:
    return replace(DONE, object_name=f"{image_id.hex}-{token}.jpg")


def test_cancelled_repeat_stays_cancelled_until_a_retry(database: Database) -> None:
    # Given a request that meets its deadline after the second of three products was inserted,
    request_id = given_urls(database, [SAME], total_products=2, total_images=2)
    claimed = claim_image(database, request_id)
    lease = acquire_lease(database, request_id)
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE)
    record(database, claimed, DONE)
    repeated_urls = RepeatedUrls()
    repeated_urls.find(0, [SAME])
    rest = [NewProduct(1, "2", "p", [SAME], repeated_urls.find(1, [SAME]))]
    database.write_now(create.insert_cancelled_chunk, lease, rest)
    database.write_now(transitions.release, lease)
    end = FinalState(RequestStatus.COMPLETED_WITH_ERRORS, RequestFailureCode.DEADLINE, "output-1.csv")
    assert database.write_now(transitions.finish, cancel_all(database, request_id), end) is not None
    assert get_snapshot(database, request_id).cancelled_images == 1

    # when the request is retried,
    assert database.write_now(retry.start_retry, DEFAULT_TENANT, request_id) is not None
    state = reopen_all(database, request_id)

    # then the cancelled image has the result that was there.
    assert (state.processed_images, state.cancelled_images, state.pending_images) == (2, 0, 0)
    assert_counters_equal_rows(database, request_id)


def test_insertion_and_result_at_the_same_time_lose_no_repeat(database: Database) -> None:
    """Whichever is first: the other one waits for the lock of the original."""
    for _ in range(10):
        request_id = given_urls(database, [SAME], total_products=3, total_images=4)
        claimed = claim_image(database, request_id)
        lease = acquire_lease(database, request_id)
        start = threading.Barrier(2)

        def insert(lease: RequestLease = lease, start: threading.Barrier = start) -> None:
            start.wait()
            insert_rest(database, lease, [SAME], [OTHER, SAME])

        inserting = threading.Thread(target=insert)
        inserting.start()
        start.wait()
        record(database, claimed, DONE)
        inserting.join()

        assert get_snapshot(database, request_id).processed_images == 3
        assert_counters_equal_rows(database, request_id)


def test_result_that_is_recorded_during_an_insertion_waits_for_it(database: Database) -> None:
    if database.sqlite:
        pytest.skip("SQLite has one writer")
    request_id = given_urls(database, [SAME], total_products=2, total_images=2)
    claimed = claim_image(database, request_id)
    lease = acquire_lease(database, request_id)
    recording = threading.Thread(target=record, args=(database, claimed, DONE))

    def insert_slowly(connection: Connection) -> None:
        rest = [NewProduct(1, "2", "p", [SAME], {0: (0, 0)})]
        create.insert_chunk(connection, lease, rest)
        recording.start()
        recording.join(0.3)
        assert recording.is_alive()

    database.write_now(insert_slowly)
    recording.join()

    assert get_snapshot(database, request_id).processed_images == 2
    assert_counters_equal_rows(database, request_id)
