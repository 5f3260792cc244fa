"""Work beside the work: done by and by, one piece for each subject, ended with its process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

log = logging.getLogger(__name__)


class BackgroundTasks:
    """Tasks that nobody waits for. What is lost with the process is found by the sweep."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, subject: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begins `work` unless some for the same subject is going on."""
        if subject not in self._tasks:
            self._tasks[subject] = asyncio.create_task(self._run(subject, work), name=str(subject))

    async def _run(self, subject: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception:
            log.exception("background task failed; the next reconcile repeats its work")
        finally:
            del self._tasks[subject]

    async def aclose(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
