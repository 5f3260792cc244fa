"""The images that a process has in flight: it claims as many as it has places, and processes them at once.

A message `process_images` permits the process to claim for a while; images in flight continue when the permit ends. The
pool belongs to the process: a second permit only tells it that there is something new.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from functools import partial
from uuid import UUID

import redis

from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.messaging.host_budget import HostGrant
from gql_imgproc.metrics import IMAGES_CLAIMED
from gql_imgproc.processing.host_memory import HostMemory
from gql_imgproc.processing.image import failed_result
from gql_imgproc.processing.image_task import ImageTask
from gql_imgproc.processing.leases import Leases
from gql_imgproc.processing.recorder import Recorder
from gql_imgproc.processing.rendition_lookup import RenditionLookup
from gql_imgproc.requests.notify import publish
from gql_imgproc.requests.repository import claims, lane_choice, lanes
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, ReturnedImage, ReturnReason
from gql_imgproc.runtime import Runtime

log = logging.getLogger(__name__)

#: How long one permit lasts, in seconds.
PERMIT_SECONDS = 60.0
#: Share of free places that is worth a claim of their own.
CLAIM_SHARE = 0.5
#: How long fewer free places wait for more, in seconds: while images wait for a CPU thread, and while none does.
MAX_CLAIM_WAIT_SECONDS, MAX_IDLE_CLAIM_WAIT_SECONDS = 0.4, 0.1
#: How long a process works with the same list of tenants, in seconds.
TENANTS_SECONDS = 2.0
#: Interval of looking for lanes whose time has come, and for a permit that waits for other processes, in seconds.
WATCH_SECONDS = 1.0
#: Interval of reports to the budgets of hosts, in seconds: downloads that have ended make room for other processes.
REPORT_SECONDS = 1.0
#: How long to wait for Redis to receive a permit, in seconds. One that it receives later does no harm.
SEND_SECONDS = 1.0
#: How long a stop waits for images that are being stored, and then for the database, in seconds.
STOP_SECONDS = 5.0


class WorkerPool:
    """Places for images in flight. One per process, on its event loop."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._places: int = runtime.settings.images_in_flight
        self._leases = Leases(runtime, self._cancel)
        self._recorder = Recorder(runtime, self._forget, self._leases.__len__)
        self._lookup = RenditionLookup(runtime)
        self._tasks: dict[ImageTask, asyncio.Task[None]] = {}
        self._timer: asyncio.Task[None] | None = None
        self._bell = asyncio.Event()
        self._has_permit = self._is_stopping = self._has_more = False
        #: Whether the process has a permit, but no work. Then another permit tells it to look again.
        self.is_waiting = False
        self._tenants: list[UUID] = []
        self._tenants_until = self._watched_at = self._claimed_at = 0.0
        self._hosts = HostMemory(runtime, self._tasks.keys())

    async def use_permit(self) -> None:
        """Claims images for a minute, or until nothing is due; then passes the permit on if work is left."""
        if self._has_permit or self._is_stopping:
            # Something is due that this process may not know of.
            self._tenants_until = 0.0
            self._bell.set()
            return
        self._has_permit = True
        try:
            while await self._claim_until(time.monotonic() + PERMIT_SECONDS) and not self._is_stopping:
                if await self._send_permit():
                    return
        finally:
            self._has_permit = False
            await self._runtime.host_budgets.flush()

    def stop(self) -> None:
        """Claims nothing more. Call `aclose` when the actors have ended."""
        self._is_stopping = True
        self._bell.set()

    async def aclose(self) -> None:
        """Finishes what is being stored, records it, and gives the other images back."""
        self.stop()
        storing = [running for task, running in self._tasks.items() if task.is_storing]
        if storing:
            await asyncio.wait(storing, timeout=STOP_SECONDS)
        if self._timer is not None:
            self._timer.cancel()
        # Perhaps stored: their leases expire, and the next claim plans a cleanup.
        unsure = {task.image.id for task in self._tasks if task.is_storing}
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._lookup.aclose()
        given_back = False
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self._recorder.flush()
                unfinished = [
                    ReturnedImage(image, ReturnReason.GIVEN_BACK) for image in self._leases if image.id not in unsure
                ]
                self._recorder.add(*unfinished)
                given_back = bool(unfinished)
                await self._recorder.flush()
        await self._recorder.aclose()
        await self._runtime.host_budgets.flush()
        if given_back:
            await self._send_permit()

    async def _claim_until(self, ends_at: float) -> bool:
        """Whether work was left when the time expired."""
        while not self._is_stopping and time.monotonic() < ends_at:
            try:
                await self._wait_for_places()
                if self._is_stopping:
                    break
                await self._wake_lanes()
                # Whatever is due from now on rings it.
                self._bell.clear()
                if await self._claim():
                    continue
                pause_s = await self._seconds_to_next_work()
            except DatabaseUnavailable as error:
                log.warning("no images claimed", extra={"reason": str(error)})
                pause_s = WATCH_SECONDS
            if pause_s is None:
                if self._bell.is_set():
                    continue
                return False
            # Downloads that have ended make room for other processes.
            await self._runtime.host_budgets.flush()
            self.is_waiting = True
            await self._wait(min(pause_s, WATCH_SECONDS))
            self.is_waiting = False
        return not self._is_stopping

    async def _wait_for_places(self) -> None:
        while not self._is_stopping:
            free = self._free_places
            max_wait_s = MAX_CLAIM_WAIT_SECONDS if self._runtime.cpu.waiting_jobs else MAX_IDLE_CLAIM_WAIT_SECONDS
            wait_s = self._claimed_at + max_wait_s - time.monotonic()
            if free and (free >= CLAIM_SHARE * self._places or wait_s <= 0):
                return
            await self._wait(min(wait_s, MAX_IDLE_CLAIM_WAIT_SECONDS) if free else WATCH_SECONDS)
            # A full process, too, tells others that there is more.
            await self._wake_lanes()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()

    @property
    def _free_places(self) -> int:
        return self._places - len(self._tasks)

    async def _wake_lanes(self) -> None:
        now = time.monotonic()
        if now - self._watched_at < WATCH_SECONDS:
            return
        self._watched_at = now
        if await self._runtime.db.read(lanes.seconds_to_next_wake) == 0:
            await self._runtime.db.write(lanes.wake_due_lanes)
            self._tenants_until = 0.0
        if self._has_more:
            # A Redis that hangs must not keep this process from working.
            self._runtime.background.start(("invite",), self._invite)

    async def _claim(self) -> bool:
        """Claims images for the free places. False when no lane is ready whose host may be asked now."""
        runtime, free = self._runtime, self._free_places
        self._claimed_at = time.monotonic()
        wanted = await runtime.db.read(
            lane_choice.choose_lanes, await self._list_tenants(), free, self._hosts.filter(free)
        )
        grants = await self._hosts.ask(wanted)
        asked_at = time.monotonic()
        starts = {host: deque(asked_at + start_s for start_s in grant.starts_s) for host, grant in grants.items()}
        try:
            granted = lane_choice.share_out(wanted, {host: len(times) for host, times in starts.items()})
            paused = {lane: grants[lane.host].wait_s for lane in wanted if grants[lane.host].is_paused}
            if not granted and not paused:
                return False
            hopeless = self._hosts.hopeless_lanes(paused, grants)
            lease_s = runtime.settings.lease_seconds
            claim = await runtime.db.write(claims.claim_images, granted, paused, lease_s, hopeless)
            # Images of a paused host are claimed only to fail.
            self._give_up(image for image in claim.images if grants[image.host].is_paused)
            images = [image for image in claim.images if not grants[image.host].is_paused]
            if granted:
                # More work than places: another process may take part. A lane may have fewer images than wanted.
                self._has_more = sum(wanted.values()) >= free and len(images) >= sum(granted.values())
            self._start(images, starts, grants)
        finally:
            for host, unused in starts.items():
                if unused:
                    runtime.host_budgets.give_back(host, len(unused))
            if any(starts.values()):
                await runtime.host_budgets.flush()
        for snapshot in claim.started:
            publish(runtime, snapshot)
        IMAGES_CLAIMED.inc(len(claim.images))
        return True

    async def _list_tenants(self) -> list[UUID]:
        now = time.monotonic()
        if now >= self._tenants_until:
            self._tenants = await self._runtime.db.read(lanes.list_tenants)
            self._tenants_until = now + TENANTS_SECONDS if self._tenants else 0.0
        return self._tenants

    def _give_up(self, images: Iterable[ClaimedImage]) -> None:
        """Fails images without a download, since their host serves nobody."""
        for image in images:
            self._leases.add(image)
            error = self._hosts.last_failure(image.host)
            self._recorder.add(FinishedImage(image, failed_result(error)))

    def _start(
        self, images: Iterable[ClaimedImage], starts: Mapping[str, deque[float]], grants: Mapping[str, HostGrant]
    ) -> None:
        if self._timer is None:
            self._timer = asyncio.create_task(self._run_timer(), name="timer")
        for image in images:
            self._leases.add(image)
            task = ImageTask(self._runtime, self._recorder, self._lookup, image)
            task.unserved_s = grants[image.host].unserved_s
            task.starts_at = starts[image.host].popleft() if starts[image.host] else 0.0
            self._tasks[task] = asyncio.create_task(task.process(), name="image", context=Context())
            self._tasks[task].add_done_callback(partial(self._end, task))

    def _end(self, task: ImageTask, _: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._hosts.learn(task)
        if not task.has_begun:
            # It was cancelled before its first step.
            self._runtime.host_budgets.give_back(task.host)
        self._bell.set()

    async def _seconds_to_next_work(self) -> float | None:
        """How long to wait for the next work, with the permit in hand; None when reconcile is early enough."""
        if (ask_s := self._hosts.seconds_to_next_ask()) is not None:
            return ask_s
        if self._tenants_until == 0.0 and not self._leases:
            next_wake_s = await self._runtime.db.read(lanes.seconds_to_next_wake)
            if next_wake_s == 0:
                self._watched_at = 0.0
            is_soon = next_wake_s is not None and next_wake_s <= self._runtime.settings.sweep_seconds
            return next_wake_s if is_soon else None
        self._tenants_until = 0.0
        return WATCH_SECONDS if self._leases else 0.0

    async def _invite(self) -> None:
        """Sends a permit for another process, if none waits: this process has more work than places."""
        try:
            if not await self._runtime.run_blocking(self._runtime.queue.count_permits):
                await self._runtime.run_blocking(self._runtime.queue.process_images)
        except redis.RedisError:
            log.debug("no permit sent: Redis is unavailable")

    async def _send_permit(self) -> bool:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._runtime.run_blocking(self._runtime.queue.process_images)
        except (redis.RedisError, TimeoutError):
            # Nobody else has it: this process continues to claim.
            return False
        return True

    async def _run_timer(self) -> None:
        """Reports downloads to the budgets of their hosts and renews leases, also while the process has no permit."""
        lease_s = self._runtime.settings.lease_seconds
        renew_at = time.monotonic() + lease_s / 3
        while True:
            await asyncio.sleep(min(lease_s / 3, REPORT_SECONDS))
            await self._runtime.host_budgets.flush()
            if time.monotonic() >= renew_at and await self._leases.renew(lease_s):
                renew_at = time.monotonic() + lease_s / 3

    def _cancel(self, lost: Collection[ClaimedImage]) -> None:
        """Stops the work on images whose leases are lost. Those that wait to be recorded are fenced anyway."""
        for task, running in self._tasks.items():
            if task.image in lost and not task.is_storing:
                running.cancel()
        self._bell.set()

    def _forget(self, images: Iterable[ClaimedImage]) -> None:
        self._leases.forget(images)
        self._bell.set()
