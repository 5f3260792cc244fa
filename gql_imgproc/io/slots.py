"""Turns for downloads: so many in all, so many per host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Host:
    turns: asyncio.Semaphore
    users: int = 0


class Slots:
    """Holds a host's slot first and then one of all, so that those who wait for a slow host hold up nobody else."""

    def __init__(self, concurrency: int, per_host: int, wait_s: float) -> None:
        self._all = asyncio.Semaphore(concurrency)
        self._per_host = per_host
        self._wait_s = wait_s
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Hosts that are remembered: only those in use, or a large catalogue would fill the memory."""
        return len(self._hosts)

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Raises TimeoutError when no slot became free; what is raised inside passes."""
        place = self._hosts.get(host)
        if place is None:
            place = self._hosts[host] = _Host(asyncio.Semaphore(self._per_host))
        place.users += 1
        held: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(self._wait_s):
                for turns in (place.turns, self._all):
                    await turns.acquire()
                    held.append(turns)
            yield
        finally:
            for turns in held:
                turns.release()
            place.users -= 1
            if not place.users:
                del self._hosts[host]
