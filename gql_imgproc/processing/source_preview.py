"""The source of a processed image, downloaded again: sources are not stored, yet users compare before and after."""

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

#: Timeout of a source download, in seconds: a user waits for it, and few may run at once.
SOURCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class SourceImage:
    """The bytes of a source image, and the media type that was detected from them."""

    data: bytes
    media_type: str


async def fetch_preview(runtime: Runtime, tenant_id: UUID, image_id: UUID) -> SourceImage:
    """Downloads the source of a completed image.

    Raises SourceNotFound, TooManySources, or ImageError when the source cannot be downloaded.
    """
    found = await runtime.db.read(queries.get_image, tenant_id, image_id)
    if found is None or found[0].status is not ImageStatus.COMPLETED:
        raise SourceNotFound
    _, url = found
    if runtime.sources.locked():
        raise TooManySources
    async with runtime.sources:
        try:
            async with asyncio.timeout(SOURCE_SECONDS):
                data = (await fetch(runtime, url)).data
        except TimeoutError as error:
            message = f"The source image did not arrive within {SOURCE_SECONDS:g} s."
            raise ImageError(ImageErrorCode.TIMEOUT, message, retryable=True) from error
        # Detect the type from the bytes: nothing but an image is passed to the client. No decoding, but up to 30 MB.
        header = await asyncio.to_thread(inspect, data, image_limits(runtime.settings))
        return SourceImage(data, header.media_type)
