"""The steps for one image: download it, compress it in the CPU pool, store it."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from uuid import UUID

from gql_imgproc.enums import ImageStatus, Priority
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import Compressed, compress, inspect
from gql_imgproc.imaging.options import Options
from gql_imgproc.processing.stage_metrics import Stage, measure_stage, record_stage
from gql_imgproc.requests.limits import image_limits
from gql_imgproc.requests.repository.claims import ClaimedProduct, ImageResult
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_key, object_name
from gql_imgproc.storage.response_headers import image_cache_control

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """A compressed image that is ready to be stored."""

    image: Compressed
    input_bytes: int
    sha256: str


async def fetch(runtime: Runtime, url: str) -> bytes:
    """Downloads an image. Every error is raised as an ImageError."""
    try:
        with measure_stage(Stage.FETCH):
            return await runtime.fetcher.fetch(url)
    except ImageError:
        raise
    except Exception as error:
        raise _log_internal_error("fetching") from error


async def compress_image(runtime: Runtime, data: bytes, options: Options, priority: Priority) -> CompressionResult:
    """Compresses an image in the CPU pool. Every error is raised as an ImageError."""
    limits = image_limits(runtime.settings)
    start_times: list[float] = []

    def run_compression() -> CompressionResult:
        start_times.append(time.perf_counter())
        image = compress(data, options, limits)
        return CompressionResult(image, len(data), hashlib.sha256(image.data).hexdigest())

    try:
        megapixels = inspect(data, limits).megapixels
        queued_at = time.perf_counter()
        try:
            return await runtime.cpu.run(megapixels, priority, run_compression)
        finally:
            for started_at in start_times:
                record_stage(Stage.WAIT, queued_at, started_at)
                record_stage(Stage.COMPRESS, started_at, time.perf_counter())
    except ImageError:
        raise
    except Exception as error:
        raise _log_internal_error("compressing") from error


async def store(runtime: Runtime, claim: ClaimedProduct, image_id: UUID, result: CompressionResult) -> ImageResult:
    """Stores a compressed image and returns its result to record. Every error is raised as an ImageError."""
    image = result.image
    name = object_name(image_id, claim.lease_token, image.extension)
    try:
        headers = ObjectHeaders(image.media_type, image_cache_control(is_private=runtime.settings.private_images))
        with measure_stage(Stage.STORE):
            await runtime.storage.put_new(image_key(claim.request_id, name), image.data, headers)
    except Exception as error:
        raise _log_internal_error("storing") from error
    return ImageResult(
        status=ImageStatus.COMPLETED,
        outcome=image.outcome,
        input_bytes=result.input_bytes,
        output_bytes=len(image.data),
        object_name=name,
        sha256=result.sha256,
        format=image.media_type,
        width=image.width,
        height=image.height,
    )


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
