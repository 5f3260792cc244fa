"""Who may do what is done for all, on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gql_imgproc.messaging.leader_lock import LeaderLocks


@pytest.fixture
def duties(redis_url: str) -> Iterator[LeaderLocks]:
    opened = LeaderLocks(redis_url)
    yield opened
    opened.close()


def test_a_duty_is_taken_by_one_until_its_time_is_over(duties: LeaderLocks) -> None:
    assert duties.take("sweep", 0.05)
    assert not duties.take("sweep", 0.05)
    assert duties.take("something else", 0.05)
    while not duties.take("sweep", 0.05):
        pass


def test_each_run_leaves_an_account(duties: LeaderLocks) -> None:
    assert duties.stats() == {}

    for items in (3, 4):
        duties.note("sweep", items)
    duties.note("orphans", 0)

    accounts = duties.stats()
    assert {name: (account.runs, account.items) for name, account in accounts.items()} == {
        "sweep": (2, 7),
        "orphans": (1, 0),
    }
    assert abs(accounts["orphans"].ended_at - time.time()) < 5
