"""The steps for one image: download it, compress it in the CPU pool, store it."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID, uuid4

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import DatabaseUnavailable, ImageError, ImageErrorCode, LeaseLost
from gql_imgproc.imaging.compress import Compressed, inspect
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.outputs import compress_outputs
from gql_imgproc.net.image_fetcher import Download
from gql_imgproc.net.validators import NO_VALIDATORS, Validators
from gql_imgproc.processing.stage_metrics import Stage, measure_stage, record_stage
from gql_imgproc.requests.limits import image_limits
from gql_imgproc.requests.repository import claims
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import ImageResult, StoredOutput
from gql_imgproc.requests.repository.renditions import Rendition
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_key, object_name
from gql_imgproc.storage.response_headers import image_cache_control

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """A compressed image that is ready to be stored."""

    image: Compressed
    input_bytes: int
    sha256: str


async def fetch(runtime: Runtime, url: str, known: Validators = NO_VALIDATORS) -> Download:
    """Downloads an image, unless its validators are still the known ones. Every error is raised as an ImageError."""
    try:
        with measure_stage(Stage.FETCH):
            return await runtime.fetcher.fetch_if_changed(url, known)
    except ImageError:
        raise
    except Exception as error:
        raise _log_internal_error("fetching") from error


async def compress_image(
    runtime: Runtime, image: ClaimedImage, data: bytes, outputs: Mapping[str | None, Options]
) -> list[CompressionResult]:
    """Compresses an image into some of its outputs, in the CPU pool. Every error but LeaseLost is an ImageError.

    A crash suspect is decoded while nothing else is, and marked before; raises LeaseLost when it cannot be marked.
    """
    limits = image_limits(runtime.settings)

    def run_compression() -> list[CompressionResult]:
        with _mark_suspect(runtime, image):
            compressed = compress_outputs(data, outputs, limits)
        return [CompressionResult(each, len(data), hashlib.sha256(each.data).hexdigest()) for each in compressed]

    try:
        # More megapixels than any limit run alone.
        megapixels = math.inf if image.is_suspect else inspect(data, limits).megapixels
        return await _run_on_cpu(runtime, megapixels, run_compression)
    except (ImageError, LeaseLost):
        raise
    except Exception as error:
        raise _log_internal_error("compressing") from error


@contextmanager
def _mark_suspect(runtime: Runtime, image: ClaimedImage) -> Iterator[None]:
    """Marks a crash suspect while the block runs; raises LeaseLost when it cannot be marked."""
    if not image.is_suspect:
        yield
        return
    if not runtime.db.write_now(claims.mark_crash_suspect, image):
        raise LeaseLost
    try:
        yield
    finally:
        with suppress(DatabaseUnavailable):
            runtime.db.write_now(claims.unmark_crash_suspect, image)


async def _run_on_cpu(runtime: Runtime, megapixels: float, call: Callable[[], T]) -> T:
    start_times: list[float] = []

    def measured_call() -> T:
        start_times.append(time.perf_counter())
        return call()

    queued_at = time.perf_counter()
    try:
        return await runtime.cpu.run(megapixels, measured_call)
    finally:
        for started_at in start_times:
            record_stage(Stage.WAIT, queued_at, started_at)
            record_stage(Stage.COMPRESS, started_at, time.perf_counter())


async def store(
    runtime: Runtime, image: ClaimedImage, content_id: UUID, fingerprint: UUID, compressed: CompressionResult
) -> StoredOutput:
    """Stores an output of an image under a new name. Every error is raised as an ImageError."""
    data = compressed.image
    rendition = Rendition(
        id=(id := uuid4()),
        content_id=content_id,
        fingerprint=fingerprint,
        stored_by=image.request_id,
        object_name=object_name(id, data.extension),
        outcome=data.outcome,
        input_bytes=compressed.input_bytes,
        output_bytes=len(data.data),
        sha256=compressed.sha256,
        format=data.media_type,
        width=data.width,
        height=data.height,
        similarity=data.similarity,
        warning=data.warning,
    )
    try:
        headers = ObjectHeaders(data.media_type, image_cache_control(is_private=runtime.settings.private_images))
        with measure_stage(Stage.STORE):
            await runtime.storage.put_new(image_key(rendition.stored_by, rendition.object_name), data.data, headers)
    except Exception as error:
        raise _log_internal_error("storing") from error
    return StoredOutput(rendition, is_new=True)


def failed_result(error: ImageError) -> ImageResult:
    """The result of an image that failed and is not retried."""
    return ImageResult(
        status=ImageStatus.FAILED,
        error_code=error.code,
        error_message=error.message,
        error_http_status=error.http_status,
        error_retryable=error.retryable,
    )


def _log_internal_error(action: str) -> ImageError:
    """Logs the current exception; returns the error that the user may read."""
    log.exception("internal error while %s an image", action)
    return ImageError(
        ImageErrorCode.INTERNAL,
        f"Internal error while {action} the image. Retry the failed images; contact the operator if it persists.",
        retryable=True,
    )
