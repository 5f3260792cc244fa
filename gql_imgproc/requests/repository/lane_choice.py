"""Chooses what a process works on next: fair between tenants, then between priorities, then between requests.

A pick gives a few images to one lane. Picks are independent of each other, so a tenant's share of the picks does not
depend on how many images, requests or processes there are.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from gql_imgproc.requests.repository import lanes
from gql_imgproc.requests.repository.lanes import Lane

#: How often each priority is picked while requests of all three wait, in the order of `lanes.RANKS`.
WEIGHTS = (16, 4, 1)
#: Images of one lane for a pick: few, so that shares stay even.
IMAGES_PER_PICK = 4
#: The same, of a host that has not served this process: its budget grants no more, and many of them may be dead.
UNKNOWN_IMAGES_PER_PICK = 2


@dataclass(frozen=True, slots=True)
class HostFilter:
    """What a process knows about hosts before it chooses lanes."""

    #: Hosts that granted nothing a moment ago.
    blocked: Collection[str] = ()
    #: Hosts that have served this process.
    known: Collection[str] = ()
    #: A few of them, whose lanes are looked for when those from a random place get nothing.
    recent: Collection[str] = ()
    #: Places for images of all other hosts; None for no limit.
    unknown_places: int | None = None


def choose_lanes(
    connection: Connection, tenants: Sequence[UUID], places: int, hosts: HostFilter | None = None
) -> dict[Lane, int]:
    """Lanes for so many images, and how many images each of them gets. They are not locked, and may have fewer."""
    return _Choice(connection, tenants, hosts or HostFilter()).pick(places)


def share_out(wanted: Mapping[Lane, int], granted: Mapping[str, int]) -> dict[Lane, int]:
    """How many images of each lane may be claimed, when its host granted fewer than wanted."""
    left = dict(granted)
    shares = {}
    for lane, count in wanted.items():
        share = min(count, left.get(lane.host, 0))
        if share:
            left[lane.host] -= share
            shares[lane] = share
    return shares


class _Choice:
    """Picks of one transaction. What is empty or blocked leaves the lists, so that every pick counts."""

    def __init__(self, connection: Connection, tenants: Sequence[UUID], hosts: HostFilter) -> None:
        self._connection = connection
        self._tenants = list(tenants)
        self._hosts = hosts
        self._unknown_places = hosts.unknown_places
        self._requests: dict[UUID, list[tuple[int, UUID]]] = {}
        self._lanes: dict[UUID, deque[Lane]] = {}
        self._has_recent: set[UUID] = set()

    def pick(self, places: int) -> dict[Lane, int]:
        picked: Counter[Lane] = Counter()
        while places and self._tenants:
            tenant_id = random.choice(self._tenants)
            requests = self._requests_of(tenant_id)
            if not requests:
                self._tenants.remove(tenant_id)
                continue
            rank, request_id = _choose_request(requests)
            lane = self._next_lane(tenant_id, rank, request_id)
            if lane is None:
                requests.remove((rank, request_id))
                continue
            count = min(places, IMAGES_PER_PICK)
            if self._unknown_places is not None and lane.host not in self._hosts.known:
                count = min(places, UNKNOWN_IMAGES_PER_PICK, self._unknown_places)
                self._unknown_places -= count
            picked[lane] += count
            places -= count
        return dict(picked)

    def _requests_of(self, tenant_id: UUID) -> list[tuple[int, UUID]]:
        if tenant_id not in self._requests:
            self._requests[tenant_id] = lanes.list_requests(self._connection, tenant_id)
        return self._requests[tenant_id]

    def _next_lane(self, tenant_id: UUID, rank: int, request_id: UUID) -> Lane | None:
        if request_id not in self._lanes:
            self._lanes[request_id] = deque(lanes.list_lanes(self._connection, tenant_id, rank, request_id))
        circle = self._lanes[request_id]
        while circle or self._add_recent(request_id):
            lane = circle.popleft()
            if self._is_allowed(lane.host):
                circle.append(lane)
                return lane
        return None

    def _add_recent(self, request_id: UUID) -> bool:
        """Adds the lanes of hosts that served lately: there may be thousands of others, whose hosts are dead."""
        if request_id in self._has_recent:
            return False
        self._has_recent.add(request_id)
        hosts = [host for host in self._hosts.recent if self._is_allowed(host)]
        if hosts:
            self._lanes[request_id].extend(lanes.list_lanes_of(self._connection, request_id, hosts))
        return bool(self._lanes[request_id])

    def _is_allowed(self, host: str) -> bool:
        return host not in self._hosts.blocked and (self._unknown_places != 0 or host in self._hosts.known)


def _choose_request(requests: Sequence[tuple[int, UUID]]) -> tuple[int, UUID]:
    ranks = sorted({rank for rank, _ in requests})
    (chosen,) = random.choices(ranks, [WEIGHTS[rank] for rank in ranks])
    return random.choice([request for request in requests if request[0] == chosen])
