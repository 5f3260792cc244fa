"""A bad image, a large upload or a slow host affects nothing else (promises P5 and P11)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import psutil
import pytest
from PIL import Image

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.database.engine import Database
from gql_imgproc.enums import Priority, RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, upload, write_csv
from tests.support.api_keys import bearer, given_key, given_tenant

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


@pytest.fixture
def fast_port() -> Iterator[int]:
    image = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: image) as port:
        yield port


def given_csv(folder: Path, name: str, port: int, count: int) -> Path:
    return write_csv(folder / f"{name}.csv", [[f"http://127.0.0.1:{port}/{name}/{n}.jpg"] for n in range(count)])


async def wait_until_final(client: AsyncClient, request_id: str) -> Request:
    return [state async for state in client.watch(request_id)][-1]


def test_ten_images_behind_twenty_thousand_are_processed_soon(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    large, small = given_csv(tmp_path, "large", fast_port, 20_000), given_csv(tmp_path, "small", fast_port, 10)
    service = start(FETCH_ALLOW_PORTS=str(fast_port))

    async def run() -> tuple[Request, int]:
        async with AsyncClient(service.url) as client:
            first = await upload(client, large)
            before = (await wait_until_started(client, first.id)).finished_images
            second = await upload(client, small)
            state = await wait_until_final(client, second.id)
            after = (await wait_until_started(client, first.id)).finished_images
            return state, after - before

    state, overtaken_by = asyncio.run(asyncio.wait_for(run(), 60))

    assert (state.status, state.processed_images) == (RequestStatus.COMPLETED, 10)
    # About five seconds of work on two cores.
    assert overtaken_by < 700


async def wait_until_started(client: AsyncClient, request_id: str) -> Request:
    """The first state of a request with a finished image."""
    async with aclosing(client.watch(request_id)) as states:
        async for state in states:
            if state.finished_images:
                return state
    raise AssertionError


def test_slow_image_host_does_not_delay_other_requests(start: StartService, fast_port: int, tmp_path: Path) -> None:
    image = sample_images.render_sample("espresso-front.jpg")
    with ExitStack() as hosts:
        slow_port = hosts.enter_context(host(lambda path: image, delay_s=10))
        slow = given_csv(tmp_path, "slow", slow_port, 500)
        fast = given_csv(tmp_path, "fast", fast_port, 100)
        service = start(FETCH_ALLOW_PORTS=f"{slow_port},{fast_port}")

        async def run() -> tuple[float, float]:
            async with AsyncClient(service.url) as client:
                alone_s = await measure_seconds(client, fast)
                await upload(client, slow)
                await asyncio.sleep(3)
                return alone_s, await measure_seconds(client, fast)

        alone_s, concurrent_s = asyncio.run(asyncio.wait_for(run(), 60))

    assert concurrent_s < 2 * alone_s + 1


async def measure_seconds(client: AsyncClient, csv_path: Path) -> float:
    began = time.monotonic()
    accepted = await upload(client, csv_path, refresh=True)
    state = await wait_until_final(client, accepted.id)
    assert state.status is RequestStatus.COMPLETED
    return time.monotonic() - began


def test_requests_of_higher_priority_finish_first(start: StartService, fast_port: int, tmp_path: Path) -> None:
    count = 300
    csv_paths = {
        priority: given_csv(tmp_path, priority.value.lower(), fast_port, count) for priority in reversed(Priority)
    }
    service = start("--workers", "1", FETCH_ALLOW_PORTS=str(fast_port))

    async def run() -> tuple[list[Priority], int]:
        async with AsyncClient(service.url) as client:
            # The request with the lowest priority is uploaded first.
            requests = {
                priority: await upload(client, csv_path, priority=priority) for priority, csv_path in csv_paths.items()
            }
            order: list[Priority] = []

            async def watch(priority: Priority) -> None:
                await wait_until_final(client, requests[priority].id)
                order.append(priority)

            low_when_high_finished = 0

            async def watch_high() -> None:
                nonlocal low_when_high_finished
                await watch(Priority.HIGH)
                low_when_high_finished = (await wait_until_started(client, requests[Priority.LOW].id)).finished_images

            await asyncio.gather(watch_high(), watch(Priority.NORMAL), watch(Priority.LOW))
            return order, low_when_high_finished

    order, low_when_high_finished = asyncio.run(asyncio.wait_for(run(), 90))

    assert order == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
    assert 0 < low_when_high_finished < count


def test_image_that_kills_its_worker_fails_alone(start: StartService, fast_port: int, tmp_path: Path) -> None:
    large = io.BytesIO()
    Image.radial_gradient("L").resize((6000, 6000)).convert("RGB").save(large, "PNG", compress_level=1)
    services: list[Service] = []
    kills: list[float] = []

    def respond_and_kill(path: str) -> bytes:
        """Serves an image that takes seconds to process, and kills the workers meanwhile."""

        def kill() -> None:
            kills.append(time.monotonic())
            for worker in services[0].workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()

        threading.Timer(0.7, kill).start()
        return large.getvalue()

    with host(respond_and_kill) as killer_port:
        urls = [[f"http://127.0.0.1:{fast_port}/{n}.jpg"] for n in range(20)]
        urls[7] = [f"http://127.0.0.1:{killer_port}/killer.png", f"http://127.0.0.1:{fast_port}/neighbour.jpg"]
        csv_path = write_csv(tmp_path / "products.csv", urls)
        services.append(
            start(FETCH_ALLOW_PORTS=f"{fast_port},{killer_port}", LEASE_SECONDS="1", SWEEP_SECONDS="0.5", CPU_SLOTS="1")
        )

        async def run() -> Request:
            async with AsyncClient(services[0].url) as client:
                accepted = await upload(client, csv_path)
                state = await wait_until_final(client, accepted.id)
                assert state.output_csv_url is not None
                await client.download(state.output_csv_url, tmp_path / "out.csv")
                return state

        state = asyncio.run(asyncio.wait_for(run(), 90))

    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.COMPLETED_WITH_ERRORS, 20, 1)
    row = read(tmp_path / "out.csv")[7]
    assert "crashed the worker repeatedly" in row["Image Errors"]
    assert row["Output Image Urls"].startswith(",http")
    assert len(kills) == 3
    assert psutil.Process(services[0].process.pid).is_running()


def test_ten_requests_of_one_tenant_do_not_starve_another_tenant(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    large = [given_csv(tmp_path, f"large{n}", fast_port, 2_000) for n in range(10)]
    small = given_csv(tmp_path, "small", fast_port, 200)
    service = start(FETCH_ALLOW_PORTS=str(fast_port))
    database = Database(f"sqlite:///{service.data / 'imgproc.db'}")
    many, one = (given_key(database, given_tenant(database, name))[0] for name in ("many", "one"))
    database.close()

    async def run() -> tuple[float, float, int]:
        async with AsyncClient(service.url) as first, AsyncClient(service.url) as second:
            first._http.headers.update(bearer(many))
            second._http.headers.update(bearer(one))
            alone_s = await poll_seconds(second, small)
            requests = [(await upload(first, csv_path)).id for csv_path in large]
            while not await finished_images(first, requests[-1]):  # noqa: ASYNC110 - polls the API
                await asyncio.sleep(0.1)
            concurrent_s = await poll_seconds(second, small)
            return alone_s, concurrent_s, sum([await finished_images(first, request_id) for request_id in requests])

    alone_s, concurrent_s, finished_of_large = asyncio.run(asyncio.wait_for(run(), 110))

    # Half of the service is at worst a third of its speed, since work in progress is not interrupted.
    assert concurrent_s < 3 * alone_s + 1
    assert 0 < finished_of_large < 20_000


async def finished_images(client: AsyncClient, request_id: str) -> int:
    query = "query($id: ID!) { request(id: $id) { processedImages } }"
    return int((await client.execute(query, {"id": request_id}))["request"]["processedImages"])


async def poll_seconds(client: AsyncClient, csv_path: Path) -> float:
    """As `measure_seconds`, for a client with an API key, which polls until all images are processed."""
    began = time.monotonic()
    accepted = await upload(client, csv_path, refresh=True)
    while await finished_images(client, accepted.id) < accepted.total_images:  # noqa: ASYNC110 - polls the API
        await asyncio.sleep(0.2)
    return time.monotonic() - began
