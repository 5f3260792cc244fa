"""Lanes sleep and wake up, on SQLite and PostgreSQL; no wake-up is lost, and nothing deadlocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import count
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, func, select, text, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images
from gql_imgproc.database.tables import lanes as lane_table
from gql_imgproc.database.types import now, now_plus
from gql_imgproc.enums import Priority, RequestPhase, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.requests.repository import cancel, claims, lane_choice, lanes, results, transitions
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason
from gql_imgproc.requests.repository.lanes import lane_id
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import (
    DONE,
    FAILED,
    acquire_lease,
    cancel_all,
    claim_image,
    finished_image,
    get_snapshot,
    give_back,
    given_request,
    given_urls,
    ready_lanes,
    record,
    try_claim,
)

HOST = "x.example:443"
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def read_lane(database: Database, request_id: UUID, host: str = HOST) -> tuple[bool, datetime | None]:
    """Whether the lane is ready, and when it wakes up."""
    columns = lane_table.c.ready, lane_table.c.wake_at
    statement = select(*columns).where(lane_table.c.id == lane_id(request_id, host))
    ready, wake_at = database.read_now(lambda connection: connection.execute(statement).one())
    return ready, wake_at


def change_lane(database: Database, request_id: UUID, **values: Any) -> None:
    statement = update(lane_table).where(lane_table.c.id == lane_id(request_id, HOST)).values(values)
    database.write_now(Connection.execute, statement)


def seconds_from_now(database: Database, time: datetime | None) -> float:
    assert time is not None
    return (time - database.read_now(lambda connection: connection.execute(select(now())).scalar_one())).total_seconds()


def first_due_at(database: Database, request_id: UUID) -> datetime | None:
    statement = select(func.min(images.c.due_at)).where(images.c.request_id == request_id)
    due_at: datetime | None = database.read_now(lambda connection: connection.scalars(statement).one())
    return due_at


def test_each_host_of_a_request_has_a_lane(database: Database) -> None:
    urls = ["https://a.example/1", "https://A.example:443/2", "http://a.example/1", "https://b.example:8443/1"]
    hosts = ["a.example:443", "a.example:80", "b.example:8443"]
    request_id, other = given_urls(database, urls, urls, priority=Priority.LOW), given_urls(database, urls)

    rows = database.read_now(lambda connection: connection.execute(select(lane_table)).all())

    assert sorted((row.request_id, row.host) for row in rows) == sorted(
        (id, host) for id in (request_id, other) for host in hosts
    )
    assert [row.host for row in database.read_now(ready_lanes, request_id)] == hosts
    assert {(row.priority, row.tenant_id) for row in rows if row.request_id == request_id} == {(2, DEFAULT_TENANT)}
    assert {row.priority for row in rows if row.request_id == other} == {1}
    of_images = database.read_now(lambda connection: connection.execute(select(images.c.lane_id)).all())
    assert {row.lane_id for row in of_images} == {row.id for row in rows}


def test_lane_that_exists_is_not_created_again(database: Database) -> None:
    request_id = given_request(database, 1)
    change_lane(database, request_id, lot=7, ready=False)

    database.write_now(lanes.insert_lanes, get_snapshot(database, request_id), [HOST, "new.example:80", HOST])

    lots = select(lane_table.c.lot).where(lane_table.c.host == HOST)
    assert database.read_now(lambda connection: connection.scalars(lots).all()) == [7]
    assert read_lane(database, request_id) == (False, None)
    # A new lane sleeps until an image wakes it.
    assert read_lane(database, request_id, "new.example:80") == (False, None)


def test_lane_without_due_images_sleeps_until_the_first_lease_expires(database: Database) -> None:
    """Promise P2: the images of a killed worker come up without anybody looking for them."""
    request_id = given_request(database, 3)

    try_claim(database, request_id, 2, lease_s=40)
    assert read_lane(database, request_id) == (True, None)
    try_claim(database, request_id, 2, lease_s=30)

    assert read_lane(database, request_id) == (False, first_due_at(database, request_id))
    assert 25 < seconds_from_now(database, first_due_at(database, request_id)) <= 30


def test_lane_that_is_settled_sleeps_at_least_for_a_moment(database: Database) -> None:
    """Other processes return images all the time; a lane must not be settled for each of them."""
    request_id = given_request(database, 2)
    held = try_claim(database, request_id, 1)
    give_back(database, held[0], 0.0)

    database.write_now(lanes.settle, lane_id(request_id, HOST))

    ready, wake_at = read_lane(database, request_id)
    due_at = first_due_at(database, request_id)
    assert wake_at is not None
    assert due_at is not None
    assert not ready
    assert due_at < wake_at
    assert seconds_from_now(database, wake_at) <= lanes.SETTLE_SECONDS


def test_lane_of_final_images_sleeps_until_it_is_woken(database: Database) -> None:
    request_id = given_request(database, 1)
    record(database, claim_image(database, request_id), DONE)
    assert read_lane(database, request_id)[0]

    assert try_claim(database, request_id) == ()

    assert read_lane(database, request_id) == (False, None)
    assert database.read_now(lanes.seconds_to_next_wake) is None


def test_lane_of_a_paused_host_sleeps_until_the_pause_ends(database: Database) -> None:
    request_id = given_urls(database, ["https://a.example/1", "https://b.example/1", "https://c.example/1"])
    a, b, c = database.read_now(ready_lanes, request_id)
    database.write_now(lanes.sleep_lanes, {c.id: 5.0})
    before = read_lane(database, request_id, c.host)

    paused = {a: 60.0, b: 30.0, c: 90.0}
    claim = database.write_now(claims.claim_images, {}, paused, 60)

    assert claim.images == ()
    seconds = []
    for lane in (a, b):
        ready, wake_at = read_lane(database, request_id, lane.host)
        seconds.append(round(seconds_from_now(database, wake_at) / 10))
        assert not ready
    assert seconds == [6, 3]
    # A lane that sleeps already sleeps no longer.
    assert read_lane(database, request_id, c.host) == before


def test_paused_lane_sleeps_until_its_pause_ends_even_if_it_gave_too_little(database: Database) -> None:
    request_id = given_request(database, 1)
    (lane,) = database.read_now(ready_lanes, request_id)

    claim = database.write_now(claims.claim_images, {lane: 4}, {lane: 300.0}, 60)

    assert len(claim.images) == 1
    assert seconds_from_now(database, read_lane(database, request_id)[1]) > 200


def test_image_that_becomes_due_wakes_its_lane(database: Database) -> None:
    request_id = given_request(database, 1)
    change_lane(database, request_id, ready=False)

    database.write_now(lanes.wake_lanes, {lane_id(request_id, HOST): 0.0})

    assert read_lane(database, request_id) == (True, None)


def test_lane_wakes_at_the_earliest_of_its_times(database: Database) -> None:
    request_id = given_request(database, 1)
    change_lane(database, request_id, ready=False)
    found = []

    for delay_s in (60.0, 90.0, 30.0):
        database.write_now(lanes.wake_lanes, {lane_id(request_id, HOST): delay_s})
        ready, wake_at = read_lane(database, request_id)
        found.append((ready, round(seconds_from_now(database, wake_at) / 10)))

    assert found == [(False, 6), (False, 6), (False, 3)]
    # A ready lane stays ready.
    change_lane(database, request_id, ready=True, wake_at=None)
    database.write_now(lanes.wake_lanes, {lane_id(request_id, HOST): 60.0})
    assert read_lane(database, request_id)[0]


def test_lanes_wake_up_when_their_time_has_come(database: Database) -> None:
    past, future, woken = (given_request(database, 1) for _ in range(3))
    for request_id, seconds in ((past, -5.0), (future, 60.0)):
        change_lane(database, request_id, ready=False, wake_at=now_plus(seconds))
    change_lane(database, woken, ready=False, wake_at=None)
    assert database.read_now(lanes.seconds_to_next_wake) == 0.0

    assert database.write_now(lanes.wake_due_lanes) == 1
    assert database.write_now(lanes.wake_due_lanes) == 0

    assert [read_lane(database, id)[0] for id in (past, future, woken)] == [True, False, False]
    assert read_lane(database, past) == (True, None)
    next_wake_s = database.read_now(lanes.seconds_to_next_wake)
    assert next_wake_s is not None
    assert 50 < next_wake_s <= 60


def test_lane_of_a_request_that_was_reopened_meanwhile_wakes_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P1: a claim that read the request before its retry must not put its lane to sleep for good."""
    request_id = given_request(database, 1)
    monkeypatch.setattr(claims, "_claimable_requests", lambda _connection, _ids: {})

    assert try_claim(database, request_id) == ()

    ready, wake_at = read_lane(database, request_id)
    assert not ready
    assert 4 < seconds_from_now(database, wake_at) <= lanes.CLOSED_SECONDS
    monkeypatch.undo()
    change_lane(database, request_id, wake_at=now())
    assert claim_image(database, request_id).attempts == 1


def test_lanes_of_a_cancelled_request_are_not_chosen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel, "CANCEL_CHUNK", 2)
    request_id = given_urls(database, [f"https://{n}.example/a" for n in range(5)])
    database.write_now(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.DEADLINE)
    lease = acquire_lease(database, request_id)

    phases = [database.write_now(cancel.cancel_chunk, lease).phase for _ in range(3)]

    assert phases == [RequestPhase.STOPPING, RequestPhase.STOPPING, RequestPhase.FINISHING]
    assert database.read_now(lanes.list_tenants) == []


class Interleaving:
    """Two open transactions of one thread: one settles the lane of a leased image, one returns the image."""

    def __init__(self, database: Database, request_id: UUID) -> None:
        self.database, self.request_id = database, request_id
        self.lane = lane_id(request_id, HOST)
        change_lane(database, request_id, ready=True, wake_at=None)
        self._set_due(3600)

    def return_image(self, connection: Connection) -> None:
        self.write_image(connection)
        self.wake(connection)

    def write_image(self, connection: Connection) -> None:
        connection.execute(update(images).where(images.c.request_id == self.request_id).values(due_at=now()))

    def wake(self, connection: Connection) -> None:
        lanes.wake_lanes(connection, {self.lane: 0.0})

    def settle(self, connection: Connection) -> None:
        lanes.settle(connection, self.lane)

    def is_lost(self) -> bool:
        ready, wake_at = read_lane(self.database, self.request_id)
        return not ready and (wake_at is None or seconds_from_now(self.database, wake_at) > 1)

    def _set_due(self, seconds: float) -> None:
        due = update(images).where(images.c.request_id == self.request_id).values(due_at=now_plus(seconds))
        self.database.write_now(Connection.execute, due)


@on_postgresql
def test_lane_that_is_settled_between_image_and_wake_up_is_ready(database: Database) -> None:
    both = Interleaving(database, given_request(database, 1))

    with database._writer.begin() as returning:
        both.write_image(returning)
        database.write_now(both.settle)
        assert not read_lane(database, both.request_id)[0]
        both.wake(returning)

    assert read_lane(database, both.request_id)[0]


@on_postgresql
def test_lane_is_not_settled_while_it_is_being_woken(database: Database) -> None:
    both = Interleaving(database, given_request(database, 1))

    with database._writer.begin() as returning:
        both.return_image(returning)
        # It would wait for the lane otherwise.
        database.write_now(both.settle)

    assert read_lane(database, both.request_id) == (True, None)


@on_postgresql
def test_wake_up_waits_for_the_lane_that_is_being_settled(database: Database) -> None:
    both = Interleaving(database, given_request(database, 1))

    with ThreadPoolExecutor(1) as threads:
        with database._writer.begin() as settling:
            both.settle(settling)
            returned = threads.submit(database.write_now, both.return_image)
            # Blocked, as soon as the server says so.
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while not database.read_now(lambda connection: connection.execute(text(waiting)).scalar_one()):
                assert not returned.done()
        returned.result(10)

    assert read_lane(database, both.request_id)[0]


@on_postgresql
@pytest.mark.parametrize("settles_first", [True, False])
def test_no_wake_up_is_lost(database: Database, settles_first: bool) -> None:
    """Promise P1: 150 rounds in which a lane is settled while an image of it is returned."""
    request_id = given_request(database, 1)
    lost = []
    with ThreadPoolExecutor(2) as threads:
        for number in range(150):
            both, barrier = Interleaving(database, request_id), Barrier(2)

            def run(work: Callable[[Connection], None], barrier: Barrier = barrier) -> None:
                def meet(connection: Connection) -> None:
                    connection.execute(text("SELECT 1"))
                    barrier.wait(10)
                    work(connection)

                database.write_now(meet)

            works = [both.settle, both.return_image] if settles_first else [both.return_image, both.settle]
            for future in [threads.submit(run, work) for work in works]:
                future.result(20)
            if both.is_lost():
                lost.append(number)

    assert lost == []


@pytest.fixture
def strict(database: Database) -> Iterator[Database]:
    """The database of the test without retries: a deadlock is an error."""
    opened = Database(database.url, connections=10, retry_timeout_s=0)
    yield opened
    opened.close()


@on_postgresql
def test_recorders_of_the_same_requests_never_deadlock(database: Database, strict: Database) -> None:
    """300 rounds of two recorders with results of the same two requests, in opposite orders."""
    rounds, per_round = 300, 4
    ids = [given_request(database, *[4] * rounds) for _ in range(2)]
    first, second = (list(try_claim(database, id, rounds * per_round)) for id in ids)
    barrier = Barrier(2)

    def run(of_first: list[ClaimedImage], of_second: list[ClaimedImage], *, reverse: bool) -> None:
        # The order of a list is the order in which images became ready.
        order = slice(None, None, -1 if reverse else 1)
        for number in range(rounds):
            finished = [finished_image(group.pop()) for group in (of_first, of_second)]
            returned = [ReturnedImage(group.pop(), ReturnReason.REFUSED, 60.0) for group in (of_first, of_second)]
            barrier.wait(20)
            # Without returned images, whose lanes are locked first, the requests are the first common rows.
            group = returned[order] if number % 3 == 0 else []
            assert not strict.write_now(results.record, finished[order], group).lost

    half = len(first) // 2
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(run, first[:half], second[:half], reverse=False),
            threads.submit(run, first[half:], second[half:], reverse=True),
        ]
        for future in running:
            future.result(120)

    for request_id in ids:
        assert_counters_equal_rows(database, request_id)
        assert get_snapshot(database, request_id).processed_images == 2 * rounds


@on_postgresql
def test_claims_results_renewals_and_cancellations_never_deadlock(database: Database, strict: Database) -> None:
    # Given five requests with images of three hosts, which are shared by all of them,
    urls = [[f"https://{host}.example/{n}" for host in "abc"] for n in range(40)]
    ids = [given_urls(database, *urls) for _ in range(5)]
    cancelled = ids[:2]
    numbers = count()

    def work(reverse: bool) -> None:
        """Claims, renews and records or returns, until nothing is due."""
        while any(get_snapshot(database, id).pending_images for id in ids):
            strict.write_now(lanes.wake_due_lanes)
            tenants = strict.read_now(lanes.list_tenants)
            wanted = strict.read_now(lane_choice.choose_lanes, tenants, 24)
            paused = dict.fromkeys(list(wanted)[:1], 0.0)
            held = strict.write_now(claims.claim_images, wanted, paused, 60).images
            held = held[::-1] if reverse else held
            strict.write_now(claims.renew_leases, held, 60)
            finished, returned = [], []
            for image in held:
                number = next(numbers)
                if number % 5 == 0 and image.attempts < 3:
                    returned.append(ReturnedImage(image, ReturnReason.FAILED, 0.0 if number % 2 else 0.01))
                else:
                    finished.append(FinishedImage(image, FAILED if number % 7 == 0 else DONE))
            strict.write_now(results.record, finished, returned)

    def cancel() -> None:
        for id in cancelled:
            reason = TerminationReason.CANCELLED
            assert strict.write_now(transitions.stop, DEFAULT_TENANT, id, reason) is not None
            cancel_all(strict, id)

    # when four workers and a user who cancels two of them run at once,
    with ThreadPoolExecutor(5) as threads:
        running = [threads.submit(work, number % 2 == 1) for number in range(4)] + [threads.submit(cancel)]
        for future in running:
            future.result(120)

    # then everything ends, and the counters equal the rows.
    for id in ids:
        state = get_snapshot(database, id)
        assert state.pending_images == 0
        assert state.cancelled_images == 0 or id in cancelled
        assert_counters_equal_rows(database, id)
