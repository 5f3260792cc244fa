"""Leader locks and statistics of periodic tasks, in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gql_imgproc.messaging.leader_lock import LeaderLocks


@pytest.fixture
def locks(redis_url: str) -> Iterator[LeaderLocks]:
    locks = LeaderLocks(redis_url)
    yield locks
    locks.close()


def test_lock_is_exclusive_until_it_expires(locks: LeaderLocks) -> None:
    assert locks.try_acquire("reconcile", 60)
    assert not locks.try_acquire("reconcile", 60)
    assert locks.try_acquire("orphans", 0.05)

    while not locks.try_acquire("orphans", 0.05):
        pass


def test_each_run_is_added_to_the_statistics(locks: LeaderLocks) -> None:
    assert locks.stats() == {}

    for items in (3, 4):
        locks.record_run("reconcile", items)
    locks.record_run("orphans", 0)

    stats = locks.stats()
    assert {name: (task.runs, task.items) for name, task in stats.items()} == {"reconcile": (2, 7), "orphans": (1, 0)}
    assert abs(stats["orphans"].last_run_at - time.time()) < 5
