"""Estimates: a worker measures a sample of the images of a file, and nothing is stored."""

from __future__ import annotations

import asyncio
import io
import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import func, select

from gql_imgproc.database.tables import images, renditions, requests
from gql_imgproc.enums import Priority
from gql_imgproc.errors import (
    EstimateUnavailable,
    ImageError,
    ImageErrorCode,
    InvalidCsv,
    RateLimited,
    UploadTooLarge,
)
from gql_imgproc.ids import new_id
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import Options, Output
from gql_imgproc.messaging.host_budget import HostGrant
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.image_fetcher import Download
from gql_imgproc.processing import estimate
from gql_imgproc.processing.estimate import Estimate, estimate_upload, measure_sample, schedule_measurement
from gql_imgproc.processing.image import fetch
from gql_imgproc.requests.upload import CsvUpload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller, anonymous_caller
from tests.support.api_clients import ANYBODY
from tests.support.services import ImageHost, jpeg
from tests.support.waiting import until

HEADER = "S. No.,Product Name,Input Image Urls\n"
OPTIONS = Options(quality=30)


@pytest.fixture
async def worker(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Future[None]]:
    """A worker that receives each job at once; returns its work."""
    loop, work = asyncio.get_running_loop(), []

    def receive(id: UUID) -> None:
        work.append(asyncio.run_coroutine_threadsafe(measure_sample(runtime, id), loop))

    monkeypatch.setattr(runtime.queue, "estimate", receive)
    monkeypatch.setattr(estimate, "POLL_SECONDS", 0.01)
    return work  # type: ignore[return-value]  # futures of another module


async def run_estimate(
    runtime: Runtime, urls: list[str], options: Options = OPTIONS, caller: Caller = ANYBODY
) -> Estimate:
    rows = "".join(f"{n + 1},Chair {n},{url}\n" for n, url in enumerate(urls))
    file = io.BytesIO((HEADER + rows).encode())
    return await estimate_upload(runtime, caller, CsvUpload(file, "shop.csv", options, Priority.NORMAL, None, None))


async def count_rows(runtime: Runtime) -> list[Any]:
    tables = requests, images, renditions
    return await runtime.db.read(
        lambda connection: [connection.scalar(select(func.count()).select_from(table)) for table in tables]
    )


async def test_small_file_is_measured_whole_and_nothing_is_stored(
    runtime: Runtime, image_host: ImageHost, worker: Any
) -> None:
    sources = [jpeg(n) for n in range(4)]
    urls = [image_host.add(f"/{n}.jpg", data) for n, data in enumerate(sources)]
    text = image_host.add("/text.jpg", b"<!doctype html>")
    dead = [f"{image_host.url}/gone-{n}.jpg" for n in range(2)]

    found = await run_estimate(runtime, [*urls, text, *dead])

    after = sum(len(compress(data, OPTIONS, ImageLimits()).data) for data in sources)
    before = sum(len(data) for data in sources)
    assert (found.summary.images, found.sampled_images, found.measured_images) == (7, 7, 7)
    assert found.saving is not None
    assert found.saving.input_bytes == pytest.approx(before)
    assert found.saving.low == found.saving.part == found.saving.high == pytest.approx(1 - after / before)
    assert sorted((each.code, each.images) for each in found.failures) == [("HTTP_STATUS", 2), ("NOT_AN_IMAGE", 1)]
    assert {each.example_url for each in found.failures} <= {text, *dead}
    assert found.seconds > 0
    assert sorted(image_host.requests) == sorted(
        [f"/{n}.jpg" for n in range(4)] + ["/text.jpg", "/gone-0.jpg", "/gone-1.jpg"]
    )
    assert await count_rows(runtime) == [0, 0, 0]
    assert await runtime.storage.list_keys("") == []


async def test_saving_is_that_of_the_first_output(runtime: Runtime, image_host: ImageHost, worker: Any) -> None:
    source = jpeg(1)
    options = Options(outputs=(Output("thumb", max_width=16), Output("full")))

    found = await run_estimate(runtime, [image_host.add("/a.jpg", source)], options)

    assert found.saving is not None
    size = len(compress(source, Options(max_width=16), ImageLimits()).data)
    assert found.saving.part == pytest.approx(1 - size / len(source))


async def test_large_file_costs_a_sample_of_its_images(runtime: Runtime, image_host: ImageHost, worker: Any) -> None:
    urls = [image_host.add(f"/{n}.jpg", jpeg(1, (16, 16))) for n in range(1_000)]

    found = await run_estimate(runtime, urls)

    assert (found.summary.images, found.sampled_images, found.measured_images) == (1_000, 200, 200)
    assert len(image_host.requests) == len(set(image_host.requests)) == 200
    assert found.saving is not None
    assert found.saving.low <= found.saving.part <= found.saving.high


async def test_downloads_observe_the_budget_of_their_host_and_give_it_back(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_host.statuses = {f"/{n}.jpg": [429] * 9 for n in range(5)}
    image_host.retry_after = "600"
    urls = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(40)]
    # Two seconds for measuring.
    monkeypatch.setattr(estimate, "MAX_SECONDS", 32.0)
    monkeypatch.setattr(estimate, "TRANSFER_SECONDS", 30.0)

    found = await run_estimate(runtime, urls)

    # The host paused the fleet; what it refused is neither counted nor a failure.
    assert found.measured_images < 40
    assert found.failures == []
    host = image_host.url.removeprefix("http://")
    assert runtime.host_budgets._hosts[host].held == 0


async def test_downloads_at_once_are_as_many_as_the_images_that_a_process_has_in_flight(
    runtime: Runtime, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads, most_downloads = 0, 0
    have_all_begun = asyncio.Event()
    ask_budgets = runtime.host_budgets.ask

    async def ask(wanted: dict[str, int]) -> dict[str, HostGrant]:
        if not wanted:
            have_all_begun.set()
        return await ask_budgets(wanted)

    async def fetch(runtime: Runtime, url: str) -> Download:
        nonlocal downloads, most_downloads
        downloads += 1
        most_downloads = max(most_downloads, downloads)
        await have_all_begun.wait()
        downloads -= 1
        raise ImageError(ImageErrorCode.TIMEOUT, "No answer.")

    monkeypatch.setattr(runtime.host_budgets, "ask", ask)
    monkeypatch.setattr(estimate, "fetch", fetch)
    monkeypatch.setattr(runtime, "settings", runtime.settings.model_copy(update={"images_in_flight": 5}))

    found = await run_estimate(runtime, [f"https://host-{n}.example/a.jpg" for n in range(12)])

    assert most_downloads == 5
    assert [(each.code, each.images) for each in found.failures] == [("TIMEOUT", 12)]


async def test_message_ends_at_once_and_a_stop_gives_the_downloads_back(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun = asyncio.Event()

    async def fetch(runtime: Runtime, url: str) -> Download:
        has_begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(estimate, "fetch", fetch)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        runtime.queue, "estimate", lambda id: loop.call_soon_threadsafe(schedule_measurement, runtime, id)
    )
    caller = asyncio.create_task(run_estimate(runtime, ["https://host.example/a.jpg"]))
    await has_begun.wait()
    assert runtime.host_budgets._hosts["host.example:443"].held == 1

    await runtime.background.aclose()

    assert runtime.host_budgets._hosts["host.example:443"].held == 0
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)


async def test_forbidden_addresses_are_never_connected_to(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = image_host.add("/1.jpg", jpeg(1)).replace("127.0.0.1", "localhost")
    monkeypatch.setattr(runtime.fetcher, "_policy", NetworkPolicy(allow_ports="*"))

    found = await run_estimate(runtime, [url])

    assert [each.code for each in found.failures] == ["FORBIDDEN_ADDRESS"]
    assert image_host.requests == []


async def test_without_a_worker_the_caller_gets_an_error_and_the_job_ends(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "MAX_SECONDS", 2.0)
    monkeypatch.setattr(estimate, "TRANSFER_SECONDS", 0.0)
    sent: list[UUID] = []
    monkeypatch.setattr(runtime.queue, "estimate", sent.append)

    with pytest.raises(EstimateUnavailable, match="No worker has measured the sample in time"):
        await run_estimate(runtime, [image_host.add("/1.jpg", jpeg(1))])

    # A worker that receives the message later has nothing to do.
    assert sent
    await until(lambda: not runtime.estimates._redis.keys("imgproc:estimate:*"))
    await measure_sample(runtime, sent[0])
    assert image_host.requests == []


async def test_tenant_may_run_one_estimate_at_a_time(runtime: Runtime, image_host: ImageHost, worker: Any) -> None:
    url = image_host.add("/1.jpg", jpeg(1))
    assert runtime.estimates.begin(ANYBODY.tenant_id, 30)

    with pytest.raises(RateLimited, match="Rate limit exceeded for estimates"):
        await run_estimate(runtime, [url])

    assert runtime.estimates.begin(new_id(), 30)
    runtime.estimates.end(ANYBODY.tenant_id)
    assert (await run_estimate(runtime, [url])).measured_images == 1
    # An invalid file does not keep the tenant from the next estimate.
    with pytest.raises(InvalidCsv):
        await run_estimate(runtime, ["ftp://shop.example/1.jpg"])
    assert (await run_estimate(runtime, [url])).measured_images == 1


async def test_estimate_that_takes_too_long_ends_and_the_next_one_may_begin(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file that takes longer to read than an estimate may take,
    async def never(*arguments: Any) -> Any:
        await asyncio.Event().wait()

    url = image_host.add("/1.jpg", jpeg(1))
    with monkeypatch.context() as patches:
        patches.setattr(estimate, "open_upload", never)
        patches.setattr(estimate, "MAX_SECONDS", 0.1)

        # when it is estimated, then the caller gets an error,
        with pytest.raises(EstimateUnavailable, match="or estimate a part of the file"):
            await run_estimate(runtime, [url])

    # and the tenant may begin another one.
    assert (await run_estimate(runtime, [url])).measured_images == 1


async def test_finished_estimate_is_returned_although_redis_fails_then(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tenant_id: UUID) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(runtime.estimates, "end", fail)

    assert (await run_estimate(runtime, [image_host.add("/1.jpg", jpeg(1))])).measured_images == 1
    # The tenant waits until the key expires, as after a crash, and no longer.
    (key,) = runtime.estimates._redis.keys("imgproc:estimate:tenant:*")
    assert 0 < runtime.estimates._redis.pttl(key) <= 31_000


async def test_tenants_are_measured_by_one_process_at_the_same_time(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an estimate whose image takes long to download,
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def fetch_slowly(runtime: Runtime, url: str) -> Download:
        if url == slow_url:
            has_begun.set()
            await may_end.wait()
        return await fetch(runtime, url)

    monkeypatch.setattr(estimate, "fetch", fetch_slowly)
    slow_url, url = (image_host.add(f"/{n}.jpg", jpeg(n)) for n in (1, 2))
    slow = asyncio.create_task(run_estimate(runtime, [slow_url]))
    await has_begun.wait()

    # when another tenant runs one, then it does not wait for the first.
    other = replace(ANYBODY, tenant_id=new_id())
    assert (await run_estimate(runtime, [url], caller=other)).measured_images == 1
    assert not slow.done()
    may_end.set()
    assert (await slow).measured_images == 1
    assert runtime.measuring == set()


async def test_file_that_exceeds_the_quota_of_csv_bytes_is_refused(
    runtime: Runtime, image_host: ImageHost, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "settings", runtime.settings.model_copy(update={"quota_csv_bytes": 50}))
    url = image_host.add("/1.jpg", jpeg(1))

    with pytest.raises(UploadTooLarge) as error:
        await run_estimate(runtime, [url], caller=anonymous_caller("203.0.113.1", is_unlimited=False))

    assert error.value.limit_bytes == 50
    assert (await run_estimate(runtime, [url])).measured_images == 1


async def test_internal_error_of_an_image_is_logged_and_the_others_are_measured(
    runtime: Runtime,
    image_host: ImageHost,
    worker: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fetch_or_fail(runtime: Runtime, url: str) -> Download:
        if url == urls[0]:
            raise RuntimeError
        return await fetch(runtime, url)

    monkeypatch.setattr(estimate, "fetch", fetch_or_fail)
    urls = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(3)]

    found = await run_estimate(runtime, urls)

    assert (found.sampled_images, found.measured_images, found.failures) == (3, 2, [])
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert line.message == "image of an estimate not measured"
    assert line.exc_info is not None
