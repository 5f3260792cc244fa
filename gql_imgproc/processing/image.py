"""One picture: fetched, compressed on a CPU slot, stored; and the verdict on it."""

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
from gql_imgproc.processing.stage_metrics import Stage, record_stage, stage
from gql_imgproc.requests.limits import image_limits
from gql_imgproc.requests.repository.claims import ClaimedProduct, ImageResult
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_key, object_name
from gql_imgproc.storage.response_headers import image_cache_control

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """A picture as it is to be stored, and how many bytes were fetched for it."""

    picture: Compressed
    input_bytes: int
    sha256: str


async def fetch(runtime: Runtime, url: str) -> bytes:
    """The bytes of a picture. Raises ImageFailure, whatever happens."""
    try:
        with stage(Stage.FETCH):
            return await runtime.fetcher.fetch(url)
    except ImageError:
        raise
    except Exception as error:
        raise _log_internal_error("fetching") from error


async def compress_image(runtime: Runtime, data: bytes, options: Options, priority: Priority) -> Result:
    """A picture made smaller. Raises ImageFailure, whatever happens."""
    limits = image_limits(runtime.settings)
    begun: list[float] = []

    def work() -> Result:
        begun.append(time.perf_counter())
        picture = compress(data, options, limits)
        return Result(picture, len(data), hashlib.sha256(picture.data).hexdigest())

    try:
        megapixels = inspect(data, limits).megapixels
        asked = time.perf_counter()
        try:
            return await runtime.cpu.run(megapixels, priority, work)
        finally:
            for began in begun:
                record_stage(Stage.WAIT, asked, began)
                record_stage(Stage.COMPRESS, began, time.perf_counter())
    except ImageError:
        raise
    except Exception as error:
        raise _log_internal_error("compressing") from error


async def store(runtime: Runtime, claim: ClaimedProduct, image_id: UUID, result: Result) -> ImageResult:
    """Stores a picture for one image and says that it is completed. Raises ImageFailure, whatever happens."""
    picture = result.picture
    name = object_name(image_id, claim.lease_token, picture.extension)
    try:
        headers = ObjectHeaders(picture.media_type, image_cache_control(private=runtime.settings.private_images))
        with stage(Stage.STORE):
            await runtime.storage.put_new(image_key(claim.request_id, name), picture.data, headers)
    except Exception as error:
        raise _log_internal_error("storing") from error
    return ImageResult(
        status=ImageStatus.COMPLETED,
        outcome=picture.outcome,
        input_bytes=result.input_bytes,
        output_bytes=len(picture.data),
        object_name=name,
        sha256=result.sha256,
        format=picture.media_type,
        width=picture.width,
        height=picture.height,
    )


def failed_result(failure: ImageError) -> ImageResult:
    """The verdict on a picture that is not tried again."""
    return ImageResult(
        status=ImageStatus.FAILED,
        error_code=failure.code,
        error_message=failure.message,
        error_http_status=failure.http_status,
        error_retryable=failure.retryable,
    )


def _log_internal_error(deed: str) -> ImageError:
    """What users read of a fault that is ours; the log has the rest."""
    log.exception("fault while %s a picture", deed)
    return ImageError(
        ImageErrorCode.INTERNAL,
        f"A fault of the service while {deed} the picture. Retry the failed images; if it stays, tell its operator.",
        retryable=True,
    )
