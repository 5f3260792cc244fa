"""The images of one claimed product: each is downloaded, compressed, stored and recorded, or scheduled for a retry."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import ImageError, ImageErrorCode, LeaseLost
from gql_imgproc.imaging.options import Options
from gql_imgproc.metrics import IMAGE_FAILURES, IMAGES, IMAGES_RETRIED, INPUT_BYTES, OUTPUT_BYTES
from gql_imgproc.processing import image as image_service
from gql_imgproc.processing.stage_metrics import Stage, measure_stage
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import claims
from gql_imgproc.requests.repository.claims import ClaimedImage, ClaimedProduct, ImageResult
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Images of one product in flight: their bytes wait in memory for the CPU pool.
IMAGES_IN_FLIGHT = 8
#: Crashes while an image was decoded alone, after which it fails. The first crash, among other images, does not count.
MAX_CRASHES = 2
#: Consecutive claims that recorded and released nothing, after which the remaining images of the product fail.
MAX_ATTEMPTS = 10
#: Upper limit of a host's `Retry-After`, in seconds.
MAX_RETRY_AFTER_SECONDS = 600.0


class ProductProcessor:
    """Processes the images of one claimed product. Raises LeaseLost when the results can no longer be recorded."""

    def __init__(self, runtime: Runtime, claim: ClaimedProduct) -> None:
        self._runtime = runtime
        self._claim = claim
        self._options = Options.from_json(claim.options)
        self._in_flight = asyncio.Semaphore(IMAGES_IN_FLIGHT)
        self._delay_s: float | None = None
        #: Images that this claim completed, and images that failed.
        self.completed = self.failed = 0

    async def work(self) -> float | None:
        """Processes all images. Returns the seconds until the next attempt; None if no image needs one."""
        by_url: defaultdict[str, list[ClaimedImage]] = defaultdict(list)
        for image in self._claim.images:
            by_url[image.url].append(image)
        groups = list(by_url.values())
        if self._claim.attempts > 1:
            # The last worker crashed. Processing the images one by one shows which of them causes it.
            for group in groups:
                await self._run_isolated(group)
        elif len(groups) == 1:
            await self._process(groups[0])
        else:
            await self._process_concurrently(groups)
        return self._delay_s

    async def _process_concurrently(self, groups: list[list[ClaimedImage]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    tasks.create_task(self._process(group))
        except BaseExceptionGroup as errors:
            if errors.subgroup(LeaseLost):
                raise LeaseLost from None
            raise errors.exceptions[0] from None

    async def _process(self, group: list[ClaimedImage]) -> None:
        """Downloads and compresses the images of one URL once; stores and records each of them."""
        async with self._in_flight:
            try:
                with self._runtime.fetched_bytes.reserve(await self._fetch(group)) as data:
                    result = await image_service.compress_image(
                        self._runtime, data, self._options, self._claim.priority
                    )
            except ImageError as error:
                await self._retry_or_fail(group, error)
                return
        await self._store(group, result)

    async def _run_isolated(self, group: list[ClaimedImage]) -> None:
        """Processes a crash suspect: the only one in this process, and marked before it is decoded."""
        if group[0].crashes >= MAX_CRASHES or self._claim.attempts > MAX_ATTEMPTS:
            crashed = ImageError(
                ImageErrorCode.WORKER_CRASHED,
                "Processing this image crashed the worker repeatedly. Re-save it with an image editor and retry.",
            )
            await self._retry_or_fail(group, crashed)
            return
        try:
            with self._runtime.fetched_bytes.reserve(await self._fetch(group)) as data:
                async with self._runtime.quarantine:
                    await self._mark_crash_suspect(group[0])
                    result = await image_service.compress_image(
                        self._runtime, data, self._options, self._claim.priority
                    )
        except ImageError as error:
            await self._retry_or_fail(group, error)
            return
        await self._store(group, result)

    async def _fetch(self, group: list[ClaimedImage]) -> bytes:
        await self._runtime.fetched_bytes.wait_for_room()
        return await image_service.fetch(self._runtime, group[0].url)

    async def _mark_crash_suspect(self, image: ClaimedImage) -> None:
        if not await self._runtime.db.write(claims.mark_crash_suspect, self._claim, image.id):
            raise LeaseLost

    async def _store(self, group: list[ClaimedImage], compressed: image_service.CompressionResult) -> None:
        for image in group:
            try:
                result = await image_service.store(self._runtime, self._claim, image.id, compressed)
            except ImageError as error:
                await self._retry_or_fail([image], error)
            else:
                await self._record(image, result)

    async def _retry_or_fail(self, group: list[ClaimedImage], error: ImageError) -> None:
        """Schedules a retry where it may help and attempts are left; else records the images as failed."""
        delays = self._runtime.settings.retry_delays
        for image in group:
            if error.retryable and image.attempts <= len(delays):
                retry_after_s = min(error.retry_after_s or 0, MAX_RETRY_AFTER_SECONDS)
                self._delay_s = max(self._delay_s or 0, delays[image.attempts - 1], retry_after_s)
                IMAGES_RETRIED.labels(error.code.value).inc()
                log.info(
                    "image retry scheduled",
                    extra={
                        **self._log_ids(image),
                        "code": error.code.value,
                        "http_status": error.http_status,
                        "attempt": image.attempts,
                        "next_try_in_s": self._delay_s,
                    },
                )
            else:
                await self._record(image, image_service.failed_result(error))

    async def _record(self, image: ClaimedImage, result: ImageResult) -> None:
        with measure_stage(Stage.RECORD):
            snapshot = await self._runtime.db.write(claims.record_image, self._claim, image.id, result)
        self._count(image, result)
        await self._announce(snapshot)

    def _count(self, image: ClaimedImage, result: ImageResult) -> None:
        # Neither the input URL, which may contain a signature, nor the output URL is logged: the ID leads to both.
        if result.status is ImageStatus.FAILED:
            self.failed += 1
            assert result.error_code is not None
            code = result.error_code.value
            IMAGES.labels("FAILED", "unknown").inc()
            IMAGE_FAILURES.labels(code).inc()
            reason = {"code": code, "http_status": result.error_http_status, "attempt": image.attempts}
            log.info("image failed", extra=self._log_ids(image) | reason)
            return
        self.completed += 1
        assert result.outcome is not None
        assert result.format is not None
        format = result.format.removeprefix("image/")
        IMAGES.labels(result.outcome.value, format).inc()
        INPUT_BYTES.labels(format).inc(result.input_bytes or 0)
        OUTPUT_BYTES.labels(format).inc(result.output_bytes or 0)
        outcome = {"outcome": result.outcome.value, "format": format}
        sizes = {"input_bytes": result.input_bytes, "output_bytes": result.output_bytes}
        log.info("image completed", extra=self._log_ids(image) | outcome | sizes)

    def _log_ids(self, image: ClaimedImage) -> dict[str, object]:
        return {"request": self._claim.request_id, "product": self._claim.product_id, "image": image.id}

    async def _announce(self, snapshot: Snapshot) -> None:
        runtime = self._runtime
        calls = [lambda: runtime.publisher.publish(snapshot.id, snapshot.to_event())]
        if not snapshot.pending_images:
            calls.append(lambda: runtime.queue.advance(snapshot.id))
        await best_effort(runtime, *calls)
