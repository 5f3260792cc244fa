"""Looks up stored objects for downloaded bytes, for many images in one read."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from dataclasses import dataclass
from uuid import UUID

from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.requests.repository import renditions
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.renditions import Rendition, content_id
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: An image waits for others while more jobs than these wait for a CPU thread: it would wait there anyway. Fewer would
#: end before the read.
BACKLOG = 4
#: Interval of looking at the jobs, in seconds, and how often an image waits for it.
LOOK_SECONDS, MAX_LOOKS = 0.01, 20


@dataclass(frozen=True, slots=True)
class Content:
    """The digest of downloaded bytes, and for each output their stored object with the same options, if any."""

    id: UUID
    renditions: tuple[Rendition | None, ...]


class RenditionLookup:
    """Groups the lookups of a process, so that a saturated process reads the database a few times per second."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: list[tuple[ClaimedImage, bytes, asyncio.Future[Content]]] = []
        self._reader: asyncio.Task[None] | None = None

    async def find(self, image: ClaimedImage, data: bytes) -> Content:
        """Waits for the next read of the process. Without the database nothing is found: the work continues."""
        future: asyncio.Future[Content] = asyncio.get_running_loop().create_future()
        self._waiting.append((image, data, future))
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_waiting(), name="renditions", context=Context())
        return await future

    async def aclose(self) -> None:
        """Call it when no image waits."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _read_waiting(self) -> None:
        while self._waiting:
            for _ in range(MAX_LOOKS):
                if self._runtime.cpu.waiting_jobs <= BACKLOG:
                    break
                await asyncio.sleep(LOOK_SECONDS)
            batch, self._waiting = self._waiting, []
            try:
                found = await self._read([(image, data) for image, data, _ in batch])
            except Exception as error:
                for *_, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (*_, future), content in zip(batch, found, strict=True):
                    # A cancelled image waits no longer.
                    if not future.done():
                        future.set_result(content)

    async def _read(self, batch: list[tuple[ClaimedImage, bytes]]) -> list[Content]:
        ids = await asyncio.to_thread(lambda: [content_id(image.tenant_id, data) for image, data in batch])
        contents = [Content(id, _known(image, id)) for (image, _), id in zip(batch, ids, strict=True)]
        wanted = [
            key
            for (image, _), content in zip(batch, contents, strict=True)
            if None in content.renditions and not image.is_refresh
            for key in _keys(image, content)
        ]
        found = await self._find(wanted) if wanted else {}
        return [
            content
            if None not in content.renditions or image.is_refresh
            else Content(content.id, tuple(map(found.get, _keys(image, content))))
            for (image, _), content in zip(batch, contents, strict=True)
        ]

    async def _find(self, wanted: list[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID | None], Rendition]:
        try:
            return await self._runtime.db.read(renditions.find, wanted)
        except DatabaseUnavailable as error:
            log.warning("unchanged images not looked up", extra={"images": len(wanted), "reason": str(error)})
            return {}


def _keys(image: ClaimedImage, content: Content) -> list[tuple[UUID, UUID]]:
    return [(content.id, fingerprint) for fingerprint in image.fingerprints]


def _known(image: ClaimedImage, content_id: UUID) -> tuple[Rendition | None, ...]:
    if image.known and image.known.source.content_id == content_id:
        return image.known.renditions
    return (None,) * len(image.fingerprints)
