"""The source of a picture, fetched once more: originals are not kept, yet people want to see before and after."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import ImageError, ImageErrorCode, SourceNotFound, TooManySources
from gql_imgproc.imaging.compress import inspect
from gql_imgproc.processing.image import fetch
from gql_imgproc.requests.limits import image_limits
from gql_imgproc.requests.repository import queries
from gql_imgproc.runtime import Runtime

#: Longest wait for a source, in seconds: a person is looking, and few may be fetched at once.
SOURCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that are a picture, and which kind they say they are."""

    data: bytes
    media_type: str


async def fetch_preview(runtime: Runtime, tenant_id: UUID, image_id: UUID) -> Source:
    """The source of an image that is done. Raises SourceUnknown, TooManySources, or ImageFailure when it is gone."""
    row = await runtime.db.read(queries.get_image, tenant_id, image_id)
    if row is None or row.status is not ImageStatus.COMPLETED:
        raise SourceNotFound
    if runtime.sources.locked():
        raise TooManySources
    async with runtime.sources:
        try:
            async with asyncio.timeout(SOURCE_SECONDS):
                data = await fetch(runtime, row.input_image_urls[row.position])
        except TimeoutError as error:
            message = f"The source did not come within {SOURCE_SECONDS:g} s."
            raise ImageError(ImageErrorCode.TIMEOUT, message, retryable=True) from error
        # By its bytes, as when it was compressed: what is no picture is never handed on. No decoding, yet 30 MB.
        header = await asyncio.to_thread(inspect, data, image_limits(runtime.settings))
        return Source(data, header.media_type)
