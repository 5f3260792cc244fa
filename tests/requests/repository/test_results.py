"""Results of images that are recorded in groups, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, lanes, products
from gql_imgproc.enums import ImageOutcome, ProductStatus
from gql_imgproc.requests.repository import claims, results
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    claim_image,
    finished_image,
    get_snapshot,
    give_back,
    given_request,
    ready_lanes,
    record,
    try_claim,
)
from tests.support.statements import collect_statements

KEPT = replace(DONE, outcome=ImageOutcome.KEPT, output_bytes=1000)


def claim_in_order(database: Database, request_id: UUID, count: int) -> list[ClaimedImage]:
    return sorted(try_claim(database, request_id, count), key=lambda image: image.url)


def read_images(database: Database, *columns: Any) -> dict[UUID, tuple[Any, ...]]:
    def read(connection: Connection) -> dict[UUID, tuple[Any, ...]]:
        return {row[0]: tuple(row[1:]) for row in connection.execute(select(images.c.id, *columns))}

    return database.read_now(read)


def test_group_of_results_updates_each_request_once(database: Database) -> None:
    # Given images of two requests,
    ids = given_request(database, 2, 1), given_request(database, 3)
    first, second = (claim_in_order(database, id, 9) for id in ids)
    before = [get_snapshot(database, id) for id in ids]

    # when all but one of them are recorded in one transaction,
    finished = [
        *(FinishedImage(image, result) for image, result in zip(first, (DONE, FAILED, KEPT), strict=True)),
        *(FinishedImage(image, FAILED) for image in second[1:]),
    ]
    recorded = database.write_now(results.record, finished, [])

    # then each request changes once, and its new state is returned.
    after = {snapshot.id: snapshot for snapshot in recorded.snapshots}
    assert recorded.lost == frozenset()
    assert after == {id: get_snapshot(database, id) for id in ids}
    assert [after[id].sequence - seen.sequence for id, seen in zip(ids, before, strict=True)] == [1, 1]
    counters = [
        (
            after[id].processed_images,
            after[id].failed_images,
            after[id].kept_images,
            after[id].processed_products,
            after[id].failed_products,
            after[id].input_bytes,
            after[id].output_bytes,
        )
        for id in ids
    ]
    assert counters == [(2, 1, 1, 1, 1, 2000, 1400), (0, 2, 0, 0, 0, 0, 0)]
    for id in ids:
        assert_counters_equal_rows(database, id)


def test_lost_lease_drops_only_its_image(database: Database) -> None:
    # Given claimed images, two of which another worker has claimed meanwhile,
    request_id = given_request(database, 1, 2, 2)
    mine = try_claim(database, request_id, 5, lease_s=0)
    lost = {image.id for image in try_claim(database, request_id, 2)}

    # when the first worker records all of them,
    finished = [finished_image(image) for image in mine[:3]]
    returned = [ReturnedImage(image, ReturnReason.REFUSED) for image in mine[3:]]
    recorded = database.write_now(results.record, finished, returned)

    # then only those two are dropped.
    assert recorded.lost == lost
    finished_ids = {item.image.id for item in finished} - lost
    assert get_snapshot(database, request_id).processed_images == len(finished_ids)
    refusals = read_images(database, images.c.refusals)
    assert {id for id, (count,) in refusals.items() if count} == {image.id for image in mine[3:]} - lost
    assert_counters_equal_rows(database, request_id)


def test_group_of_lost_leases_changes_nothing(database: Database) -> None:
    request_id = given_request(database, 2)
    mine = try_claim(database, request_id, 2, lease_s=0)
    try_claim(database, request_id, 2)
    before = get_snapshot(database, request_id)

    finished, returned = [finished_image(mine[0])], [ReturnedImage(mine[1], ReturnReason.FAILED)]
    recorded = database.write_now(results.record, finished, returned)

    assert (recorded.snapshots, recorded.lost) == ((), frozenset(image.id for image in mine))
    assert get_snapshot(database, request_id) == before


def test_commit_whose_answer_was_lost_counts_nothing_twice(database: Database) -> None:
    # Given a group with every kind of result,
    request_id = given_request(database, 2, 1, 4)
    claimed = claim_in_order(database, request_id, 7)
    finished = [FinishedImage(image, result) for image, result in zip(claimed, (DONE, FAILED, KEPT), strict=False)]
    returned = [ReturnedImage(image, reason) for image, reason in zip(claimed[3:], ReturnReason, strict=True)]
    first = database.write_now(results.record, finished, returned)
    rows = read_images(database, *images.c)

    # when its transaction runs again,
    second = database.write_now(results.record, finished, returned)

    # then nothing changes, and the state to publish is the same.
    assert second.snapshots == first.snapshots == (get_snapshot(database, request_id),)
    assert read_images(database, *images.c) == rows
    assert (first.snapshots[0].processed_images, first.snapshots[0].failed_images) == (2, 1)
    assert first.lost == second.lost == frozenset()
    assert_counters_equal_rows(database, request_id)
    again = {image.id: image for image in try_claim(database, request_id, 4)}
    assert [again[item.image.id].attempts for item in returned] == [2, 1, 1, 1]
    assert [again[item.image.id].refusals for item in returned] == [0, 1, 0, 0]


def test_repeated_group_records_what_is_new_in_it(database: Database) -> None:
    request_id = given_request(database, 2)
    old, new = (finished_image(image) for image in try_claim(database, request_id, 2))
    database.write_now(results.record, [old], [])

    (state,) = database.write_now(results.record, [old, new], []).snapshots

    assert (state.processed_images, state.processed_products) == (2, 1)
    assert_counters_equal_rows(database, request_id)


def test_retried_image_ignores_the_result_of_its_first_run(database: Database) -> None:
    """A result is fenced by the image's token, whatever the state of its request."""
    request_id = given_request(database, 1)
    expired = claim_image(database, request_id, lease_s=0)
    record(database, claim_image(database, request_id), FAILED)

    recorded = database.write_now(results.record, [finished_image(expired)], [])

    assert (recorded.snapshots, recorded.lost) == ((), frozenset({expired.id}))
    assert get_snapshot(database, request_id).failed_images == 1


def test_late_result_of_a_returned_image_is_dropped_beside_a_later_return(database: Database) -> None:
    # Given an image that was claimed a second time after its lease expired, and then returned,
    request_id = given_request(database, 1)
    first = claim_image(database, request_id, lease_s=0)
    second = claim_image(database, request_id)
    give_back(database, second, 60)

    # when a group has the first claim's return and a late result of the second,
    late = [finished_image(second)], [ReturnedImage(first, ReturnReason.FAILED)]
    recorded = database.write_now(results.record, *late)

    # then both are dropped.
    assert (recorded.snapshots, recorded.lost) == ((), frozenset({first.id}))


def test_products_of_a_group_are_counted_by_their_own_results(database: Database) -> None:
    request_id = given_request(database, 1, 2, 2, 3)
    outcomes = [DONE, DONE, FAILED, FAILED, FAILED, DONE, FAILED]
    claimed = claim_in_order(database, request_id, 8)
    finished = [FinishedImage(image, result) for image, result in zip(claimed, outcomes, strict=False)]

    (state,) = database.write_now(results.record, finished, []).snapshots

    columns = products.c.status, products.c.processed_images, products.c.failed_images
    rows = database.read_now(
        lambda connection: connection.execute(select(*columns).order_by(products.c.position)).all()
    )
    assert rows == [
        (ProductStatus.COMPLETED, 1, 0),
        (ProductStatus.COMPLETED_WITH_ERRORS, 1, 1),
        (ProductStatus.FAILED, 0, 2),
        (ProductStatus.PROCESSING, 1, 1),
    ]
    assert (state.processed_products, state.failed_products, state.pending_images) == (1, 2, 1)
    assert_counters_equal_rows(database, request_id)


def test_returned_images_wake_their_lane_at_the_earliest_of_their_times(database: Database) -> None:
    request_id = given_request(database, 3)
    claimed = try_claim(database, request_id, 4)
    assert try_claim(database, request_id, 4) == ()

    returned = [
        ReturnedImage(image, ReturnReason.FAILED, delay_s) for image, delay_s in zip(claimed, (30, 20, 40), strict=True)
    ]
    database.write_now(results.record, [], returned)

    due = read_images(database, images.c.due_at)
    (wake_at,) = database.read_now(lambda connection: connection.scalars(select(lanes.c.wake_at)).all())
    assert abs((wake_at - due[claimed[1].id][0]).total_seconds()) < 1
    assert due[claimed[1].id] < due[claimed[0].id] < due[claimed[2].id]


@pytest.mark.parametrize(
    ("requests", "kinds", "count"),
    [
        # Images are locked and updated, products are locked and updated, hosts are read for the statistics, which are
        # updated, and so is the request.
        (1, ("failed",), 7),
        # Renditions are inserted and locked, and their sources are remembered.
        (1, ("done",), 10),
        # Products with another result are updated by the same statement.
        (1, ("done", "failed"), 10),
        # Each request has its own counters.
        (4, ("done", "failed"), 13),
        # Returned images are updated, and their lanes are woken. Requests pass a quarter: their endpoints are read.
        (4, ("done", "failed", "returned"), 16),
        (4, ("returned",), 3),
    ],
)
def test_results_are_recorded_in_few_statements(
    database: Database, requests: int, kinds: tuple[str, ...], count: int
) -> None:
    per_request = 64 // requests
    claimed: list[ClaimedImage] = []
    for _ in range(requests):
        claimed += try_claim(database, given_request(database, *[1] * per_request), per_request)
    finished, returned = [], []
    for number, image in enumerate(claimed):
        kind = kinds[number % len(kinds)]
        if kind == "returned":
            returned.append(ReturnedImage(image, ReturnReason.GIVEN_BACK))
        else:
            finished.append(finished_image(image, DONE if kind == "done" else FAILED, image.id.bytes))

    with collect_statements(database) as statements:
        recorded = database.write_now(results.record, finished, returned)

    assert len(claimed) == 64
    assert recorded.lost == frozenset()
    assert len(statements) == count


def test_images_are_claimed_in_few_statements(database: Database) -> None:
    """One each for requests, images of a lane, URLs, and what is known of them; two to start what they belong to."""
    request_id = given_request(database, *[1] * 64)

    def count_of_claim() -> tuple[int, int]:
        with collect_statements(database) as statements:
            found = database.write_now(
                lambda connection: claims.claim_images(connection, dict.fromkeys(wanted, 8), {}, 60)
            )
        return len(found.images), len(statements)

    wanted = database.read_now(ready_lanes, request_id)
    assert [count_of_claim() for _ in range(8)] == [(8, 6), *[(8, 5)] * 7]
    # A lane that has too few is locked and put to sleep.
    assert count_of_claim() == (0, 4)
