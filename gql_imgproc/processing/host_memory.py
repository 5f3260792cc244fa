"""What a process knows of image hosts: whether they may be asked, whether they have served it, and why they did not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TypeVar

from gql_imgproc.errors import ImageError
from gql_imgproc.messaging.host_budget import HostGrant
from gql_imgproc.net.host_answers import host_overloaded
from gql_imgproc.processing.image_task import ImageTask
from gql_imgproc.requests.repository.lane_choice import HostFilter
from gql_imgproc.requests.repository.lanes import Lane
from gql_imgproc.runtime import Runtime

T = TypeVar("T")

#: Minimum time for which a host that granted less than asked for is left alone, in seconds.
MIN_BLOCK_SECONDS = 0.02
#: How long a host is left alone whose name is being resolved, in seconds.
LOOKUP_PAUSE_SECONDS = 2.0
#: Share of the places for images of hosts that have not served this process yet: many of them may be dead.
UNKNOWN_SHARE = 0.5
#: Share of the places for images of one host: it may fall silent at any moment.
HOST_SHARE = 0.75
#: Hosts that a process remembers.
MAX_HOSTS = 10_000
#: Hosts that served last, whose lanes are found among any number of dead ones.
RECENT_HOSTS = 8
#: Minimum time without an answer after which the images of a host fail without being asked for, in seconds.
MIN_PATIENCE_SECONDS = 30.0


class HostMemory:
    """Shares the places of one process between hosts. `tasks` are the images in flight."""

    def __init__(self, runtime: Runtime, tasks: Iterable[ImageTask]) -> None:
        self._runtime = runtime
        self._tasks = tasks
        places: int = runtime.settings.images_in_flight
        self._places_for_unknown = max(1, int(UNKNOWN_SHARE * places))
        self._places_per_host = max(1, int(HOST_SHARE * places))
        #: Hosts that granted fewer downloads than asked for, and until when they are not asked.
        self._blocked: dict[str, float] = {}
        #: Hosts that have served this process.
        self._known: dict[str, None] = {}
        #: Why hosts did not answer the last time.
        self._failures: dict[str, ImageError] = {}

    def filter(self, free: int) -> HostFilter:
        """The hosts whose images may get the free places."""
        now = time.monotonic()
        self._blocked = {host: until for host, until in self._blocked.items() if until > now}
        unknown = sum(task.host not in self._known for task in self._tasks)
        full = (host for host, count in self._in_flight().items() if count >= self._places_per_host)
        # Copies, which do not change while the choice runs on a thread.
        return HostFilter(
            blocked=frozenset((*self._blocked, *full)),
            known=frozenset(self._known),
            recent=tuple(islice(reversed(self._known), RECENT_HOSTS)),
            unknown_places=min(free, max(0, self._places_for_unknown - unknown)),
        )

    async def ask(self, wanted: Mapping[Lane, int]) -> dict[str, HostGrant]:
        """Resolves the names of unknown hosts, and asks the budgets of all for downloads."""
        in_flight = self._in_flight()
        counts: Counter[str] = Counter()
        for lane, count in wanted.items():
            counts[lane.host] += count
        # Only then are their images claimed: a name that is resolved slowly, or never, must hold no place.
        late = await self._runtime.fetcher.look_up(counts.keys() - self._known.keys())
        limited = {
            host: min(count, self._places_per_host - in_flight[host])
            for host, count in counts.items()
            if host not in late
        }
        grants = await self._runtime.host_budgets.ask(limited) if limited else {}
        for host, grant in grants.items():
            if len(grant.starts_s) < limited[host] and not grant.is_paused:
                self._blocked[host] = time.monotonic() + max(MIN_BLOCK_SECONDS, grant.wait_s)
        return grants | {host: HostGrant((), LOOKUP_PAUSE_SECONDS, is_paused=True, unserved_s=0.0) for host in late}

    def seconds_to_next_ask(self) -> float | None:
        """How long until a host may be asked again that granted less than asked for; None if there is none."""
        return max(0.0, min(self._blocked.values()) - time.monotonic()) if self._blocked else None

    def hopeless_lanes(self, paused: Iterable[Lane], grants: Mapping[str, HostGrant]) -> dict[Lane, float]:
        """Lanes whose hosts have served nothing for too long, and how long that is, in seconds."""
        settings = self._runtime.settings
        lanes_s = {}
        for lane in paused:
            grant = grants[lane.host]
            # An image that had been asked for all the time would have used up its attempts.
            attempts_s = max(MIN_PATIENCE_SECONDS, sum(settings.retry_delays))
            patience_s = attempts_s if grant.is_failing else settings.host_patience_seconds
            if grant.unserved_s >= patience_s:
                lanes_s[lane] = patience_s
        return lanes_s

    def last_failure(self, host: str) -> ImageError:
        """The error of an image whose host serves nobody."""
        return self._failures.get(host) or host_overloaded(host)

    def learn(self, task: ImageTask) -> None:
        """Remembers how a download ended. Its host may grant another one."""
        if task.failure is not None:
            _remember(self._failures, task.host, task.failure)
        if task.is_served:
            self._failures.pop(task.host, None)
            self.learn_served(task.host)
        self._blocked.pop(task.host, None)

    def learn_served(self, host: str) -> None:
        _remember(self._known, host, None)

    def _in_flight(self) -> Counter[str]:
        return Counter(task.host for task in self._tasks)


def _remember(memory: dict[str, T], host: str, value: T) -> None:
    """Sets a value, and forgets the host that was set longest ago when there are too many."""
    memory.pop(host, None)
    memory[host] = value
    if len(memory) > MAX_HOSTS:
        del memory[next(iter(memory))]
