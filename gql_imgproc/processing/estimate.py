"""Estimates what an upload would save: a worker downloads and compresses a sample of its images, and stores nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from uuid import UUID, uuid4

import redis

from gql_imgproc.access import quotas
from gql_imgproc.csvfile.validation import CsvSummary
from gql_imgproc.errors import EstimateUnavailable, ImageError, RateLimited
from gql_imgproc.imaging.compress import inspect
from gql_imgproc.imaging.options import Options
from gql_imgproc.imaging.outputs import compress_outputs
from gql_imgproc.net.host_answers import HostAnswer, host_answer
from gql_imgproc.net.hosts import host_of
from gql_imgproc.processing.image import fetch
from gql_imgproc.requests.limits import image_limits, quota_limits
from gql_imgproc.requests.sample import (
    Measurement,
    Sampler,
    Saving,
    Stratum,
    count_failures,
    estimate_saving,
    estimate_seconds,
)
from gql_imgproc.requests.upload import CsvUpload, check_upload, max_csv_bytes, open_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.storage.temporary_file import temporary_file

log = logging.getLogger(__name__)

#: How long an estimate takes at most, in seconds. What reading the file leaves of it is for measuring.
MAX_SECONDS = 28.0
#: Time for the message to the worker and for its result, in seconds.
TRANSFER_SECONDS = 3.0
#: Interval of looking for the result, in seconds.
POLL_SECONDS = 0.2
#: Hosts that are asked for at once.
MAX_HOSTS_ASKED = 8
_JOB, _RESULT = "job", "result"


@dataclass(frozen=True, slots=True)
class Failure:
    """Images that are expected to fail with one code, and one of the sample."""

    code: str
    message: str
    images: int
    example_url: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to expect of an upload. `saving` is None if each image of the sample fails."""

    summary: CsvSummary
    sampled_images: int
    measured_images: int
    saving: Saving | None
    failures: list[Failure]
    seconds: float


async def estimate_upload(runtime: Runtime, caller: Caller, upload: CsvUpload) -> Estimate:
    """Raises InvalidCsv, UploadTooLarge, RateLimited, or EstimateUnavailable."""
    try:
        # Expires after the estimate has ended for certain, in case `end` fails.
        if not await runtime.run_blocking(runtime.estimates.begin, caller.tenant_id, MAX_SECONDS + TRANSFER_SECONDS):
            raise RateLimited("estimates", MAX_SECONDS)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                return await _estimate(runtime, caller, upload, time.monotonic() + MAX_SECONDS)
        finally:
            with suppress(redis.RedisError):
                await runtime.run_blocking(runtime.estimates.end, caller.tenant_id)
    except (TimeoutError, redis.RedisError):
        raise EstimateUnavailable from None


async def _estimate(runtime: Runtime, caller: Caller, upload: CsvUpload, ends_at: float) -> Estimate:
    settings, limits = runtime.settings, quota_limits(runtime.settings, caller)
    usage = None if limits is None else await runtime.db.read(quotas.read_usage, caller.tenant_id, limits)
    with temporary_file() as out:
        table = await open_upload(runtime, upload, max_csv_bytes(settings, usage), out)
        sampler = Sampler(Random())
        upload, summary = await runtime.run_csv_io(check_upload, runtime, upload, table, sampler.add)
    strata = sampler.draw()
    measured = await _ask_worker(runtime, strata, upload.options, ends_at - time.monotonic())
    threads = max(1, await runtime.run_blocking(runtime.queue.count_workers)) * (settings.cpu_slots or 1)
    return Estimate(
        summary,
        sum(len(stratum.urls) for stratum in strata),
        len(measured),
        estimate_saving(strata, measured),
        [
            Failure(code, example.error_message, max(1, round(images)), example.url)
            for code, (images, example) in count_failures(strata, measured).items()
        ],
        estimate_seconds(strata, measured, threads, settings.fetch_per_host),
    )


async def _ask_worker(
    runtime: Runtime, strata: list[Stratum], options: Options, seconds_left: float
) -> list[Measurement]:
    """Polls until the caller's timeout ends it."""
    id, store = uuid4(), runtime.estimates
    measure_s = seconds_left - TRANSFER_SECONDS
    if measure_s <= 0:
        raise TimeoutError
    job = {"urls": [stratum.urls for stratum in strata], "options": options.to_json(), "seconds": measure_s}
    # Expires with the caller: afterwards no worker begins.
    await runtime.run_blocking(store.put, _JOB, id, json.dumps(job), seconds_left)
    await runtime.run_blocking(runtime.queue.estimate, id)
    while True:
        if (text := await runtime.run_blocking(store.take, _RESULT, id)) is not None:
            return [Measurement(**values) for values in json.loads(text)]
        await asyncio.sleep(POLL_SECONDS)


def schedule_measurement(runtime: Runtime, id: UUID) -> None:
    """Measures in the background, so that neither other messages nor the stop of the process wait for it."""
    runtime.background.start(("estimate", id), partial(measure_sample, runtime, id))


async def measure_sample(runtime: Runtime, id: UUID) -> None:
    """Measures the sample of a job and leaves the result for its caller. Does nothing if nobody waits any more."""
    text = await runtime.run_blocking(runtime.estimates.take, _JOB, id)
    if text is None:
        return
    job = json.loads(text)
    sample = _Sample(runtime, job["urls"], Options.from_json(job["options"]))
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(job["seconds"]):
                await sample.measure()
    finally:
        await sample.aclose()
    measured = json.dumps([asdict(each) for each in sample.measured])
    await runtime.run_blocking(runtime.estimates.put, _RESULT, id, measured, MAX_SECONDS)


class _Sample:
    """The images of a sample, each of which waits for the budget of its host like any other download."""

    def __init__(self, runtime: Runtime, urls: list[list[str]], options: Options) -> None:
        self._runtime = runtime
        self._options = options
        self._limits = image_limits(runtime.settings)
        self._waiting: dict[str, deque[tuple[int, str]]] = {}
        for stratum, group in enumerate(urls):
            for url in group:
                self._waiting.setdefault(host_of(url), deque()).append((stratum, url))
        self._running: set[asyncio.Task[ImageError | None]] = set()
        self.measured: list[Measurement] = []

    async def measure(self) -> None:
        while self._waiting or self._running:
            # All estimates of a process download as many at once as its requests: each download needs memory.
            free = max(0, self._runtime.settings.images_in_flight - len(self._runtime.measuring))
            hosts = list(self._waiting)[: min(MAX_HOSTS_ASKED, free)]
            # The others come first next time.
            for host in hosts:
                self._waiting[host] = self._waiting.pop(host)
            wanted = {host: min(len(self._waiting[host]), free // len(hosts)) for host in hosts}
            grants = await self._runtime.host_budgets.ask(wanted)
            now = time.monotonic()
            for host, grant in grants.items():
                for start_s in grant.starts_s:
                    self._start(host, now + start_s)
                if not self._waiting[host]:
                    del self._waiting[host]
            await asyncio.sleep(POLL_SECONDS)

    def _start(self, host: str, starts_at: float) -> None:
        stratum, url = self._waiting[host].popleft()
        started: list[float] = []
        task = asyncio.create_task(self._measure_image(stratum, url, starts_at, started))
        self._running.add(task)
        self._runtime.measuring.add(task)
        task.add_done_callback(partial(self._end, host, started))

    async def aclose(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._runtime.host_budgets.flush()

    def _end(self, host: str, started: list[float], task: asyncio.Task[ImageError | None]) -> None:
        """Reports each download that was granted, also one that was cancelled before its first step."""
        self._running.discard(task)
        self._runtime.measuring.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("image of an estimate not measured", exc_info=error)
        if task.cancelled() or error is not None or len(started) < 2:
            self._runtime.host_budgets.give_back(host)
            return
        answer, retry_after_s = host_answer(task.result())
        begin, end = started
        self._runtime.host_budgets.report(
            host, answer, started_at=begin, seconds=end - begin, retry_after_s=retry_after_s
        )

    async def _measure_image(self, stratum: int, url: str, starts_at: float, started: list[float]) -> ImageError | None:
        """Returns the error of the download. An image that its host refuses for now is not counted."""
        runtime = self._runtime
        await asyncio.sleep(starts_at - time.monotonic())
        await runtime.fetched_bytes.wait_for_room()
        started.append(time.monotonic())
        try:
            data = (await fetch(runtime, url)).data
        except ImageError as error:
            started.append(time.monotonic())
            if host_answer(error)[0] is not HostAnswer.REFUSED:
                self._fail(stratum, url, error)
            return error
        started.append(time.monotonic())
        fetch_s = started[1] - started[0]
        try:
            with runtime.fetched_bytes.reserve(data):
                megapixels = inspect(data, self._limits).megapixels
                size, cpu_s = await runtime.cpu.run(megapixels, self._compression(data))
            self.measured.append(Measurement(stratum, url, len(data), size, fetch_s, cpu_s))
        except ImageError as error:
            self._fail(stratum, url, error)
        return None

    def _compression(self, data: bytes) -> Callable[[], tuple[int, float]]:
        def run() -> tuple[int, float]:
            started_at = time.perf_counter()
            # All outputs take time; the counters of a request are those of the first one.
            size = len(compress_outputs(data, dict(self._options.of_outputs()), self._limits)[0].data)
            return size, time.perf_counter() - started_at

        return run

    def _fail(self, stratum: int, url: str, error: ImageError) -> None:
        self.measured.append(Measurement(stratum, url, error_code=error.code.value, error_message=error.message))
