"""Processes are killed at several points of a request: it finishes, with every image exactly once in the output.

Promises P1 to P4. The tests disturb the real processes of `up` from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil
import psycopg
import pytest
import redis
from psycopg.rows import dict_row

from gql_imgproc.client import AsyncClient, Request, ServiceError
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, upload, write_csv
from tests.conftest import postgresql
from tests.support.tcp_proxy import TcpProxy

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="signals and tmpfs of Linux"),
]

IMAGES = 200
#: Numbers of processed images at which the service is disturbed.
POINTS = (15, 80, 140)
#: Delay of the image host, in seconds: so long that images are in flight at each of these points.
HOST_DELAY_S = 0.2
#: Limit of the request's messages in Redis: a permit for each process and one that waits, and a few that advance the
#: request; those of killed workers stay until they are redelivered. One message per product would be 200.
MAX_MESSAGES = 10 * (1 + len(POINTS))


@pytest.fixture
def slow_port() -> Iterator[int]:
    """A slow host that serves an image at every path."""
    image = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: image, HOST_DELAY_S) as port:
        yield port


@dataclass
class Run:
    """A request in progress, and what was observed of it."""

    service: Service
    client: AsyncClient
    accepted: Request
    states: list[Request] = field(default_factory=list)
    max_messages: int = 0

    @property
    def processed_images(self) -> int:
        return self.states[-1].finished_images if self.states else 0

    async def wait_for(self, images: int) -> None:
        while self.processed_images < images:  # noqa: ASYNC110 - other processes make progress
            await asyncio.sleep(0.01)


Disturbance = Callable[[Run], Awaitable[None]]


async def run_disturbed(
    service: Service, csv_path: Path, output: Path, disturb: Disturbance, within_s: float = 90
) -> Run:
    """Uploads, disturbs the service at each point, watches to the end, downloads."""
    async with AsyncClient(service.url) as client:
        run = Run(service, client, await upload(client, csv_path))

        async def watch() -> None:
            async for state in client.watch(run.accepted.id):
                run.states.append(state)

        async def disturb_at_points() -> None:
            for point in POINTS:
                await run.wait_for(point)
                await disturb(run)

        counting = asyncio.create_task(count_messages(run))
        async with asyncio.timeout(within_s):
            await asyncio.gather(watch(), disturb_at_points())
        counting.cancel()
        url = run.states[-1].output_csv_url
        assert url is not None
        await download(client, url, output)
    return run


async def download(client: AsyncClient, url: str, output: Path) -> None:
    """Retries for a while, since the API may be restarting."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(ServiceError):
                return await client.download(url, output)
            await asyncio.sleep(0.1)


async def count_messages(run: Run) -> None:
    url = (run.service.log.parent / "data" / "redis-url").read_text()
    queues = ("images", "control")
    while True:
        try:
            with redis.Redis.from_url(url) as client:
                waiting = sum(client.hlen(f"dramatiq:{queue}.msgs") for queue in queues)
            run.max_messages = max(run.max_messages, waiting)
        except redis.RedisError:
            pass
        await asyncio.sleep(0.05)


def assert_every_image_once(run: Run, output: Path, database: str) -> None:
    last = run.states[-1]
    assert (last.status, last.processed_images, last.failed_images) == (RequestStatus.COMPLETED, IMAGES, 0)
    assert [state.sequence for state in run.states] == sorted({state.sequence for state in run.states})
    rows = read(output)
    assert [row["S. No."] for row in rows] == [str(n) for n in range(1, IMAGES + 1)]
    urls = [row["Output Image Urls"] for row in rows]
    assert len(set(urls)) == IMAGES
    assert all(url.startswith(f"{run.service.url}/api/image/") for url in urls)
    assert {row["Image Errors"] for row in rows} == {""}
    assert run.max_messages <= MAX_MESSAGES
    (request,), images = read_tables(database)
    assert Counter(image["status"] for image in images) == {"COMPLETED": IMAGES}
    assert request["processed_images"] == IMAGES
    assert request["input_bytes"] == sum(image["input_bytes"] for image in images)
    assert request["output_bytes"] == sum(image["output_bytes"] for image in images)
    objects, request_id = run.service.log.parent / "data" / "objects", UUID(str(request["id"])).hex
    for image in images:
        stored = (objects / "images" / request_id / image["object_name"]).read_bytes()
        assert (len(stored), hashlib.sha256(stored).hexdigest()) == (image["output_bytes"], image["sha256"])
    assert {url.split("/")[-2] for url in urls} == {image["object_name"] for image in images}
    assert (objects / "requests" / request_id / request["output_name"]).read_bytes() == output.read_bytes()


def read_tables(database: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of requests and of images."""
    names = ("requests", "images")
    if database.startswith("postgresql"):
        with psycopg.connect(database.replace("+psycopg", ""), row_factory=dict_row) as connection:
            first, second = (connection.execute(f"SELECT * FROM {name}").fetchall() for name in names)
        return first, second
    with sqlite3.connect(database) as lite:
        lite.row_factory = sqlite3.Row
        first, second = ([dict(row) for row in lite.execute(f"SELECT * FROM {name}")] for name in names)
    return first, second


async def kill_one_worker(run: Run) -> None:
    (await random_worker(run)).kill()


async def kill_all_workers(run: Run) -> None:
    await random_worker(run)
    for worker in run.service.workers():
        worker.kill()


async def kill_api(run: Run) -> None:
    (await asyncio.to_thread(run.service.api)).kill()


async def kill_redis(run: Run) -> None:
    (await asyncio.to_thread(run.service.redis)).kill()


async def flush_redis(run: Run) -> None:
    url = (run.service.log.parent / "data" / "redis-url").read_text()
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def suspend_redis(run: Run) -> None:
    """Results are recorded meanwhile."""
    database = str(run.service.data / "imgproc.db")
    server = await asyncio.to_thread(run.service.redis)
    server.suspend()
    try:
        recorded = count_recorded(database)
        async with asyncio.timeout(20):
            while count_recorded(database) < min(recorded + 20, IMAGES):  # noqa: ASYNC110 - other processes record
                await asyncio.sleep(0.05)
    finally:
        server.resume()


def count_recorded(database: str) -> int:
    return sum(image["status"] == "COMPLETED" for image in read_tables(database)[1])


async def suspend_worker_beyond_its_lease(run: Run) -> None:
    worker = await random_worker(run)
    worker.suspend()
    await asyncio.sleep(2)
    worker.resume()


async def terminate_worker(run: Run) -> None:
    await asyncio.sleep(random.random() / 10)
    (await random_worker(run)).send_signal(signal.SIGTERM)


async def random_worker(run: Run) -> psutil.Process:
    """A running worker; waits if all are being restarted."""
    while not (workers := run.service.workers()):  # noqa: ASYNC110 - polls other processes
        await asyncio.sleep(0.01)
    return random.choice(workers)


DISTURBANCES = [
    kill_all_workers,
    kill_one_worker,
    kill_api,
    kill_redis,
    flush_redis,
    suspend_redis,
    suspend_worker_beyond_its_lease,
    terminate_worker,
]


@pytest.mark.parametrize("disturb", DISTURBANCES)
def test_disturbed_request_finishes_with_every_image_once(
    disturb: Disturbance, start: StartService, slow_port: int, tmp_path: Path
) -> None:
    csv_path = given_csv(tmp_path, slow_port)
    service = start(FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5")

    run = asyncio.run(run_disturbed(service, csv_path, tmp_path / "out.csv", disturb))

    assert_every_image_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))
    assert service.stop() == 0


def given_csv(folder: Path, port: int) -> Path:
    return write_csv(folder / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(IMAGES)])


def test_work_resumes_within_20_seconds_with_default_settings(
    start: StartService, slow_port: int, tmp_path: Path
) -> None:
    """Promise P2; and P3: the request finishes within 30 s after Redis is back."""
    csv_path = given_csv(tmp_path, slow_port)
    service = start(FETCH_ALLOW_PORTS=str(slow_port))
    killed_at: list[float] = []

    async def kill_workers_and_redis(run: Run) -> None:
        if not killed_at:
            for worker in run.service.workers():
                worker.kill()
            run.service.redis().kill()
            killed_at.append(time.monotonic())
            await run.wait_for(run.processed_images + 1)
            assert time.monotonic() - killed_at[0] < 20

    run = asyncio.run(run_disturbed(service, csv_path, tmp_path / "out.csv", kill_workers_and_redis))

    assert time.monotonic() - killed_at[0] < 30
    assert_every_image_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))


def test_full_disk_loses_nothing(start: StartService, slow_port: int, tmp_path: Path) -> None:
    """Images and database: what cannot be written is written once there is space again."""
    csv_path = given_csv(tmp_path, slow_port)
    (tmp_path / "data").mkdir()
    with small_disk(tmp_path / "data"):
        service = start(
            FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", RETRY_DELAYS="1,1,2,2,2"
        )

        async def fill_for_a_while(run: Run) -> None:
            filler = tmp_path / "data" / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(65_536))
                except OSError:
                    pass
            await asyncio.sleep(2)
            filler.unlink()

        run = asyncio.run(run_disturbed(service, csv_path, tmp_path / "out.csv", fill_for_a_while))

        assert_every_image_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))
        assert service.stop() == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        # Lazily: processes of a failed test may still have open files.
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_postgresql_restart_loses_nothing(start: StartService, slow_port: int, tmp_path: Path) -> None:
    csv_path = given_csv(tmp_path, slow_port)
    with postgresql() as database:
        service = start(
            FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", DATABASE_URL=database.url
        )

        async def restart(run: Run) -> None:
            await asyncio.to_thread(database.restart)

        run = asyncio.run(run_disturbed(service, csv_path, tmp_path / "out.csv", restart))

        assert_every_image_once(run, tmp_path / "out.csv", database.url)
        assert service.stop() == 0


def test_long_postgresql_outage_only_delays_a_request(start: StartService, slow_port: int, tmp_path: Path) -> None:
    csv_path = given_csv(tmp_path, slow_port)
    with postgresql() as database:
        proxy = TcpProxy(database.url)
        service = start(
            FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", DATABASE_URL=proxy.url
        )
        workers = [worker.pid for worker in service.workers()]
        responses: list[httpx.Response] = []

        async def disconnect_database(run: Run) -> None:
            if responses:
                return
            proxy.refuse()
            async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
                responses.append(await client.get("/healthz"))
                responses.append(await client.get("/readyz"))
                responses.append(await client.post("/graphql", json={"query": "{ requests { totalCount } }"}))
                # Leases and timeouts have expired.
                await asyncio.sleep(1)
                proxy.open()
                async with asyncio.timeout(10):
                    while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.1)

        run = asyncio.run(run_disturbed(service, csv_path, tmp_path / "out.csv", disconnect_database))

        healthy, ready, queried = responses
        assert healthy.status_code == 200
        assert (ready.status_code, list(ready.json()["missing"])) == (503, ["database"])
        assert (queried.status_code, queried.headers["retry-after"]) == (503, "5")
        assert [error["extensions"]["code"] for error in queried.json()["errors"]] == ["SERVICE_UNAVAILABLE"]
        assert "psycopg" not in queried.text + ready.text
        # The watcher needed only one subscription, and no worker was restarted.
        assert_every_image_once(run, tmp_path / "out.csv", database.url)
        assert [worker.pid for worker in service.workers()] == workers
        assert service.stop() == 0
        proxy.close()
