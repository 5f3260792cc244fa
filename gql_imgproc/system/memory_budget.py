"""Limits the bytes of downloaded images that wait to be decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """While the reserved bytes reach the limit, `wait_for_room` blocks further downloads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def wait_for_room(self) -> None:
        await self._has_room.wait()

    @contextmanager
    def reserve(self, data: bytes) -> Iterator[bytes]:
        """Counts the bytes while the block runs."""
        self._add(len(data))
        try:
            yield data
        finally:
            self._add(-len(data))

    def _add(self, count: int) -> None:
        self._used_bytes += count
        if self._used_bytes < self._limit_bytes:
            self._has_room.set()
        else:
            self._has_room.clear()
