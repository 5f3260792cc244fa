"""Statistics of the service are exact, and as cheap with many rows as with few."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Connection, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.requests.repository import statistics
from gql_imgproc.requests.repository.statistics import Statistics
from tests.requests.repository.test_query_plans import grows_with_the_table, steps
from tests.support.scenarios import DONE, FAILED, claim_product, finish, get_snapshot, given_request, record


def read(database: Database) -> Statistics:
    return database.read_now(statistics.read_statistics)


def test_statistics_of_an_empty_service_are_zero(database: Database) -> None:
    assert read(database) == Statistics({RequestStatus.PENDING: 0, RequestStatus.PROCESSING: 0}, 0, 0, 0.0, 0, 0)


def test_statistics_count_open_and_claimable_work(database: Database) -> None:
    # Given a request with one finished and one leased product, a new request, and a final one,
    begun, new, ended = given_request(database, 2, 1, 1), given_request(database, 1, 1), given_request(database, 1)
    held = claim_product(database, begun)
    record(database, held, 0, DONE)
    record(database, held, 1, FAILED)
    claim_product(database, begun)
    record(database, claim_product(database, ended), 0, DONE)
    finish(database, ended, RequestStatus.COMPLETED, output_name=None)
    # and the new one is idle for a minute,
    minute_ago = get_snapshot(database, new).updated_at - timedelta(seconds=60)
    statement = update(requests).where(requests.c.id == new).values(updated_at=minute_ago)
    database.write_now(Connection.execute, statement)

    # when the statistics are read,
    seen = read(database)

    # then open work is counted, and leased products are not claimable.
    assert seen.open_requests == {RequestStatus.PENDING: 1, RequestStatus.PROCESSING: 1}
    assert (seen.pending_products, seen.pending_images) == (4, 4)
    assert seen.claimable_products == 3
    assert 60 <= seen.oldest_idle_s < 120
    assert seen.due_webhooks == 0


def test_claimable_products_are_counted_up_to_a_limit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    given_request(database, *[1] * 7)
    given_request(database, *[1] * 2)
    assert read(database).claimable_products == 9

    monkeypatch.setattr(statistics, "COUNTED_PRODUCTS", 3)
    assert read(database).claimable_products == 5
    monkeypatch.setattr(statistics, "COUNTED_REQUESTS", 1)
    assert read(database).claimable_products == 3
    assert read(database).pending_products == 9


def test_statistics_read_products_through_an_index(database: Database) -> None:
    given_request(database, 1)

    found = steps(database, statistics.read_statistics)

    of_products = [step for step in found if "products" in step]
    assert of_products
    assert all("ix_products_request_id_due_at_position" in step for step in of_products)
    assert not any("Seq Scan" in step for step in found)
    # The few open requests may be sorted.
    assert not [step for step in of_products if grows_with_the_table(step)]
