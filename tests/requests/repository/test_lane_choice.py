"""Fairness, by counting picks: between tenants, between priorities, between requests. The random seed is fixed."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any
from uuid import UUID

import pytest

from gql_imgproc.database.engine import Database
from gql_imgproc.enums import Priority
from gql_imgproc.requests.repository import lane_choice, lanes
from gql_imgproc.requests.repository.lane_choice import IMAGES_PER_PICK, HostFilter
from tests.support.scenarios import given_request, given_urls, ready_lanes

ONE, OTHER = UUID(int=1), UUID(int=2)
PICKS = 1_000
#: Three standard deviations of a share of 0.5 in 1,000 picks.
TOLERANCE = 0.05


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    random.seed(20)


def pick(database: Database, picks: int = PICKS, hosts: HostFilter | None = None) -> Counter[UUID]:
    """Number of picks per request."""
    tenants = database.read_now(lanes.list_tenants)
    chosen = database.read_now(lane_choice.choose_lanes, tenants, picks * IMAGES_PER_PICK, hosts)
    picked: Counter[UUID] = Counter()
    for lane, images in chosen.items():
        picked[lane.request_id] += images
    return Counter({id: images // IMAGES_PER_PICK for id, images in picked.items()})


def given_hosts(database: Database, hosts: int, **given: Any) -> UUID:
    """A request with one image of each host."""
    return given_urls(database, *([f"https://h{n}.example/"] for n in range(hosts)), **given)


def test_nothing_is_chosen_without_ready_lanes(database: Database) -> None:
    given_request(database, 1)
    database.write_now(lanes.sleep_lanes, {lane.id: 60.0 for lane in all_lanes(database)})

    assert database.read_now(lanes.list_tenants) == []
    assert database.read_now(lane_choice.choose_lanes, [ONE], 8) == {}


def all_lanes(database: Database) -> list[lanes.Lane]:
    chosen = database.read_now(lane_choice.choose_lanes, database.read_now(lanes.list_tenants), 64)
    return list(chosen)


def test_places_are_filled_by_picks_of_a_few_images(database: Database) -> None:
    given_hosts(database, 3)

    chosen = database.read_now(lane_choice.choose_lanes, database.read_now(lanes.list_tenants), 10)

    assert sorted(chosen.values()) == [2, 4, 4]


@pytest.mark.parametrize("others", [10, 100])
def test_one_request_beside_many_of_another_tenant_gets_half_of_the_picks(database: Database, others: int) -> None:
    mine = given_request(database, 1, tenant_id=ONE)
    theirs = [given_request(database, 1, tenant_id=OTHER) for _ in range(others)]

    picked = pick(database)

    assert abs(picked[mine] / PICKS - 0.5) < TOLERANCE
    # The other tenant's requests share its half evenly.
    assert picked.total() == PICKS
    assert max(picked[id] for id in theirs) < 4 * PICKS / 2 / others


def test_priorities_share_the_picks_of_their_tenant(database: Database) -> None:
    """Whatever the number of requests of a priority."""
    priorities = {
        given_request(database, 1, priority=priority): priority
        for priority, count in ((Priority.LOW, 3), (Priority.NORMAL, 1), (Priority.HIGH, 2))
        for _ in range(count)
    }

    picked: Counter[Priority] = Counter()
    for id, picks in pick(database, 2_100).items():
        picked[priorities[id]] += picks

    shares = [picked[priority] / 2_100 for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW)]
    assert [abs(share - weight / 21) < 0.03 for share, weight in zip(shares, (16, 4, 1), strict=True)] == [True] * 3


def test_priority_without_requests_leaves_its_share_to_the_others(database: Database) -> None:
    normal = given_request(database, 1, priority=Priority.NORMAL)
    low = given_request(database, 1, priority=Priority.LOW)

    picked = pick(database)

    assert abs(picked[normal] / PICKS - 0.8) < TOLERANCE
    assert picked[normal] + picked[low] == PICKS


def test_priority_of_one_tenant_does_not_hold_up_another(database: Database) -> None:
    low = given_request(database, 1, tenant_id=ONE, priority=Priority.LOW)
    given_request(database, 1, tenant_id=OTHER, priority=Priority.HIGH)

    assert abs(pick(database)[low] / PICKS - 0.5) < TOLERANCE


def test_request_with_many_lanes_gets_no_more_than_one_with_a_single_lane(database: Database) -> None:
    many, single = given_hosts(database, 100), given_hosts(database, 1)

    picked = pick(database)

    assert abs(picked[single] / PICKS - 0.5) < TOLERANCE
    assert picked[many] + picked[single] == PICKS


def test_lanes_of_a_request_get_the_same_number_of_picks(database: Database) -> None:
    request_id = given_hosts(database, 8)

    chosen = database.read_now(lane_choice.choose_lanes, database.read_now(lanes.list_tenants), 8 * 3 * IMAGES_PER_PICK)

    assert {lane.request_id for lane in chosen} == {request_id}
    assert sorted(chosen.values()) == [3 * IMAGES_PER_PICK] * 8


def test_every_lane_of_a_request_is_chosen_soon(database: Database) -> None:
    given_hosts(database, 40)
    tenants = database.read_now(lanes.list_tenants)
    seen: set[str] = set()

    for _ in range(200):
        seen |= {lane.host for lane in database.read_now(lane_choice.choose_lanes, tenants, 32)}

    assert len(seen) == 40


def test_blocked_host_gets_nothing_and_holds_up_nothing(database: Database) -> None:
    # Given a tenant whose only host is blocked, and a request with a blocked host among others,
    blocked = given_urls(database, ["https://busy.example/1"], tenant_id=ONE)
    mixed = given_urls(
        database, ["https://busy.example/1", "https://a.example/1", "https://b.example/1"], tenant_id=OTHER
    )

    # when lanes are chosen,
    tenants = database.read_now(lanes.list_tenants)
    hosts = HostFilter(blocked={"busy.example:443"})
    chosen = database.read_now(lane_choice.choose_lanes, tenants, 32, hosts)

    # then the others get all the places.
    assert {lane.host: images for lane, images in chosen.items()} == {"a.example:443": 16, "b.example:443": 16}
    assert {lane.request_id for lane in chosen} == {mixed}
    everything = HostFilter(blocked={"busy.example:443", "a.example:443", "b.example:443"})
    assert database.read_now(lane_choice.choose_lanes, tenants, 32, everything) == {}
    # It is only passed over; its lanes stay ready.
    assert [lane.host for lane in database.read_now(ready_lanes, blocked)] == ["busy.example:443"]


def test_known_host_is_found_among_many_unknown_ones(database: Database) -> None:
    # Given a request with 300 hosts, of which two have served, one of them busy,
    request_id = given_hosts(database, 300)
    served, busy = "h7.example:443", "h8.example:443"
    hosts = HostFilter(blocked={busy}, known={served, busy}, recent=(busy, served), unknown_places=16)
    tenants = database.read_now(lanes.list_tenants)

    # when lanes are chosen, then the other one gets the places that unknown hosts must not have.
    for _ in range(5):
        chosen = database.read_now(lane_choice.choose_lanes, tenants, 32, hosts)
        assert {lane.host: images for lane, images in chosen.items() if lane.host == served} == {served: 16}
        assert sorted(images for lane, images in chosen.items() if lane.host != served) == [2] * 8

    # And a sleeping lane gets none.
    database.write_now(lanes.sleep_lanes, {lanes.lane_id(request_id, served): 60.0})
    chosen = database.read_now(lane_choice.choose_lanes, tenants, 32, hosts)
    assert sorted(chosen.values()) == [2] * 8


def test_unknown_hosts_get_at_most_their_places(database: Database) -> None:
    given_hosts(database, 7)
    known = given_urls(database, ["https://known.example/1"])
    tenants = database.read_now(lanes.list_tenants)
    hosts = HostFilter(known={"known.example:443"}, unknown_places=6)

    for _ in range(20):
        chosen = database.read_now(lane_choice.choose_lanes, tenants, 32, hosts)
        unknown = sum(images for lane, images in chosen.items() if lane.request_id != known)
        assert sum(chosen.values()) == 32
        assert unknown <= 6

    nothing_unknown = HostFilter(known={"known.example:443"}, unknown_places=0)
    (lane,) = database.read_now(lane_choice.choose_lanes, tenants, 32, nothing_unknown)
    assert lane.request_id == known


def test_many_requests_of_one_priority_do_not_hide_those_of_another(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_REQUESTS", 5)
    high = [given_request(database, 1, priority=Priority.HIGH) for _ in range(9)]
    normal = [given_request(database, 1) for _ in range(9)]
    low = given_request(database, 1, priority=Priority.LOW)
    (tenant,) = database.read_now(lanes.list_tenants)

    found = database.read_now(lanes.list_requests, tenant)

    assert found == [*((0, id) for id in sorted(high)[:2]), *((1, id) for id in sorted(normal)[:2]), (2, low)]


def test_requests_are_listed_by_priority_whatever_the_number_of_their_lanes(database: Database) -> None:
    low = [given_hosts(database, hosts, priority=Priority.LOW) for hosts in (5, 1)]
    high = [given_hosts(database, hosts, priority=Priority.HIGH) for hosts in (1, 9, 2)]
    given_hosts(database, 3, tenant_id=ONE)
    tenants = database.read_now(lanes.list_tenants)

    found = [database.read_now(lanes.list_requests, tenant) for tenant in tenants]

    assert [[rank for rank, _ in requests] for requests in found] == [[0, 0, 0, 2, 2], [1]]
    assert found[0] == [*((0, id) for id in sorted(high)), *((2, id) for id in sorted(low))]
