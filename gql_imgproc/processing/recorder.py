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
from gql_imgproc.metrics import (
    IMAGE_FAILURES,
    IMAGES,
    INPUT_BYTES,
    LEASES_LOST,
    NOT_DOWNLOADED_BYTES,
    OUTPUT_BYTES,
    SIMILARITY,
    STAGE_SECONDS,
)
from gql_imgproc.processing.stage_metrics import Stage
from gql_imgproc.requests.notify import best_effort, publish
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import (
    FinishedImage,
    ImageResult,
    Recorded,
    ReturnedImage,
    ReturnReason,
)
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: How long a result waits for others, in seconds, and how many are recorded in one transaction.
MAX_WAIT_SECONDS, MAX_RESULTS = 0.05, 64
#: Minimum time between two transactions of a busy process, in seconds. Progress is not reported more often.
MIN_INTERVAL_SECONDS = 0.2
#: How long a new object may wait for its record, in seconds: half of what the cleanup grants it.
MAX_AGE_SECONDS = 300.0
#: Pause after a transaction that failed, in seconds.
ERROR_PAUSE_SECONDS = 1.0


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
        #: Requests without pending images, whose next step has to be enqueued.
        self._finished: list[UUID] = []

    def add(self, *items: FinishedImage | ReturnedImage) -> None:
        """Records these results soon."""
        self._waiting += items
        if len(self._waiting) >= min(MAX_RESULTS, self._count_leased()):
            self._is_full.set()
        if self._writer is None or self._writer.done():
            # In no trace: a group belongs to several, and messages must not carry any of them.
            self._writer = asyncio.create_task(self._write_waiting(), name="recorder", context=Context())

    async def flush(self) -> None:
        """Records what waits at once."""
        self._is_full.set()
        if self._writer is not None:
            await self._writer

    async def aclose(self) -> None:
        """Drops what could not be recorded."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)

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
        batch = [_without_old_object(item) for item in batch]
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
            if len(batch) > 1:
                log.warning("results not recorded together, but one by one", extra={"results": len(batch)})
                for item in batch:
                    await self._write([item])
                return
            # Its lease expires, and another process repeats the work.
            log.exception("result not recorded", extra=log_ids(batch[0].image))
            self._on_recorded([batch[0].image])
            return
        postponed = [item for item in finished if item.image.id in recorded.postponed]
        self._waiting = [*postponed, *self._waiting]
        self._on_recorded([item.image for item in batch if item not in postponed])
        try:
            _count(finished, recorded)
            self._publish(recorded.snapshots)
        except Exception:
            # It must not keep the results that wait: watchers poll the database, and reconcile continues requests.
            log.exception("progress not published")

    def _publish(self, snapshots: Iterable[Snapshot]) -> None:
        for snapshot in snapshots:
            publish(self._runtime, snapshot)
            if not snapshot.pending_images:
                self._finished.append(snapshot.id)
        if self._finished:
            # In the background: a Redis that does not answer must not keep the results that wait.
            self._runtime.background.start((self, "finished"), self._advance_finished)

    async def _advance_finished(self) -> None:
        while self._finished:
            ids, self._finished = self._finished, []
            await best_effort(self._runtime, *(partial(self._runtime.queue.advance, id) for id in ids))


def _without_old_object(item: FinishedImage | ReturnedImage) -> FinishedImage | ReturnedImage:
    """Gives an image back whose object may be deleted soon, since no row refers to it yet."""
    is_old = isinstance(item, FinishedImage) and item.is_new and time.monotonic() - item.finished_at > MAX_AGE_SECONDS
    return ReturnedImage(item.image, ReturnReason.GIVEN_BACK) if is_old else item


def _count(finished: Iterable[FinishedImage], recorded: Recorded) -> None:
    for id in recorded.lost:
        LEASES_LOST.labels("image").inc()
        log.info("lease lost", extra={"image": id})
    unrecorded = recorded.lost | recorded.returned
    for item in finished:
        image, result = item.image, item.result
        if image.id in unrecorded:
            continue
        is_recorded = image.id not in recorded.postponed
        # Its bytes were downloaded, and stored, once.
        _count_finished(result, recorded.copies[image.id] + is_recorded)
        if not is_recorded:
            continue
        if result.status is ImageStatus.FAILED:
            assert result.error_code is not None
            reason = {
                "code": result.error_code.value,
                "http_status": result.error_http_status,
                "attempt": image.attempts,
            }
            log.info("image failed", extra=log_ids(image) | reason)
            continue
        assert result.outcome is not None
        assert result.format is not None
        format = result.format.removeprefix("image/")
        NOT_DOWNLOADED_BYTES.inc(item.not_downloaded_bytes)
        # As in the counters of requests, further outputs do not count.
        if item.outputs and item.outputs[0].is_new:
            INPUT_BYTES.labels(format).inc(result.input_bytes or 0)
            OUTPUT_BYTES.labels(format).inc(result.output_bytes or 0)
            if result.similarity is not None:
                SIMILARITY.labels(format).observe(result.similarity)
        outcome = {"outcome": result.outcome.value, "format": format}
        sizes = {"input_bytes": result.input_bytes, "output_bytes": result.output_bytes}
        log.info("image completed", extra=log_ids(image) | outcome | sizes)


def _count_finished(result: ImageResult, images: int) -> None:
    if result.error_code is not None:
        IMAGES.labels("FAILED", "unknown").inc(images)
        IMAGE_FAILURES.labels(result.error_code.value).inc(images)
    elif result.outcome is not None and result.format is not None:
        IMAGES.labels(result.outcome.value, result.format.removeprefix("image/")).inc(images)
