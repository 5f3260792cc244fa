"""An event loop for tests on machines that stand still now and then."""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any

#: Time that may pass in callbacks, and that the loop may wake up late, in seconds.
MAX_STEP_S = 0.1


class SteadyLoop(asyncio.SelectorEventLoop):
    """Its time does not pass while the machine, or the process, stands still: that ends no timeout of a test."""

    def __init__(self) -> None:
        self._last_s, self._lost_s, self._allowed_s = time.monotonic(), 0.0, MAX_STEP_S
        super().__init__(_Selector(self))

    def time(self) -> float:
        now_s = time.monotonic()
        self._lost_s += max(0.0, now_s - self._last_s - self._allowed_s)
        self._last_s, self._allowed_s = now_s, MAX_STEP_S
        return now_s - self._lost_s

    def expect_sleep(self, seconds: float | None) -> None:
        """Lets this time pass at once; None: any time, because no timer waits."""
        self.time()
        self._allowed_s = float("inf") if seconds is None else MAX_STEP_S + max(0.0, seconds)


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: SteadyLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        self._loop.expect_sleep(timeout)
        return super().select(timeout)
