"""Budgets of image hosts, shared by all worker processes: how many downloads may begin, and when.

A host has a window of concurrent downloads and, after its first refusal, a pace. Redis holds both: host_budget.lua is
the whole algorithm, and docs/RELIABILITY.md describes it. While Redis is unavailable, a process uses its share of the
last known pace. After a loss of Redis, the hosts are learned again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gql_imgproc.messaging import outage
from gql_imgproc.messaging.local_host_budget import RECENT_ANSWERS, HostGrant, KnownHost, grant_locally, learn_locally
from gql_imgproc.messaging.outage import UNAVAILABLE, Outage
from gql_imgproc.metrics import HOST_PAUSES, HOST_REFUSALS, HOSTS_PAUSED
from gql_imgproc.net.host_answers import HostAnswer
from gql_imgproc.net.host_categories import HostCategory
from gql_imgproc.net.hosts import split_host

__all__ = ["HostAnswer", "HostBudgets", "HostGrant"]

log = logging.getLogger(__name__)

KEY_PREFIX = "imgproc:host:"
#: Hosts that one process remembers; the least recently used one is forgotten.
MAX_HOSTS = 10_000
#: Interval in seconds at which Redis is informed of downloads in progress. It forgets them after 10 s, so that work
#: resumes soon after a process was killed.
RENEW_S = 3.0
#: Interval in seconds at which paused hosts are counted for metrics.
COUNT_INTERVAL_S = 1.0
# rate() needs a value before the first event.
for _category in HostCategory:
    HOST_REFUSALS.labels(_category.value)
    HOST_PAUSES.labels(_category.value)
    HOSTS_PAUSED.labels(_category.value)
_EVENTS = {"paused": "host paused", "resumed": "host resumed", "paced": "host pace found"}


class HostBudgets:
    """The part of one process. Belongs to the event loop of its first call."""

    def __init__(
        self,
        url: str,
        *,
        per_host: int,
        host_category: Callable[[str], HostCategory] = lambda name: HostCategory.UNKNOWN,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`host_category` maps a host name to its label in metrics. `clock` replaces every clock, for tests."""
        self._per_host = per_host
        self._host_category = host_category
        self._clock = clock or time.monotonic
        self._is_virtual = clock is not None
        self._process = uuid4().hex
        self._hosts: OrderedDict[str, KnownHost] = OrderedDict()
        # Hosts with downloads in progress, or with something to send.
        self._active: set[str] = set()
        # End of the pause of each paused host.
        self._paused: dict[str, float] = {}
        self._paused_counted_at = -math.inf
        # One call at a time: a call states all downloads in progress, including those that the last one granted.
        self._lock = asyncio.Lock()
        self._outage = Outage("host budgets", clock=self._clock)
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=outage.TIMEOUT_S,
            socket_connect_timeout=outage.TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        # Sends EVALSHA, and loads the script again after SCRIPT FLUSH.
        self._script = self._redis.register_script(_read_script())

    def report(
        self,
        host: str,
        answer: HostAnswer,
        *,
        started_at: float,
        seconds: float,
        retry_after_s: float | None = None,
    ) -> bool:
        """End a granted download. Returns whether it was refused, so that the image's attempt does not count.

        `started_at` is the `time.monotonic()` of its start. The report is sent with the next call.
        """
        known = self._end(host, 1)
        known.recent.append(answer in (HostAnswer.REFUSED, HostAnswer.UNAVAILABLE))
        if answer is HostAnswer.UNAVAILABLE and sum(known.recent) > RECENT_ANSWERS // 2:
            answer = HostAnswer.REFUSED
        known.reports.append((answer, started_at, seconds, retry_after_s))
        is_refused = answer is HostAnswer.REFUSED
        if is_refused:
            HOST_REFUSALS.labels(self._category(host)).inc()
        return is_refused

    def give_back(self, host: str, count: int = 1) -> None:
        """End granted downloads that did not start."""
        self._end(host, count)

    async def ask(self, wanted: Mapping[str, int]) -> dict[str, HostGrant]:
        """Send all reports, and ask for downloads of up to eight hosts, in one call. Redis may be unavailable."""
        async with self._lock:
            replies = await self._call(wanted)
            now = self._clock()
            self._count_paused(now)
            return {
                host: grant_locally(self._host(host), count, self._per_host, now)
                if replies is None
                else self._grant(self._host(host), replies[host])
                for host, count in wanted.items()
            }

    async def flush(self) -> None:
        """Send the reports without asking for downloads.

        Call it soon after a refusal or the last download, unless `ask` follows at once: other processes wait for it.
        """
        async with self._lock:
            await self._call({})
            self._count_paused(self._clock())

    async def aclose(self) -> None:
        """Send the last reports and close the connection. Downloads in progress count for 10 s more."""
        await self.flush()
        await self._redis.aclose()

    def _host(self, name: str) -> KnownHost:
        host = self._hosts.setdefault(name, KnownHost())
        self._hosts.move_to_end(name)
        while len(self._hosts) > MAX_HOSTS + len(self._active):
            oldest = next(iter(self._hosts))
            if oldest in self._active:
                self._hosts.move_to_end(oldest)
            else:
                del self._hosts[oldest]
        return host

    def _end(self, name: str, count: int) -> KnownHost:
        host = self._host(name)
        host.held = max(0, host.held - count)
        self._active.add(name)
        return host

    async def _call(self, wanted: Mapping[str, int]) -> dict[str, dict[str, Any]] | None:
        """Returns the reply for each host; None while Redis is unavailable."""
        now = self._clock()
        hosts = {
            name: self._host(name) for name in [*wanted, *self._active] if name in wanted or self._is_due(name, now)
        }
        if not hosts:
            return {}
        asks = [
            {
                "held": host.held,
                "wanted": wanted.get(name, 0),
                "answers": [[a, now - start, seconds, -1 if retry is None else retry]
                            for a, start, seconds, retry in host.reports],
            }
            for name, host in hosts.items()
        ]  # fmt: skip
        reports = [host.reports for host in hosts.values()]
        for host in hosts.values():
            host.reports = []
        replies = await self._run_script(list(hosts), asks, now)
        if replies is None:
            for host, lost in zip(hosts.values(), reports, strict=True):
                learn_locally(host, lost, now)
            return None
        for (name, host), reply in zip(hosts.items(), replies, strict=True):
            self._learn(name, host, reply, now)
        return dict(zip(hosts, replies, strict=True))

    def _is_due(self, name: str, now: float) -> bool:
        host = self._hosts[name]
        return bool(host.reports) or host.held != host.sent_held or now - host.sent_at > RENEW_S

    async def _run_script(self, names: list[str], asks: list[dict[str, Any]], now: float) -> Any:
        argument: dict[str, Any] = {"process": self._process, "per_host": self._per_host, "hosts": asks}
        if self._is_virtual:
            argument["now"] = now
        try:
            async with self._outage.guard():
                reply = await self._script(keys=[KEY_PREFIX + name for name in names], args=[json.dumps(argument)])
        except UNAVAILABLE:
            return None
        return json.loads(reply)

    def _learn(self, name: str, host: KnownHost, reply: dict[str, Any], now: float) -> None:
        host.held += reply["granted"]
        host.sent_held, host.sent_at = host.held, now
        (self._active.add if host.held else self._active.discard)(name)
        host.rate, host.processes = reply["rate"], reply["processes"]
        host.unserved_since = now - reply["unserved"] if reply["unserved"] else None
        host.resume_at = now + reply["pause"]
        if reply["pause"]:
            self._paused[name] = host.resume_at
        if event := reply.get("event"):
            if event != "resumed":
                HOST_PAUSES.labels(self._category(name)).inc()
            fields = {"host": name, "pause_s": round(reply["pause"], 3), "rate_per_s": round(host.rate, 2)}
            log.info(_EVENTS[event], extra=fields)

    def _grant(self, host: KnownHost, reply: dict[str, Any]) -> HostGrant:
        starts = tuple(reply["first"] + n * reply["step"] for n in range(reply["granted"]))
        is_paused = reply["pause"] > 0
        return HostGrant(starts, reply["wait"], is_paused, reply["unserved"], reply["failing"])

    def _category(self, host: str) -> str:
        return self._host_category(split_host(host)[0]).value

    def _count_paused(self, now: float) -> None:
        if now - self._paused_counted_at < COUNT_INTERVAL_S:
            return
        self._paused_counted_at = now
        self._paused = {name: until for name, until in self._paused.items() if until > now}
        counts = Counter(self._category(name) for name in self._paused)
        for category in HostCategory:
            HOSTS_PAUSED.labels(category.value).set(counts[category.value])


@cache
def _read_script() -> str:
    return files(__package__).joinpath("host_budget.lua").read_text("utf-8")
