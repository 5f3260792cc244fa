"""Statistics of the service are exact, and as cheap with many rows as with few."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.requests.repository import lanes, statistics
from gql_imgproc.requests.repository.statistics import Statistics
from tests.requests.repository.test_query_plans import grows_with_the_table, steps
from tests.support.scenarios import (
    DONE,
    FAILED,
    claim_image,
    finish,
    get_snapshot,
    give_back,
    given_request,
    given_urls,
    ready_lanes,
    record,
    try_claim,
)


def read(database: Database) -> Statistics:
    return database.read_now(statistics.read_statistics)


def test_statistics_of_an_empty_service_are_zero(database: Database) -> None:
    assert read(database) == Statistics({RequestStatus.PENDING: 0, RequestStatus.PROCESSING: 0}, 0, 0, 0.0, 0, 0)


def test_statistics_count_open_and_claimable_work(database: Database) -> None:
    # Given a request with two recorded and one leased image, a new request, and a final one,
    begun, new, ended = given_request(database, 1, 1, 1, 1), given_request(database, 1, 1), given_request(database, 1)
    record(database, claim_image(database, begun), DONE)
    record(database, claim_image(database, begun), FAILED)
    claim_image(database, begun)
    record(database, claim_image(database, ended), DONE)
    finish(database, ended, RequestStatus.COMPLETED, output_name=None)
    # and the new one is idle for a minute,
    minute_ago = get_snapshot(database, new).updated_at - timedelta(seconds=60)
    statement = update(requests).where(requests.c.id == new).values(updated_at=minute_ago)
    database.write_now(Connection.execute, statement)

    # when the statistics are read,
    seen = read(database)

    # then open work is counted, and leased images are not claimable.
    assert seen.open_requests == {RequestStatus.PENDING: 1, RequestStatus.PROCESSING: 1}
    assert (seen.pending_products, seen.pending_images) == (4, 4)
    assert seen.claimable_images == 3
    assert 60 <= seen.oldest_idle_s < 120
    assert seen.due_webhooks == 0


def test_images_of_paused_hosts_are_not_claimable(database: Database) -> None:
    """More workers would not help with them."""
    # Given images of three hosts, one of which is paused,
    request_id = given_urls(database, [f"https://{host}.example/{n}" for host in "abc" for n in range(3)])
    paused, *_ = database.read_now(ready_lanes, request_id)
    assert read(database).claimable_images == 9

    # when its lane sleeps, and an image of another host is retried later,
    database.write_now(lanes.sleep_lanes, {paused.id: 60.0})
    first, *_ = try_claim(database, request_id)
    give_back(database, first, 60)

    # then only the due images of ready lanes are counted.
    assert read(database).claimable_images == 4
    assert read(database).pending_images == 9


def test_claimable_images_are_counted_up_to_a_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    given_request(database, *[1] * 7)
    given_request(database, *[1] * 7)
    assert read(database).claimable_images == 14

    monkeypatch.setattr(statistics, "COUNTED_IMAGES", 9)
    assert read(database).claimable_images == 9
    monkeypatch.setattr(statistics, "COUNTED_LANES", 1)
    assert read(database).claimable_images == 7
    assert read(database).pending_images == 14


def test_statistics_read_images_through_an_index(database: Database) -> None:
    given_request(database, 1)

    found = steps(database, statistics.read_statistics)

    assert any("ix_lanes_ready" in step for step in found)
    assert any("ix_images_due" in step for step in found)
    assert not any("Seq Scan" in step for step in found)
    # The few open requests may be sorted.
    assert not [step for step in found if grows_with_the_table(step) and ("images" in step or "lanes" in step)]
