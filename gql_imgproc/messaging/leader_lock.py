"""Locks and run statistics of periodic tasks. They live in Redis, and losing them is harmless."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gql_imgproc.messaging.queue import connect

_LAST_RUN, _ITEMS, _RUNS = "imgproc:tasks:last_run", "imgproc:tasks:items", "imgproc:tasks:runs"


@dataclass(frozen=True, slots=True)
class TaskStats:
    """Runs of a periodic task, and the items it handled, since Redis was emptied."""

    #: Unix time in seconds.
    last_run_at: float
    runs: int
    items: int


class LeaderLocks:
    """A lock and statistics for each periodic task. Methods block and raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    def try_acquire(self, name: str, seconds: float) -> bool:
        """Lock `name` for this process; False if another process has it. The lock is not released, it expires."""
        return bool(self._redis.set(f"imgproc:task-lock:{name}", 1, nx=True, px=max(1, int(seconds * 1000))))

    def record_run(self, name: str, items: int) -> None:
        seconds, microseconds = self._redis.time()
        with self._redis.pipeline() as pipeline:
            pipeline.hset(_LAST_RUN, name, seconds + microseconds / 1e6)
            pipeline.hincrby(_RUNS, name, 1)
            pipeline.hincrby(_ITEMS, name, items)
            pipeline.execute()

    def stats(self) -> dict[str, TaskStats]:
        """Statistics of every task that has run, by its name."""
        last_run, runs, items = (self._redis.hgetall(key) for key in (_LAST_RUN, _RUNS, _ITEMS))
        return {
            os.fsdecode(name): TaskStats(float(time), int(runs.get(name, 0)), int(items.get(name, 0)))
            for name, time in last_run.items()
        }

    def close(self) -> None:
        self._redis.close()
