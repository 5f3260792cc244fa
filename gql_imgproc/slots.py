"""How much of the machine pictures may take at once: cores, megapixels, bytes that wait."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger(__name__)

#: A picture within the limits takes a minute at the very most; one that takes so long, in seconds, never ends.
STUCK_SECONDS = 600.0
#: Exit status of a process whose decoder does not come back: its thread cannot be ended in another way.
STUCK_EXIT = 70


class CpuSlots:
    """The threads on which pictures are decoded: a number of them, and of megapixels, at once."""

    def __init__(self, slots: int, megapixels: float) -> None:
        self._threads = ThreadPoolExecutor(slots, thread_name_prefix="cpu")
        self._slots = slots
        self._limit = megapixels
        self._busy = 0
        self._free = megapixels
        self._change = asyncio.Event()
        # First come, first served: small pictures would overtake a large one for ever.
        self._line = asyncio.Lock()

    async def run(self, megapixels: float, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `call` on a CPU thread, counting it as so many megapixels; one that is over the limit runs alone.

        A call that does not come back ends the process; the lease of its work then runs out.
        """
        share = min(megapixels, self._limit)
        async with self._line:
            while self._busy >= self._slots or self._free < share:
                self._change.clear()
                await self._change.wait()
            self._busy += 1
            self._free -= share
        loop = asyncio.get_running_loop()
        work = self._threads.submit(lambda: call(*args, **kwargs))
        stuck = loop.call_later(STUCK_SECONDS, _give_up)

        # Even if nobody waits for it any more, its thread decodes on.
        def done(_: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._give_back, share, stuck)

        work.add_done_callback(done)
        return await asyncio.wrap_future(work)

    def _give_back(self, share: float, stuck: asyncio.TimerHandle) -> None:
        stuck.cancel()
        self._busy -= 1
        self._free += share
        self._change.set()

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def _give_up() -> None:
    log.critical("a decoder did not come back for %.0f s: this process ends", STUCK_SECONDS)
    os._exit(STUCK_EXIT)


class Ballast:
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
