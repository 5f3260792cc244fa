"""Limits how many images, and how many megapixels, a process decodes at once."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

#: An image within the limits takes at most a minute, for each of up to 10 outputs. A call that takes this many seconds
#: never returns.
STUCK_SECONDS = 1_200.0
#: Exit status of a process whose decoder does not return: its thread cannot be stopped in another way.
STUCK_EXIT = 70


@dataclass(eq=False, slots=True)
class _Job(Generic[T]):
    """A call, and the future of its caller. The future is done before the call starts only if it was cancelled."""

    megapixels: float
    call: Callable[[], T]
    result: asyncio.Future[T]
    #: Monotonic time, in seconds.
    started_at: float = 0.0

    def run(self) -> None:
        """Runs the call on this thread, and passes its result to the event loop of the caller."""
        try:
            deliver = partial(self.result.set_result, self.call())
        except BaseException as error:
            deliver = partial(self.result.set_exception, error)
        # The loop may have been closed, after its tasks were cancelled.
        with suppress(RuntimeError):
            self.result.get_loop().call_soon_threadsafe(self._deliver, deliver)

    def _deliver(self, deliver: Callable[[], None]) -> None:
        if not self.result.done():
            deliver()


class CpuPool:
    """Threads that take jobs from a queue, without the event loop. Limits the megapixels in flight.

    First in, first out: images were claimed fairly between tenants and by priority. A priority here would let a tenant
    get ahead of others.
    """

    def __init__(self, threads: int, megapixels: float) -> None:
        self._max_megapixels = self._free_megapixels = megapixels
        self._queue: deque[_Job[Any]] = deque()
        self._running: set[_Job[Any]] = set()
        self._is_closed = False
        # Guards the fields above. A thread that waits for it waits for a job that fits.
        self._changed = threading.Condition()
        self._stuck_check: asyncio.TimerHandle | None = None
        # Daemons, so that a process can exit without closing its pool.
        self._threads = [threading.Thread(target=self._work, name=f"cpu_{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_jobs(self) -> int:
        """Calls that wait for a thread."""
        with self._changed:
            return len(self._queue)

    async def run(self, megapixels: float, call: Callable[[], T]) -> T:
        """Runs `call` on a CPU thread and counts it as `megapixels`. A call over the limit runs alone.

        If the call never returns, the process exits and the lease of its work expires.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        job = _Job(min(megapixels, self._max_megapixels), call, result)
        with self._changed:
            if self._is_closed:
                raise RuntimeError("The CPU pool is closed.")
            self._queue.append(job)
            self._changed.notify()
        if self._stuck_check is None:
            self._stuck_check = loop.call_later(STUCK_SECONDS, self._exit_if_stuck)
        try:
            return await result
        except asyncio.CancelledError:
            # A job that is running continues. One that waited may have kept smaller jobs waiting.
            with self._changed:
                self._changed.notify()
            raise

    def _work(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Waits for a job and runs it; returns False if the pool was closed.

        The job is local to this function, so an idle thread holds no image in memory.
        """
        with self._changed:
            while (job := self._take()) is None:
                if self._is_closed:
                    return False
                self._changed.wait()
            if self._peek() is not None:
                # Several jobs may fit since one thread was woken. Each thread wakes the next one.
                self._changed.notify()
        job.run()
        with self._changed:
            self._running.remove(job)
            self._free_megapixels += job.megapixels
        return True

    def _take(self) -> _Job[Any] | None:
        """Takes the next job if it fits. A large image blocks the jobs behind it, so small images cannot starve it."""
        job = self._peek()
        if job is None or job.megapixels > self._free_megapixels:
            return None
        self._queue.popleft()
        self._free_megapixels -= job.megapixels
        self._running.add(job)
        job.started_at = time.monotonic()
        return job

    def _peek(self) -> _Job[Any] | None:
        """Returns the next job, without the cancelled ones."""
        while self._queue and self._queue[0].result.done():
            self._queue.popleft()
        return self._queue[0] if self._queue else None

    def _exit_if_stuck(self) -> None:
        """Exits if a call has been running for too long; otherwise checks again when the oldest call may be stuck."""
        now = time.monotonic()
        with self._changed:
            oldest = min((job.started_at for job in self._running), default=now)
        if now - oldest >= STUCK_SECONDS:
            _exit_stuck_process()
        next_check_s = oldest + STUCK_SECONDS - now
        self._stuck_check = asyncio.get_running_loop().call_later(next_check_s, self._exit_if_stuck)

    def close(self) -> None:
        """Cancels the jobs that wait, and returns when those that run are done."""
        with self._changed:
            self._is_closed = True
            while job := self._peek():
                self._queue.popleft()
                job.result.cancel()
            self._changed.notify_all()
        if self._stuck_check is not None:
            self._stuck_check.cancel()
        for thread in self._threads:
            thread.join()


def _exit_stuck_process() -> None:
    log.critical("a decoder did not return for %.0f s; this process exits", STUCK_SECONDS)
    os._exit(STUCK_EXIT)
