"""The pictures of one claimed product: each fetched, compressed, stored and recorded, or planned for another try."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import ImageError, ImageErrorCode, LeaseLost
from gql_imgproc.imaging.options import Options
from gql_imgproc.metrics import IMAGE_FAILURES, IMAGES, IMAGES_RETRIED, INPUT_BYTES, OUTPUT_BYTES
from gql_imgproc.processing import image as image_service
from gql_imgproc.processing.stage_metrics import Stage, stage
from gql_imgproc.requests.notify import best_effort
from gql_imgproc.requests.repository import claims
from gql_imgproc.requests.repository.claims import ClaimedImage, ClaimedProduct, ImageResult
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Pictures of one product in flight: their bytes wait in memory for a CPU slot.
IMAGES_AT_ONCE = 8
#: Times that a picture may bring its worker down, decoded alone; one time before that it was in company.
MAX_CRASHES = 2
#: Claims in a row without a word from their workers: not this or that picture, the product itself is given up.
MAX_ATTEMPTS = 10
#: Longest pause that a host may ask for, in seconds.
MAX_RETRY_AFTER_SECONDS = 600.0


class ProductProcessor:
    """The pictures of one claimed product. Raises LeaseLost when the results are not wanted any more."""

    def __init__(self, runtime: Runtime, claim: ClaimedProduct) -> None:
        self._runtime = runtime
        self._claim = claim
        self._options = Options.from_json(claim.options)
        self._at_once = asyncio.Semaphore(IMAGES_AT_ONCE)
        self._delay_s: float | None = None
        #: Pictures with a verdict of this claim.
        self.completed = self.failed = 0

    async def work(self) -> float | None:
        """Does all pictures; after how many seconds those that failed for now are due again, None if none did."""
        same: defaultdict[str, list[ClaimedImage]] = defaultdict(list)
        for image in self._claim.images:
            same[image.url].append(image)
        groups = list(same.values())
        if self._claim.attempts > 1:
            # Something killed the last worker. One after the other, it is known which it was.
            for group in groups:
                await self._suspected(group)
        elif len(groups) == 1:
            await self._images(groups[0])
        else:
            await self._side_by_side(groups)
        return self._delay_s

    async def _side_by_side(self, groups: list[list[ClaimedImage]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    tasks.create_task(self._images(group))
        except BaseExceptionGroup as failed:
            if failed.subgroup(LeaseLost):
                raise LeaseLost from None
            raise failed.exceptions[0] from None

    async def _images(self, group: list[ClaimedImage]) -> None:
        """Pictures of one address: fetched and compressed once, stored and recorded each."""
        async with self._at_once:
            try:
                with self._runtime.fetched_bytes.holding(await self._fetch(group)) as data:
                    result = await image_service.compress_image(
                        self._runtime, data, self._options, self._claim.priority
                    )
            except ImageError as failure:
                await self._failed(group, failure)
                return
        await self._store(group, result)

    async def _suspected(self, group: list[ClaimedImage]) -> None:
        """As `_images`, but alone among all suspects of this process, and noted before it is decoded."""
        if group[0].crashes >= MAX_CRASHES or self._claim.attempts > MAX_ATTEMPTS:
            crashed = ImageError(
                ImageErrorCode.WORKER_CRASHED,
                "The picture brought its worker down repeatedly. Save it anew with an image editor.",
            )
            await self._failed(group, crashed)
            return
        try:
            with self._runtime.fetched_bytes.holding(await self._fetch(group)) as data:
                async with self._runtime.quarantine:
                    await self._note_suspicion(group[0])
                    result = await image_service.compress_image(
                        self._runtime, data, self._options, self._claim.priority
                    )
        except ImageError as failure:
            await self._failed(group, failure)
            return
        await self._store(group, result)

    async def _fetch(self, group: list[ClaimedImage]) -> bytes:
        await self._runtime.fetched_bytes.room()
        return await image_service.fetch(self._runtime, group[0].url)

    async def _note_suspicion(self, image: ClaimedImage) -> None:
        if not await self._runtime.db.write(claims.mark_crash_suspect, self._claim, image.id):
            raise LeaseLost

    async def _store(self, group: list[ClaimedImage], result: image_service.Result) -> None:
        for image in group:
            try:
                verdict = await image_service.store(self._runtime, self._claim, image.id, result)
            except ImageError as failure:
                await self._failed([image], failure)
            else:
                await self._record(image, verdict)

    async def _failed(self, group: list[ClaimedImage], failure: ImageError) -> None:
        """Plans another try where one may help and is left; else gives the pictures up."""
        delays = self._runtime.settings.retry_delays
        for image in group:
            if failure.retryable and image.attempts <= len(delays):
                asked = min(failure.retry_after_s or 0, MAX_RETRY_AFTER_SECONDS)
                self._delay_s = max(self._delay_s or 0, delays[image.attempts - 1], asked)
                IMAGES_RETRIED.labels(failure.code.value).inc()
                log.info(
                    "picture is tried again",
                    extra={
                        **self._names(image),
                        "code": failure.code.value,
                        "http_status": failure.http_status,
                        "attempt": image.attempts,
                        "next_try_in_s": self._delay_s,
                    },
                )
            else:
                await self._record(image, image_service.failed_result(failure))

    async def _record(self, image: ClaimedImage, verdict: ImageResult) -> None:
        with stage(Stage.RECORD):
            snapshot = await self._runtime.db.write(claims.record_image, self._claim, image.id, verdict)
        self._count(image, verdict)
        await self._announce(snapshot)

    def _count(self, image: ClaimedImage, verdict: ImageResult) -> None:
        # Not its address, which may hold a signature, nor what was made of it: the identifier leads to both.
        if verdict.status is ImageStatus.FAILED:
            self.failed += 1
            assert verdict.error_code is not None
            code = verdict.error_code.value
            IMAGES.labels("FAILED", "unknown").inc()
            IMAGE_FAILURES.labels(code).inc()
            told = {"code": code, "http_status": verdict.error_http_status, "attempt": image.attempts}
            log.info("picture failed", extra=self._names(image) | told)
            return
        self.completed += 1
        assert verdict.outcome is not None
        assert verdict.format is not None
        format = verdict.format.removeprefix("image/")
        IMAGES.labels(verdict.outcome.value, format).inc()
        INPUT_BYTES.labels(format).inc(verdict.input_bytes or 0)
        OUTPUT_BYTES.labels(format).inc(verdict.output_bytes or 0)
        told = {"outcome": verdict.outcome.value, "format": format}
        sizes = {"input_bytes": verdict.input_bytes, "output_bytes": verdict.output_bytes}
        log.info("picture done", extra=self._names(image) | told | sizes)

    def _names(self, image: ClaimedImage) -> dict[str, object]:
        return {"request": self._claim.request_id, "product": self._claim.product_id, "image": image.id}

    async def _announce(self, snapshot: Snapshot) -> None:
        runtime = self._runtime
        calls = [lambda: runtime.publisher.publish(snapshot.id, snapshot.to_event())]
        if not snapshot.pending_images:
            calls.append(lambda: runtime.queue.finish(snapshot.id))
        await best_effort(runtime, *calls)
