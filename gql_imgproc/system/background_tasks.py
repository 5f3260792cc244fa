"""Background tasks: at most one per subject, cancelled when the process stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

log = logging.getLogger(__name__)


class BackgroundTasks:
    """Tasks that no caller awaits. Reconcile repeats the work of a task that was lost with its process."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}

    def start(self, subject: Hashable, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts `work` unless a task for the same subject is running."""
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
