"""Records the results of a process in groups, and publishes the progress that follows from them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextvars import Context
from functools import partial
from uuid import UUID

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.metrics import IMAGE_FAILURES, IMAGES, INPUT_BYTES, LEASES_LOST, OUTPUT_BYTES, STAGE_SECONDS
from gql_imgproc.processing.stage_metrics import Stage
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.results import FinishedImage, Recorded, ReturnedImage
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: How long a result waits for others, in seconds, and how many are recorded in one transaction.
MAX_WAIT_SECONDS, MAX_RESULTS = 0.05, 64
#: Minimum time between two transactions of a busy process, in seconds. Progress is not reported more often.
MIN_INTERVAL_SECONDS = 0.2
#: Pause after a transaction that failed, in seconds.
ERROR_PAUSE_SECONDS = 1.0
#: Minimum time between two progress events of a request, in seconds: people cannot follow more than five per second.
MIN_PUBLISH_INTERVAL_SECONDS = 0.2


def log_ids(image: ClaimedImage) -> dict[str, object]:
    # Neither the input URL, which may contain a signature, nor the output URL is logged: the ID leads to both.
    return {"request": image.request_id, "product": image.product_id, "image": image.id}


class Recorder:
    """Collects results and writes all that wait in one transaction.

    `on_recorded` is called with the images whose leases this process no longer needs. `count_leased` returns how many
    images it has: when the results of all of them wait, there is nothing to wait for.
    """

    def __init__(
        self,
        runtime: Runtime,
        on_recorded: Callable[[Iterable[ClaimedImage]], None],
        count_leased: Callable[[], int],
    ) -> None:
        self._runtime = runtime
        self._on_recorded = on_recorded
        self._count_leased = count_leased
        self._waiting: list[FinishedImage | ReturnedImage] = []
        self._is_full = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._written_at = -math.inf
        self._progress = _Progress(runtime)

    def add(self, *items: FinishedImage | ReturnedImage) -> None:
        """Records these results soon."""
        self._waiting += items
        if len(self._waiting) >= min(MAX_RESULTS, self._count_leased()):
            self._is_full.set()
        if self._writer is None or self._writer.done():
            # In no trace: a group belongs to several, and messages must not carry any of them.
            self._writer = asyncio.create_task(self._write_waiting(), name="recorder", context=Context())

    async def flush(self) -> None:
        """Records what waits at once, and publishes it."""
        self._is_full.set()
        if self._writer is not None:
            await self._writer
        await self._progress.flush()

    async def aclose(self) -> None:
        """Drops what could not be recorded."""
        tasks = [task for task in (self._writer, self._progress.timer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _write_waiting(self) -> None:
        while self._waiting:
            interval_left_s = self._written_at + MIN_INTERVAL_SECONDS - time.monotonic()
            try:
                async with asyncio.timeout(max(MAX_WAIT_SECONDS, interval_left_s)):
                    await self._is_full.wait()
            except TimeoutError:
                pass
            batch, self._waiting = self._waiting[:MAX_RESULTS], self._waiting[MAX_RESULTS:]
            if len(self._waiting) < MAX_RESULTS:
                self._is_full.clear()
            self._written_at = time.monotonic()
            await self._write(batch)

    async def _write(self, batch: list[FinishedImage | ReturnedImage]) -> None:
        finished = [item for item in batch if isinstance(item, FinishedImage)]
        returned = [item for item in batch if isinstance(item, ReturnedImage)]
        try:
            with STAGE_SECONDS.labels(Stage.RECORD.value).time():
                recorded = await self._runtime.db.write(results.record, finished, returned)
        except DatabaseUnavailable as error:
            # The leases are renewed meanwhile, unless the database stays away: then others repeat the work.
            log.warning("results not recorded yet", extra={"results": len(batch), "reason": str(error)})
            self._waiting = batch + self._waiting
            await asyncio.sleep(ERROR_PAUSE_SECONDS)
            return
        except Exception:
            # Their leases expire, and other processes repeat the work.
            log.exception("results not recorded", extra={"results": len(batch)})
            self._on_recorded([item.image for item in batch])
            return
        self._on_recorded([item.image for item in batch])
        _count(finished, recorded)
        await self._progress.publish(recorded.snapshots)


def _count(finished: Iterable[FinishedImage], recorded: Recorded) -> None:
    for id in recorded.lost:
        LEASES_LOST.labels("image").inc()
        log.info("lease lost", extra={"image": id})
    for item in finished:
        if item.image.id in recorded.lost:
            continue
        image, result = item.image, item.result
        if result.status is ImageStatus.FAILED:
            assert result.error_code is not None
            code = result.error_code.value
            IMAGES.labels("FAILED", "unknown").inc()
            IMAGE_FAILURES.labels(code).inc()
            reason = {"code": code, "http_status": result.error_http_status, "attempt": image.attempts}
            log.info("image failed", extra=log_ids(image) | reason)
            continue
        assert result.outcome is not None
        assert result.format is not None
        format = result.format.removeprefix("image/")
        IMAGES.labels(result.outcome.value, format).inc()
        INPUT_BYTES.labels(format).inc(result.input_bytes or 0)
        OUTPUT_BYTES.labels(format).inc(result.output_bytes or 0)
        outcome = {"outcome": result.outcome.value, "format": format}
        sizes = {"input_bytes": result.input_bytes, "output_bytes": result.output_bytes}
        log.info("image completed", extra=log_ids(image) | outcome | sizes)


class _Progress:
    """Publishes at most 5 snapshots per second of a request; the last one of a burst and the final one always."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._published_at: dict[UUID, float] = {}
        self._delayed: dict[UUID, Snapshot] = {}
        self.timer: asyncio.Task[None] | None = None

    async def publish(self, snapshots: Iterable[Snapshot]) -> None:
        now = time.monotonic()
        ready = []
        for snapshot in snapshots:
            if not snapshot.pending_images or self._next_at(snapshot.id) <= now:
                ready.append(snapshot)
            else:
                self._delayed[snapshot.id] = snapshot
        await self._send(ready)
        if self._delayed and (self.timer is None or self.timer.done()):
            self.timer = asyncio.create_task(self._publish_later(), name="progress", context=Context())

    async def flush(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        await self._send(list(self._delayed.values()))

    def _next_at(self, id: UUID) -> float:
        """The earliest time at which a request may be published again."""
        return self._published_at.get(id, -math.inf) + MIN_PUBLISH_INTERVAL_SECONDS

    async def _publish_later(self) -> None:
        while self._delayed:
            next_at = min(self._next_at(id) for id in self._delayed)
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            now = time.monotonic()
            await self._send([snapshot for id, snapshot in self._delayed.items() if self._next_at(id) <= now])

    async def _send(self, snapshots: list[Snapshot]) -> None:
        if not snapshots:
            return
        now = time.monotonic()
        for id in [id for id in self._published_at if self._next_at(id) <= now]:
            del self._published_at[id]
        calls: list[Callable[[], object]] = []
        for snapshot in snapshots:
            self._delayed.pop(snapshot.id, None)
            self._published_at[snapshot.id] = now
            calls.append(partial(self._runtime.publisher.publish, snapshot.id, snapshot.to_event()))
            if not snapshot.pending_images:
                calls.append(partial(self._runtime.queue.advance, snapshot.id))
        try:
            await best_effort(self._runtime, *calls)
        except Exception:
            # It must not keep the results that wait: watchers poll the database, and reconcile continues requests.
            log.exception("progress not published")
