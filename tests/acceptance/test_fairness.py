"""One picture, one upload, one host: each harms only itself (promises P5 and P11)."""

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

from gql_imgproc.database.engine import Database
from gql_imgproc.enums import Priority, RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import Client, Progress
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, upload, write_manifest
from tests.support.api_keys import bearer, given_key, given_tenant

pytestmark = pytest.mark.acceptance


@pytest.fixture
def fast_port() -> Iterator[int]:
    picture = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: picture) as port:
        yield port


def manifest_of(folder: Path, name: str, port: int, count: int) -> Path:
    return write_manifest(folder / f"{name}.csv", [[f"http://127.0.0.1:{port}/{name}/{n}.jpg"] for n in range(count)])


async def ended(client: Client, request_id: str) -> Progress:
    return [state async for state in client.progress(request_id)][-1]


def test_ten_pictures_behind_twenty_thousand_are_done_within_five_seconds(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    large, small = (manifest_of(tmp_path, *these) for these in (("large", fast_port, 20_000), ("small", fast_port, 10)))
    service = start(FETCH_ALLOW_PORTS=str(fast_port))

    async def story() -> tuple[float, Progress, int]:
        async with Client(service.url) as client:
            first = await upload(client, large)
            await seen_at_work(client, first.request_id)
            began = time.monotonic()
            second = await upload(client, small)
            state = await ended(client, second.request_id)
            took_s = time.monotonic() - began
            return took_s, state, (await seen_at_work(client, first.request_id)).ended

    took_s, state, of_large = asyncio.run(asyncio.wait_for(story(), 60))

    assert (state.status, state.processed) == (RequestStatus.COMPLETED, 10)
    assert took_s < 5
    assert of_large < 20_000


async def seen_at_work(client: Client, request_id: str) -> Progress:
    """The state of a request of which something is done."""
    async with aclosing(client.progress(request_id)) as states:
        async for state in states:
            if state.ended:
                return state
    raise AssertionError


def test_a_host_that_takes_ten_seconds_holds_up_nobody_else(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    picture = sample_images.render_sample("espresso-front.jpg")
    with ExitStack() as hosts:
        slow_port = hosts.enter_context(host(lambda path: picture, delay_s=10))
        slow = manifest_of(tmp_path, "slow", slow_port, 500)
        fast = manifest_of(tmp_path, "fast", fast_port, 100)
        service = start(FETCH_ALLOW_PORTS=f"{slow_port},{fast_port}")

        async def story() -> tuple[float, float]:
            async with Client(service.url) as client:
                alone_s = await seconds_for(client, fast)
                await upload(client, slow)
                await asyncio.sleep(3)
                return alone_s, await seconds_for(client, fast)

        alone_s, beside_s = asyncio.run(asyncio.wait_for(story(), 60))

    assert beside_s < 2 * alone_s + 1


async def seconds_for(client: Client, manifest: Path) -> float:
    began = time.monotonic()
    accepted = await upload(client, manifest)
    state = await ended(client, accepted.request_id)
    assert state.status is RequestStatus.COMPLETED
    return time.monotonic() - began


def test_the_urgent_overtake_the_usual_overtake_those_that_can_wait(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    count = 300
    manifests = {
        priority: manifest_of(tmp_path, priority.value.lower(), fast_port, count) for priority in reversed(Priority)
    }
    service = start("--workers", "1", FETCH_ALLOW_PORTS=str(fast_port))

    async def story() -> tuple[list[Priority], int]:
        async with Client(service.url) as client:
            # The one that can wait comes first.
            requests = {
                priority: await upload(client, manifest, priority=priority) for priority, manifest in manifests.items()
            }
            order: list[Priority] = []

            async def follow(priority: Priority) -> None:
                await ended(client, requests[priority].request_id)
                order.append(priority)

            low_when_high_ended = 0

            async def look() -> None:
                nonlocal low_when_high_ended
                await follow(Priority.HIGH)
                low_when_high_ended = (await seen_at_work(client, requests[Priority.LOW].request_id)).ended

            await asyncio.gather(look(), follow(Priority.NORMAL), follow(Priority.LOW))
            return order, low_when_high_ended

    order, low_when_high_ended = asyncio.run(asyncio.wait_for(story(), 90))

    assert order == [Priority.HIGH, Priority.NORMAL, Priority.LOW]
    assert 0 < low_when_high_ended < count


def test_a_picture_that_kills_its_worker_fails_alone(start: StartService, fast_port: int, tmp_path: Path) -> None:
    large = io.BytesIO()
    Image.radial_gradient("L").resize((6000, 6000)).convert("RGB").save(large, "PNG", compress_level=1)
    services: list[Service] = []
    kills: list[float] = []

    def deadly(path: str) -> bytes:
        """Doing it takes some seconds; its worker does not live to see the end."""

        def kill() -> None:
            kills.append(time.monotonic())
            for worker in services[0].workers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()

        threading.Timer(0.7, kill).start()
        return large.getvalue()

    with host(deadly) as deadly_port:
        urls = [[f"http://127.0.0.1:{fast_port}/{n}.jpg"] for n in range(20)]
        urls[7] = [f"http://127.0.0.1:{deadly_port}/deadly.png", f"http://127.0.0.1:{fast_port}/neighbour.jpg"]
        manifest = write_manifest(tmp_path / "products.csv", urls)
        services.append(
            start(FETCH_ALLOW_PORTS=f"{fast_port},{deadly_port}", LEASE_SECONDS="1", SWEEP_SECONDS="0.5", CPU_SLOTS="1")
        )

        async def story() -> Progress:
            async with Client(services[0].url) as client:
                accepted = await upload(client, manifest)
                state = await ended(client, accepted.request_id)
                assert state.output_csv_url is not None
                await client.download(state.output_csv_url, tmp_path / "out.csv")
                return state

        state = asyncio.run(asyncio.wait_for(story(), 90))

    assert (state.status, state.processed, state.failed) == (RequestStatus.COMPLETED_WITH_ERRORS, 20, 1)
    row = read(tmp_path / "out.csv")[7]
    assert "crashed the worker repeatedly" in row["Image Errors"]
    assert row["Output Image Urls"].startswith(",http")
    assert len(kills) == 3
    assert psutil.Process(services[0].process.pid).is_running()


def test_ten_requests_of_one_tenant_do_not_starve_anothers_one(
    start: StartService, fast_port: int, tmp_path: Path
) -> None:
    large = [manifest_of(tmp_path, f"large{n}", fast_port, 2_000) for n in range(10)]
    small = manifest_of(tmp_path, "small", fast_port, 200)
    service = start(FETCH_ALLOW_PORTS=str(fast_port))
    database = Database(f"sqlite:///{service.data / 'imgproc.db'}")
    many, one = (given_key(database, given_tenant(database, name))[0] for name in ("many", "one"))
    database.close()

    async def story() -> tuple[float, float, int]:
        async with Client(service.url) as first, Client(service.url) as second:
            first._http.headers.update(bearer(many))
            second._http.headers.update(bearer(one))
            alone_s = await seconds_asked_for(second, small)
            requests = [(await upload(first, manifest)).request_id for manifest in large]
            while not await finished_images(first, requests[-1]):  # noqa: ASYNC110 - it has to be asked for
                await asyncio.sleep(0.1)
            beside_s = await seconds_asked_for(second, small)
            return alone_s, beside_s, sum([await finished_images(first, request_id) for request_id in requests])

    alone_s, beside_s, of_large = asyncio.run(asyncio.wait_for(story(), 110))

    # Half of the service is a third of its speed at worst: what is under way is not put aside.
    assert beside_s < 3 * alone_s + 1
    assert 0 < of_large < 20_000


async def finished_images(client: Client, request_id: str) -> int:
    query = "query($id: ID!) { request(id: $id) { processedImages } }"
    return int((await client.query(query, {"id": request_id}))["request"]["processedImages"])


async def seconds_asked_for(client: Client, manifest: Path) -> float:
    """As `seconds_for`, for a client with a key, which asks until all pictures are done."""
    began = time.monotonic()
    accepted = await upload(client, manifest)
    while await finished_images(client, accepted.request_id) < accepted.images:  # noqa: ASYNC110 - it has to be asked for
        await asyncio.sleep(0.2)
    return time.monotonic() - began
