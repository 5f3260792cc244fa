"""What one process does for all: who may do it now, and what came of it. Kept in Redis, which may forget it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gql_imgproc.messaging.queue import connect

_ENDED, _ITEMS, _RUNS = "imgproc:duties:ended", "imgproc:duties:items", "imgproc:duties:runs"


@dataclass(frozen=True, slots=True)
class TaskStats:
    """What is known of a duty: when it was done last, in seconds since 1970, how often, and on how many things."""

    ended_at: float
    runs: int
    items: int


class LeaderLocks:
    """Methods block; they raise redis.RedisError."""

    def __init__(self, url: str) -> None:
        self._redis = connect(url)

    def try_acquire(self, name: str, seconds: float) -> bool:
        """Takes the right to do `name`, alone among all processes, for so long; False when another has it."""
        return bool(self._redis.set(f"imgproc:duty:{name}", 1, nx=True, px=max(1, int(seconds * 1000))))

    def record_run(self, name: str, items: int) -> None:
        """Says that `name` was done just now, and on how many things."""
        seconds, microseconds = self._redis.time()
        with self._redis.pipeline() as together:
            together.hset(_ENDED, name, seconds + microseconds / 1e6)
            together.hincrby(_RUNS, name, 1)
            together.hincrby(_ITEMS, name, items)
            together.execute()

    def stats(self) -> dict[str, TaskStats]:
        """What is known of each duty that was ever done."""
        ended, runs, items = (self._redis.hgetall(key) for key in (_ENDED, _RUNS, _ITEMS))
        return {
            os.fsdecode(name): TaskStats(float(at), int(runs.get(name, 0)), int(items.get(name, 0)))
            for name, at in ended.items()
        }

    def close(self) -> None:
        self._redis.close()
