"""The work of a turn: claim a product, do its pictures, record each; then to the back of the line."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.core.options import Options
from gql_imgproc.core.progress import Snapshot
from gql_imgproc.db import work
from gql_imgproc.db.work import Claim, ClaimedImage, LeaseLost, Verdict
from gql_imgproc.errors import ImageErrorCode, ImageFailure
from gql_imgproc.resources import Resources
from gql_imgproc.services import picture
from gql_imgproc.services.announcing import publish, tell, wake
from gql_imgproc.states import Priority

log = logging.getLogger(__name__)

#: Pictures of one product in flight: their bytes wait in memory for a CPU slot.
IMAGES_AT_ONCE = 8
#: Times that a picture may bring its worker down, decoded alone; one time before that it was in company.
MAX_CRASHES = 2
#: Longest pause that a host may ask for, in seconds.
MAX_RETRY_AFTER_SECONDS = 600.0


async def work_on(resources: Resources, request_id: UUID) -> None:
    """Does products of a request for a turn, then wakes a worker for the next turn; ends when none is due.

    A turn is more than one product, since a message costs as much as a tenth of a picture, and waiting for one longer
    than a small picture takes.
    """
    now = asyncio.get_running_loop().time
    turn_ends = now() + resources.settings.turn_seconds
    lease_s = resources.settings.lease_seconds
    while claim := await resources.db.write(lambda connection: work.claim_product(connection, request_id, lease_s)):
        await _do(resources, claim)
        if now() >= turn_ends:
            await tell(resources, partial(resources.queue.work_on, request_id, claim.priority))
            return


async def _do(resources: Resources, claim: Claim) -> None:
    """Does a claimed product, and gives it back if some of its pictures are to be tried again."""
    if claim.started is not None:
        await publish(resources, claim.started)
    try:
        async with _lease_kept(resources, claim):
            delay_s = await _Product(resources, claim).work()
    except (LeaseLost, TimeoutError):
        log.info("lease lost", extra={"request": str(claim.request_id), "product": str(claim.product_id)})
        return
    if delay_s is not None:
        await resources.db.write(lambda connection: work.release_product(connection, claim, delay_s))
        _wake_later(resources, claim, delay_s)


@asynccontextmanager
async def _lease_kept(resources: Resources, claim: Claim) -> AsyncIterator[None]:
    """Renews the lease while the work goes on; the work is ended with TimeoutError when the lease is lost."""
    lease_s = resources.settings.lease_seconds
    async with asyncio.timeout(None) as scope:

        async def keep() -> None:
            while True:
                await asyncio.sleep(lease_s / 3)
                if not await resources.db.write(lambda connection: work.extend_lease(connection, claim, lease_s)):
                    scope.reschedule(0)
                    return

        keeper = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeper.cancel()


def _wake_later(resources: Resources, claim: Claim, delay_s: float) -> None:
    """Wakes a worker when the pictures are due again. A long delay, or a lost timer, is the sweep's to notice."""
    if delay_s > resources.settings.sweep_seconds or claim.request_id in resources.later:
        return
    resources.later[claim.request_id] = asyncio.create_task(
        _wake_after(resources, claim.request_id, claim.priority, delay_s)
    )


async def _wake_after(resources: Resources, request_id: UUID, priority: Priority, delay_s: float) -> None:
    try:
        await asyncio.sleep(delay_s)
        under_way = await resources.blocking(resources.queue.census)
        await wake(resources, request_id, priority, under_way=under_way[request_id])
    except redis.RedisError as error:
        log.warning("retry is left to the sweep: Redis is away", extra={"reason": str(error)})
    finally:
        resources.later.pop(request_id, None)


class _Product:
    """The pictures of one claimed product. Raises LeaseLost when the results are not wanted any more."""

    def __init__(self, resources: Resources, claim: Claim) -> None:
        self._resources = resources
        self._claim = claim
        self._options = Options.from_json(claim.options)
        self._at_once = asyncio.Semaphore(IMAGES_AT_ONCE)
        self._delay_s: float | None = None

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
            try:
                async with asyncio.TaskGroup() as tasks:
                    for group in groups:
                        tasks.create_task(self._images(group))
            except* LeaseLost:
                raise LeaseLost from None
        return self._delay_s

    async def _images(self, group: list[ClaimedImage]) -> None:
        """Pictures of one address: fetched and compressed once, stored and recorded each."""
        async with self._at_once:
            try:
                data = await picture.fetch(self._resources, group[0].url)
                result = await picture.squeeze(self._resources, data, self._options)
            except ImageFailure as failure:
                await self._failed(group, failure)
                return
        await self._store(group, result)

    async def _suspected(self, group: list[ClaimedImage]) -> None:
        """As `_images`, but alone among all suspects of this process, and noted before it is decoded."""
        if group[0].crashes >= MAX_CRASHES:
            crashed = ImageFailure(
                ImageErrorCode.WORKER_CRASHED,
                "The picture brought its worker down repeatedly. Save it anew with an image editor.",
            )
            await self._failed(group, crashed)
            return
        try:
            data = await picture.fetch(self._resources, group[0].url)
            async with self._resources.quarantine:
                await self._note_suspicion(group[0])
                result = await picture.squeeze(self._resources, data, self._options)
        except ImageFailure as failure:
            await self._failed(group, failure)
            return
        await self._store(group, result)

    async def _note_suspicion(self, image: ClaimedImage) -> None:
        if not await self._resources.db.write(lambda connection: work.suspect_image(connection, self._claim, image.id)):
            raise LeaseLost

    async def _store(self, group: list[ClaimedImage], result: picture.Result) -> None:
        for image in group:
            try:
                verdict = await picture.store(self._resources, self._claim, image.id, result)
            except ImageFailure as failure:
                await self._failed([image], failure)
            else:
                await self._record(image, verdict)

    async def _failed(self, group: list[ClaimedImage], failure: ImageFailure) -> None:
        """Plans another try where one may help and is left; else gives the pictures up."""
        delays = self._resources.settings.retry_delays
        for image in group:
            if failure.temporary and image.attempts <= len(delays):
                asked = min(failure.retry_after_s or 0, MAX_RETRY_AFTER_SECONDS)
                self._delay_s = max(self._delay_s or 0, delays[image.attempts - 1], asked)
            else:
                await self._record(image, picture.given_up(failure))

    async def _record(self, image: ClaimedImage, verdict: Verdict) -> None:
        snapshot = await self._resources.db.write(
            lambda connection: work.record_image(connection, self._claim, image.id, verdict)
        )
        log.info(
            "image ended",
            extra={
                "request": str(self._claim.request_id),
                "image": str(image.id),
                "outcome": verdict.outcome or verdict.error_code,
            },
        )
        await self._announce(snapshot)

    async def _announce(self, snapshot: Snapshot) -> None:
        resources = self._resources
        calls = [lambda: resources.publisher.publish(snapshot)]
        if not snapshot.pending_images:
            calls.append(lambda: resources.queue.finish(snapshot.id))
        await tell(resources, *calls)
