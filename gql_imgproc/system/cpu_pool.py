"""Limits how many images, and how many megapixels, a process decodes at once."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from gql_imgproc.enums import Priority

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Images of each priority that start while all three priorities wait.
WEIGHTS = {Priority.HIGH: 16, Priority.NORMAL: 4, Priority.LOW: 1}
#: An image within the limits takes at most a minute. A call that takes this many seconds never returns.
STUCK_SECONDS = 600.0
#: Exit status of a process whose decoder does not return: its thread cannot be stopped in another way.
STUCK_EXIT = 70


@dataclass(eq=False, slots=True)
class _Waiter:
    """A job in the queue. `may_start` is done when the job may start."""

    megapixels: float
    may_start: asyncio.Future[None]


class FairQueue:
    """One FIFO queue per priority. High priorities go first most of the time, and no queue starves.

    Stride scheduling (Waldspurger and Weihl 1995) selects the next queue by weight.
    """

    def __init__(self) -> None:
        self._queues: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}
        # Jobs started per priority, divided by its weight. The smallest value is next.
        self._passes = dict.fromkeys(Priority, 0.0)
        self._current_pass = 0.0

    def push(self, priority: Priority, waiter: _Waiter) -> None:
        queue = self._queues[priority]
        if not queue:
            # An empty queue earns no credit.
            self._passes[priority] = max(self._passes[priority], self._current_pass)
        queue.append(waiter)

    def peek(self) -> tuple[Priority, _Waiter] | None:
        """Returns the next job, without the cancelled ones."""
        for queue in self._queues.values():
            while queue and queue[0].may_start.done():
                queue.popleft()
        ready = [priority for priority, queue in self._queues.items() if queue]
        if not ready:
            return None
        priority = min(ready, key=lambda priority: (self._passes[priority], -WEIGHTS[priority]))
        return priority, self._queues[priority][0]

    def pop(self, priority: Priority) -> None:
        """Removes the first job of a queue and charges its priority for it."""
        self._queues[priority].popleft()
        self._current_pass = self._passes[priority]
        self._passes[priority] += 1 / WEIGHTS[priority]


class CpuPool:
    """Threads that decode images. Limits the threads in use and the megapixels in flight."""

    def __init__(self, threads: int, megapixels: float) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="cpu")
        self._max_megapixels = megapixels
        self._free_threads = threads
        self._free_megapixels = megapixels
        self._queue = FairQueue()

    async def run(self, megapixels: float, priority: Priority, call: Callable[[], T]) -> T:
        """Runs `call` on a CPU thread and counts it as `megapixels`. A call over the limit runs alone.

        If the call never returns, the process exits and the lease of its work expires.
        """
        loop = asyncio.get_running_loop()
        waiter = _Waiter(min(megapixels, self._max_megapixels), loop.create_future())
        self._queue.push(priority, waiter)
        self._start_next()
        try:
            await waiter.may_start
        except asyncio.CancelledError:
            # The job was allowed to start and cancelled at the same moment.
            if not waiter.may_start.cancelled():
                self._release(waiter.megapixels)
            raise
        work = self._threads.submit(call)
        stuck_timer = loop.call_later(STUCK_SECONDS, _exit_stuck_process)

        # The thread continues to decode even if the caller was cancelled.
        def on_done(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stuck_timer.cancel)
                loop.call_soon_threadsafe(self._release, waiter.megapixels)

        work.add_done_callback(on_done)
        return await asyncio.wrap_future(work)

    def _start_next(self) -> None:
        """Starts waiting jobs that fit. A large image blocks the jobs behind it, so small images cannot starve it."""
        while self._free_threads and (first := self._queue.peek()):
            priority, waiter = first
            if waiter.megapixels > self._free_megapixels:
                return
            self._queue.pop(priority)
            self._free_threads -= 1
            self._free_megapixels -= waiter.megapixels
            waiter.may_start.set_result(None)

    def _release(self, megapixels: float) -> None:
        self._free_threads += 1
        self._free_megapixels += megapixels
        self._start_next()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _exit_stuck_process() -> None:
    log.critical("a decoder did not return for %.0f s; this process exits", STUCK_SECONDS)
    os._exit(STUCK_EXIT)
