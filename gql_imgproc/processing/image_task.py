"""One claimed image: it is downloaded, compressed, stored and recorded, or returned."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from gql_imgproc import tracing
from gql_imgproc.errors import ImageError, ImageErrorCode, LeaseLost
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.metrics import IMAGES_RETRIED
from gql_imgproc.net.host_answers import HostAnswer, host_answer, host_overloaded
from gql_imgproc.net.image_fetcher import Download
from gql_imgproc.net.validators import NO_VALIDATORS
from gql_imgproc.processing import image as image_service
from gql_imgproc.processing.image import CompressionResult
from gql_imgproc.processing.recorder import Recorder, log_ids
from gql_imgproc.processing.rendition_lookup import Content, RenditionLookup
from gql_imgproc.requests.repository import renditions
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason, StoredOutput
from gql_imgproc.requests.repository.renditions import Source
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: Crashes while an image was decoded alone, after which it fails. The first crash, among other images, does not count.
MAX_CRASHES = 2
#: Consecutive claims that ended without a word, after which an image fails even if it was never decoded alone.
MAX_UNFINISHED_CLAIMS = 50
#: Refusals of an image by a host that served others, after which it fails.
MAX_REFUSALS = 20
#: Upper limit of a host's `Retry-After`, in seconds.
MAX_RETRY_AFTER_SECONDS = 600.0
#: Delay until an image is tried again after a refusal without `Retry-After`, in seconds. The host's budget decides.
REFUSED_DELAY_SECONDS = 0.5
#: Delay until an image is tried again after an unexpected exception, in seconds.
ERROR_DELAY_SECONDS = 10.0


class ImageTask:
    """A claimed image in flight. `process` never raises an error of the image."""

    def __init__(self, runtime: Runtime, recorder: Recorder, lookup: RenditionLookup, image: ClaimedImage) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._lookup = lookup
        self.image = image
        self.host = image.host
        #: When the host's budget lets the download begin, by `time.monotonic`.
        self.starts_at = 0.0
        #: For how long the host has refused everybody, in seconds.
        self.unserved_s = 0.0
        self.has_begun = False
        self.is_storing = False
        #: Whether the host answered, and why it did not.
        self.is_served = False
        self.failure: ImageError | None = None

    async def process(self) -> None:
        self.has_begun = True
        try:
            image = encode_global_id(IdPrefix.IMAGE, self.image.id)
            with tracing.start_span("image", self.image.traceparent, tracing.SpanKind.CONSUMER, image=image):
                await self._process()
        except LeaseLost:
            log.info("lease lost", extra=log_ids(self.image))
        except Exception:
            # Returned at once: an expired lease would make it a crash suspect.
            log.exception("unexpected error", extra=log_ids(self.image))
            self._recorder.add(ReturnedImage(self.image, ReturnReason.FAILED, ERROR_DELAY_SECONDS))

    async def _process(self) -> None:
        try:
            if self._is_crashing():
                self._runtime.host_budgets.give_back(self.host)
                raise ImageError(
                    ImageErrorCode.WORKER_CRASHED,
                    "Processing this image crashed the worker repeatedly. Re-save it with an image editor and retry.",
                )
            finished = await self._finish(await self._download())
        except ImageError as error:
            self._retry_or_fail(error)
        else:
            self._recorder.add(finished)

    async def _finish(self, download: Download) -> FinishedImage:
        image, known = self.image, self.image.known
        if download.is_unchanged:
            assert known is not None
            outputs = [StoredOutput(rendition, is_new=False) for rendition in known.renditions]
            input_bytes = known.renditions[0].input_bytes
            return replace(FinishedImage.completed(image, outputs), not_downloaded_bytes=input_bytes)
        with self._runtime.fetched_bytes.reserve(download.data) as data:
            content = await self._lookup.find(image, data)
            source_id = renditions.source_id(image.tenant_id, image.url)
            source: Source | None = Source(source_id, content.id, download.validators)
            named = zip(image.options.of_outputs(), content.renditions, strict=True)
            missing = dict(output for output, rendition in named if rendition is None)
            compressed = await image_service.compress_image(self._runtime, image, data, missing) if missing else []
        if missing:
            self.is_storing = True
        elif known and known.source == source:
            source = None
        return replace(await self._store(content, compressed), source=source)

    async def _store(self, content: Content, compressed: Sequence[CompressionResult]) -> FinishedImage:
        """Stores the outputs that have no object yet, in their order."""
        remaining, started_at = iter(compressed), time.monotonic()
        outputs = [
            StoredOutput(rendition, is_new=False)
            if rendition is not None
            else await image_service.store(self._runtime, self.image, content.id, fingerprint, next(remaining))
            for rendition, fingerprint in zip(content.renditions, self.image.fingerprints, strict=True)
        ]
        # The first object may be as old as this.
        return replace(FinishedImage.completed(self.image, outputs), finished_at=started_at)

    def _is_crashing(self) -> bool:
        image = self.image
        return image.crashes >= MAX_CRASHES or image.unfinished_claims > MAX_UNFINISHED_CLAIMS

    async def _download(self) -> Download:
        budgets = self._runtime.host_budgets
        known = self.image.known.source.validators if self.image.known else NO_VALIDATORS
        started_at = None
        try:
            await asyncio.sleep(self.starts_at - time.monotonic())
            await self._runtime.fetched_bytes.wait_for_room()
            started_at = time.monotonic()
            download = await image_service.fetch(self._runtime, self.image.url, known)
        except ImageError as error:
            assert started_at is not None
            self._report(started_at, error)
            raise
        except BaseException:
            budgets.give_back(self.host)
            raise
        self._report(started_at, None)
        return download

    def _report(self, started_at: float, error: ImageError | None) -> None:
        answer, retry_after_s = host_answer(error)
        is_refusal = self._runtime.host_budgets.report(
            self.host,
            answer,
            started_at=started_at,
            seconds=time.monotonic() - started_at,
            retry_after_s=retry_after_s,
        )
        self.is_served = answer is HostAnswer.SERVED
        self.failure = error if answer is HostAnswer.FAILED else None
        if is_refusal:
            assert error is not None
            raise _Refused(error.code, error.message, http_status=error.http_status, retry_after_s=retry_after_s)

    def _retry_or_fail(self, error: ImageError) -> None:
        """Schedules a retry where it may help and attempts are left; else records the image as failed."""
        image = self.image
        returned = self._refused(image, error) if isinstance(error, _Refused) else self._retried(image, error)
        if returned is None:
            final = host_overloaded(self.host) if isinstance(error, _Refused) else error
            self._recorder.add(FinishedImage(image, image_service.failed_result(final)))
            return
        self._recorder.add(returned)
        IMAGES_RETRIED.labels(error.code.value).inc()
        log.info(
            "image retry scheduled",
            extra={
                **log_ids(image),
                "code": error.code.value,
                "http_status": error.http_status,
                "attempt": image.attempts,
                "next_try_in_s": returned.delay_s,
            },
        )

    def _retried(self, image: ClaimedImage, error: ImageError) -> ReturnedImage | None:
        delays = self._runtime.settings.retry_delays
        if not error.retryable or image.attempts > len(delays):
            return None
        retry_after_s = min(error.retry_after_s or 0, MAX_RETRY_AFTER_SECONDS)
        return ReturnedImage(image, ReturnReason.FAILED, max(delays[image.attempts - 1], retry_after_s))

    def _refused(self, image: ClaimedImage, error: _Refused) -> ReturnedImage | None:
        delay_s = min(error.retry_after_s or REFUSED_DELAY_SECONDS, MAX_RETRY_AFTER_SECONDS)
        if self.unserved_s:
            has_patience = self.unserved_s < self._runtime.settings.host_patience_seconds
            return ReturnedImage(image, ReturnReason.HOST_PAUSED, delay_s) if has_patience else None
        if image.refusals + 1 >= MAX_REFUSALS:
            return None
        return ReturnedImage(image, ReturnReason.REFUSED, delay_s)


class _Refused(ImageError):
    """The host asked us to slow down."""
