"""A fleet that downloads from one modelled host in virtual time, with the real script in a real Redis."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gql_imgproc.messaging.host_budget import HostAnswer, HostBudgets

HOST = "images.example:443"
#: Images in flight of one process.
PLACES = 32
#: Time from a download's end to the next claim, and variation of every start, in seconds.
CLAIM_S, JITTER_S = 0.003, 0.002
#: How long a claim takes at most, in seconds: a download cannot begin earlier.
MAX_CLAIM_S = 0.02


class Limiter(Protocol):
    def take(self, now: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class ModelHost:
    """A host that serves what its limiter allows, and answers everything else with `refusal`."""

    limiter: Limiter
    latency_s: float = 0.005
    refusal: HostAnswer = HostAnswer.REFUSED
    retry_after_s: float | None = 1.0


@dataclass(slots=True)
class Outcome:
    """What a run did. Times are virtual seconds from its start."""

    served: int = 0
    refused: int = 0
    #: Refusals that were charged as a failed attempt.
    charged: int = 0
    ended_s: float = 0.0
    calls: int = 0
    refused_at_s: list[float] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        return self.refused / (self.served + self.refused)


class Simulation:
    """`processes` workers share `images` of one host. `await run()` returns after the last image."""

    def __init__(self, redis_url: str, host: ModelHost, *, processes: int, images: int, seed: int, per_host: int = 64):
        self.now = 1_000_000.0
        self.outcome = Outcome()
        self._host = host
        self._random = random.Random(seed)
        self._waiting = images
        self._images = images
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._workers = [
            _Worker(HostBudgets(redis_url, per_host=per_host, clock=lambda: self.now)) for _ in range(processes)
        ]

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        """Run `action` so many seconds after the current virtual time."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    async def run(self, *, limit_s: float = 600.0) -> Outcome:
        start = self.now
        for worker in self._workers:
            self._claim_at(worker, self._random.random() * 0.1)
        while self.outcome.served < self._images and self._events:
            self.now, _, action = heapq.heappop(self._events)
            if self.now - start > limit_s:
                break
            worker = action()
            if isinstance(worker, _Worker):
                await self._claim(worker)
        self.outcome.ended_s = self.now - start
        self.outcome.refused_at_s = [at - start for at in self.outcome.refused_at_s]
        for worker in self._workers:
            await worker.budgets.aclose()
        return self.outcome

    def _claim_at(self, worker: _Worker, seconds: float) -> None:
        due_at = self.now + seconds
        if worker.claims_at <= self.now or due_at < worker.claims_at:
            worker.claims_at = due_at
            self.at(seconds, lambda: worker if worker.claims_at == due_at else None)

    async def _claim(self, worker: _Worker) -> None:
        self.outcome.calls += 1
        wanted = min(PLACES - worker.in_flight, self._waiting)
        if not wanted:
            await worker.budgets.flush()
            self._claim_at(worker, 1.0)
            return
        grant = (await worker.budgets.ask({HOST: wanted}))[HOST]
        self._waiting -= len(grant.starts_s)
        worker.in_flight += len(grant.starts_s)
        claimed_s = self._random.random() * MAX_CLAIM_S
        for start_s in grant.starts_s:
            self.at(max(start_s, claimed_s) + self._random.random() * JITTER_S, lambda: self._begin(worker))
        worker.waits_until = self.now + grant.wait_s if len(grant.starts_s) < wanted else 0.0
        self._claim_at(worker, grant.wait_s)

    def _begin(self, worker: _Worker) -> None:
        started_at = self.now
        seconds = self._host.latency_s * (0.8 + 0.4 * self._random.random())
        self.at(seconds / 2, lambda: self._arrive(worker, started_at, seconds))

    def _arrive(self, worker: _Worker, started_at: float, seconds: float) -> None:
        is_served = self._host.limiter.take(self.now)
        self.at(seconds / 2, lambda: self._end(worker, started_at, seconds, is_served=is_served))

    def _end(self, worker: _Worker, started_at: float, seconds: float, *, is_served: bool) -> None:
        worker.in_flight -= 1
        if is_served:
            self.outcome.served += 1
            worker.budgets.report(HOST, HostAnswer.SERVED, started_at=started_at, seconds=seconds)
        else:
            self.outcome.refused += 1
            self.outcome.refused_at_s.append(self.now)
            self._waiting += 1
            is_refusal = worker.budgets.report(
                HOST,
                self._host.refusal,
                started_at=started_at,
                seconds=seconds,
                retry_after_s=self._host.retry_after_s,
            )
            self.outcome.charged += not is_refusal
        is_waiting = is_served and worker.is_patient
        self._claim_at(worker, max(CLAIM_S, worker.waits_until - self.now if is_waiting else 0.0))


@dataclass(eq=False, slots=True)
class _Worker:
    budgets: HostBudgets
    in_flight: int = 0
    claims_at: float = 0.0
    waits_until: float = 0.0
    #: Claims only when the last grant's wait has passed; otherwise after each download, too.
    is_patient: bool = False
