"""Statistics of a request equal its rows, and reading them costs the same for any number of images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import image_statistics
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests.repository import image_statistics as statistics
from gql_imgproc.requests.repository import lanes, results, retry, transitions
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason
from gql_imgproc.requests.repository.image_statistics import FormatStatistics, RequestStatistics
from gql_imgproc.requests.repository.lanes import lane_id
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    claim_image,
    delete_all,
    finish,
    give_back,
    given_request,
    given_urls,
    record,
    reopen_all,
    try_claim,
)
from tests.support.statements import collect_statements

TIMEOUT = replace(FAILED, error_code=ImageErrorCode.TIMEOUT)


def read(database: Database, request_id: object) -> RequestStatistics:
    return database.read_now(statistics.read_statistics, DEFAULT_TENANT, request_id)


def test_images_are_counted_by_format_error_and_host(database: Database) -> None:
    # Given four images of one host, of which one repeats another, and two of another host,
    request_id = given_urls(
        database, ["https://a.example/1", "https://a.example/2", "https://a.example/1"], ["https://b.example/1"] * 2
    )
    other = given_request(database, 1)

    # when they end differently, after their host asked twice to slow down,
    for _ in range(2):
        for image in try_claim(database, request_id):
            give_back(database, image, reason=ReturnReason.REFUSED)
    webp = replace(DONE, format="image/webp", input_bytes=7, output_bytes=5)
    outcomes = {0: DONE, 1: webp, 2: FAILED}
    for number, image in enumerate(sorted(try_claim(database, request_id, 2), key=lambda image: image.id)):
        record(database, image, outcomes[number])

    # then the statistics have each of them once.
    found = read(database, request_id)
    assert found.by_format == [FormatStatistics("image/jpeg", 2, 2_000, 800), FormatStatistics("image/webp", 1, 7, 5)]
    assert found.by_error == {ImageErrorCode.HTTP_STATUS: 2}
    hosts = [(each.host, each.images, each.completed, each.failed, each.throttled) for each in found.by_host]
    assert hosts == [("b.example:443", 2, 0, 2, 2), ("a.example:443", 3, 3, 0, 2)]
    assert_counters_equal_rows(database, request_id)
    assert read(database, other).by_format == []
    assert database.read_now(statistics.read_statistics, new_id(), request_id) == RequestStatistics([], {}, [])


def test_retried_images_count_no_more_as_failed(database: Database) -> None:
    request_id = given_request(database, 3)
    for image, result in zip(try_claim(database, request_id, 3), (FAILED, TIMEOUT, TIMEOUT), strict=True):
        record(database, image, result)
    finish(database, request_id, RequestStatus.COMPLETED_WITH_ERRORS)
    assert list(read(database, request_id).by_error.items()) == [
        (ImageErrorCode.TIMEOUT, 2),
        (ImageErrorCode.HTTP_STATUS, 1),
    ]

    database.write_now(retry.start_retry, DEFAULT_TENANT, request_id)
    reopen_all(database, request_id)

    found = read(database, request_id)
    assert (found.by_error, found.by_host[0].failed) == ({}, 0)
    record(database, claim_image(database, request_id), DONE)
    assert_counters_equal_rows(database, request_id)


def test_result_whose_lease_was_lost_counts_nothing(database: Database) -> None:
    request_id = given_request(database, 1)
    late = claim_image(database, request_id, lease_s=-1)
    record(database, claim_image(database, request_id), DONE)

    for _ in range(2):
        database.write_now(results.record, [FinishedImage(late, FAILED)], [])
        database.write_now(results.record, [], [ReturnedImage(late, ReturnReason.REFUSED)])

    found = read(database, request_id)
    assert ([each.images for each in found.by_format], found.by_error, found.by_host[0].throttled) == ([1], {}, 0)


def test_host_that_is_paused_tells_when_its_images_are_due(database: Database) -> None:
    request_id = given_request(database, 2)
    assert read(database, request_id).by_host[0].next_due_at is None

    database.write_now(lanes.sleep_lanes, {lane_id(request_id, "x.example:443"): 600.0})

    (host,) = read(database, request_id).by_host
    assert host.next_due_at is not None
    assert host.images - host.completed - host.failed == 2


def test_host_without_images_left_has_none_due(database: Database) -> None:
    # Given a host whose lane sleeps until the lease of its last images ends,
    request_id = given_request(database, 2)
    claimed = try_claim(database, request_id, 2)
    database.write_now(lanes.sleep_lanes, {lane_id(request_id, "x.example:443"): 600.0})

    # when one image is done, then the other one is due; when both are, then none.
    record(database, claimed[0], DONE)
    assert read(database, request_id).by_host[0].next_due_at is not None
    record(database, claimed[1], FAILED)
    assert read(database, request_id).by_host[0].next_due_at is None


@pytest.mark.parametrize("hosts", [1, 300])
def test_cost_and_size_are_the_same_for_any_number_of_images(database: Database, hosts: int) -> None:
    urls = [f"https://h{number}.example/{number}" for number in range(hosts)]
    request_id = given_urls(database, *([url] for url in urls))
    last = max(try_claim(database, request_id), key=lambda image: image.id)
    record(database, last, FAILED)

    with collect_statements(database) as statements:
        found = database.write_now(statistics.read_statistics, DEFAULT_TENANT, request_id)

    assert len(statements) == 4
    assert len(found.by_host) == min(hosts, statistics.MAX_HOSTS)
    # The host with failed images comes first.
    assert (found.by_host[0].host, found.by_host[0].failed) == (f"h{hosts - 1}.example:443", 1)


def test_statistics_are_deleted_with_their_request(database: Database) -> None:
    request_id = given_request(database, 1)
    record(database, claim_image(database, request_id), DONE)
    finish(database, request_id, RequestStatus.COMPLETED)

    database.write_now(transitions.start_deletion, DEFAULT_TENANT, request_id)
    delete_all(database, request_id)

    assert database.read_now(lambda connection: connection.execute(image_statistics.select()).all()) == []
