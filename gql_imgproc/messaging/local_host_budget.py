"""What one process knows of image hosts, and how it grants downloads while Redis is unavailable.

It uses its share of the last known pace, and obeys the refusals that it meets itself.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from gql_imgproc.net.host_answers import HostAnswer

#: Answers of a host, most of which must be refusals before a 503 without `Retry-After` counts as one.
RECENT_ANSWERS = 20
#: While Redis is unavailable: concurrent downloads of a host without a known pace, per process.
LOCAL_WINDOW = 2
#: While Redis is unavailable: shortest and longest pause after a refusal, in seconds.
LOCAL_PAUSE_S, MAX_LOCAL_PAUSE_S = 1.0, 600.0
#: While Redis is unavailable: how far ahead starts are granted, in seconds.
LOCAL_AHEAD_S = 0.07


@dataclass(frozen=True, slots=True)
class HostGrant:
    """The downloads of one host that may begin."""

    #: For each granted download: seconds from now at which it may begin.
    starts_s: tuple[float, ...]
    #: When fewer were granted than wanted: seconds until asking again may help.
    wait_s: float
    #: The host must not be requested for `wait_s`. False: only its window is full, or its pace is used up.
    is_paused: bool
    #: Seconds since the first refusal or failure after the last success; 0 while the host serves.
    unserved_s: float
    #: The last requests got no connection or no answer. False: they were refused, or Redis is unavailable.
    is_failing: bool = False


@dataclass(slots=True)
class KnownHost:
    """What this process knows of a host. Times are those of its own clock."""

    #: Downloads that were granted and have not ended; and their number as Redis knows it.
    held: int = 0
    sent_held: int = 0
    sent_at: float = 0.0
    #: Reports to send: answer, start, duration, `Retry-After`.
    reports: list[tuple[HostAnswer, float, float, float | None]] = field(default_factory=list)
    #: Whether each of the last answers was a refusal or a 503.
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=RECENT_ANSWERS))
    #: Downloads per second of the fleet, 0 for no pace; and the number of processes that share them.
    rate: float = 0.0
    processes: int = 1
    resume_at: float = 0.0
    unserved_since: float | None = None
    next_start_at: float = 0.0


def grant_locally(host: KnownHost, wanted: int, per_host: int, now: float) -> HostGrant:
    """Grants downloads while Redis is unavailable. `per_host`: the most of one host at once, of all processes."""
    pause_s = max(0.0, host.resume_at - now)
    unserved_s = 0.0 if host.unserved_since is None else now - host.unserved_since
    if pause_s:
        return HostGrant((), pause_s, True, unserved_s)
    step = host.processes / host.rate if host.rate else 0.0
    limit = max(1, per_host // host.processes) if step else LOCAL_WINDOW
    first = max(now, host.next_start_at)
    count = max(0, min(wanted, limit - host.held))
    if step:
        count = min(count, max(0, math.floor((now + LOCAL_AHEAD_S - first) / step) + 1))
    host.next_start_at = first + count * step
    host.held += count
    starts = tuple(first - now + n * step for n in range(count))
    return HostGrant(starts, max(step, 0.2), False, unserved_s)


def learn_locally(host: KnownHost, reports: list[tuple[HostAnswer, float, float, float | None]], now: float) -> None:
    """Takes reports into account that Redis did not receive."""
    for answer, _, _, retry_after_s in reports:
        if answer is HostAnswer.SERVED:
            host.unserved_since = None
        elif answer is not HostAnswer.UNAVAILABLE:
            host.unserved_since = host.unserved_since or now
        if answer is HostAnswer.REFUSED:
            pause_s = min(max(retry_after_s or 0, LOCAL_PAUSE_S), MAX_LOCAL_PAUSE_S)
            host.resume_at = max(host.resume_at, now + pause_s)
