"""How much of the machine pictures may take at once: cores, megapixels, bytes that wait."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from gql_imgproc.enums import Priority

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Pictures of each priority that are begun while all three wait.
WEIGHTS = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
#: A picture within the limits takes a minute at the very most; one that takes so long, in seconds, never ends.
STUCK_SECONDS = 600.0
#: Exit status of a process whose decoder does not come back: its thread cannot be ended in another way.
STUCK_EXIT = 70


@dataclass(eq=False, slots=True)
class _Waiting:
    """A picture in line; `turn` is done when it may begin."""

    share: float
    turn: asyncio.Future[None]


class FairQueue:
    """Who waits, in a line for each priority; which line is next follows from their weights (stride scheduling,
    Waldspurger and Weihl 1995): the urgent ones go first most of the time, and no line stands still for ever."""

    def __init__(self) -> None:
        self._lines: dict[Priority, deque[_Waiting]] = {priority: deque() for priority in Priority}
        # How far each line has come, in turns divided by weight; the one that lags behind most is next.
        self._passes = dict.fromkeys(Priority, 0.0)
        self._now = 0.0

    def join(self, priority: Priority, waiting: _Waiting) -> None:
        line = self._lines[priority]
        if not line:
            # Nothing is saved up by not having waited.
            self._passes[priority] = max(self._passes[priority], self._now)
        line.append(waiting)

    def first(self) -> tuple[Priority, _Waiting] | None:
        """Whose turn it is."""
        for line in self._lines.values():
            while line and line[0].turn.done():
                line.popleft()
        ready = [priority for priority, line in self._lines.items() if line]
        if not ready:
            return None
        priority = min(ready, key=lambda priority: (self._passes[priority], -WEIGHTS[priority]))
        return priority, self._lines[priority][0]

    def leave(self, priority: Priority) -> None:
        """The first of a line has had its turn."""
        self._lines[priority].popleft()
        self._now = self._passes[priority]
        self._passes[priority] += 1 / WEIGHTS[priority]


class CpuPool:
    """The threads on which pictures are decoded: a number of them, and of megapixels, at once."""

    def __init__(self, slots: int, megapixels: float) -> None:
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="cpu")
        self._limit = megapixels
        self._free_slots = slots
        self._free = megapixels
        self._line = FairQueue()

    async def run(self, megapixels: float, priority: Priority, call: Callable[[], T]) -> T:
        """Runs `call` on a CPU thread, counting it as so many megapixels; one that is over the limit runs alone.

        A call that does not come back ends the process; the lease of its work then runs out.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(min(megapixels, self._limit), loop.create_future())
        self._line.join(priority, waiting)
        self._call_up()
        try:
            await waiting.turn
        except asyncio.CancelledError:
            # Called up and cancelled at the same moment.
            if not waiting.turn.cancelled():
                self._give_back(waiting.share)
            raise
        work = self._threads.submit(call)
        stuck = loop.call_later(STUCK_SECONDS, _exit_stuck_process)

        # Even if nobody waits for it any more, its thread decodes on.
        def done(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stuck.cancel)
                loop.call_soon_threadsafe(self._give_back, waiting.share)

        work.add_done_callback(done)
        return await asyncio.wrap_future(work)

    def _call_up(self) -> None:
        """Lets those begin whose turn it is. Nobody overtakes a large picture that waits for room, or small ones
        would for ever."""
        while self._free_slots and (first := self._line.first()):
            priority, waiting = first
            if waiting.share > self._free:
                return
            self._line.leave(priority)
            self._free_slots -= 1
            self._free -= waiting.share
            waiting.turn.set_result(None)

    def _give_back(self, share: float) -> None:
        self._free_slots += 1
        self._free += share
        self._call_up()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _exit_stuck_process() -> None:
    log.critical("a decoder did not return for %.0f s; this process exits", STUCK_SECONDS)
    os._exit(STUCK_EXIT)


class MemoryBudget:
    """Bytes that were fetched and wait for a CPU slot: while they are too many, nothing more is fetched."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()

    async def room(self) -> None:
        """Waits until there is room for more."""
        await self._room.wait()

    @contextmanager
    def holding(self, data: bytes) -> Iterator[bytes]:
        """The bytes, counted while the block runs."""
        self._add(len(data))
        try:
            yield data
        finally:
            self._add(-len(data))

    def _add(self, count: int) -> None:
        self._bytes += count
        if self._bytes < self._limit:
            self._room.set()
        else:
            self._room.clear()
