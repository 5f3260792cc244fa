"""Killed for real, at several points of a request: it ends, and every picture is in the output exactly once.

Promises P1 to P4. `up` with its real processes; the deeds are done to them from outside.
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

from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import AcceptedUpload, Client, Progress, ServiceError
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, upload, write_manifest
from tests.conftest import postgresql
from tests.support.concurrency_barrier import Gate

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(sys.platform != "linux", reason="signals and tmpfs of Linux")]

PICTURES, WINDOW, WORKERS = 200, 32, 2
#: After how many of the pictures something is done to the service.
POINTS = (15, 80, 140)
#: So slow that each point comes in the middle of some pictures, in seconds.
HOST_DELAY_S = 0.2
#: Messages of the request in Redis: a window's worth, and once more for each time that workers were killed, whose
#: fetched messages stay until they are delivered again. One for each product would be 200.
MOST_MESSAGES = WINDOW * (1 + len(POINTS))


@pytest.fixture
def slow_port() -> Iterator[int]:
    """A host that serves the same picture at every path, after a while."""
    picture = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: picture, HOST_DELAY_S) as port:
        yield port


@dataclass
class Run:
    """A request under way, and what was seen of it."""

    service: Service
    client: Client
    accepted: AcceptedUpload
    states: list[Progress] = field(default_factory=list)
    most_messages: int = 0

    @property
    def done(self) -> int:
        return self.states[-1].ended if self.states else 0

    async def until(self, images: int) -> None:
        while self.done < images:  # noqa: ASYNC110 - what is waited for comes from other processes
            await asyncio.sleep(0.01)


Deed = Callable[[Run], Awaitable[None]]


async def go_through(service: Service, manifest: Path, output: Path, deed: Deed, within_s: float = 90) -> Run:
    """Uploads, does the deed at each point, follows to the end, downloads."""
    async with Client(service.url) as client:
        run = Run(service, client, await upload(client, manifest))

        async def follow() -> None:
            async for state in client.progress(run.accepted.request_id):
                run.states.append(state)

        async def disturb() -> None:
            for point in POINTS:
                await run.until(point)
                await deed(run)

        watching = asyncio.create_task(count_messages(run))
        async with asyncio.timeout(within_s):
            await asyncio.gather(follow(), disturb())
        watching.cancel()
        url = run.states[-1].output_csv_url
        assert url is not None
        await download(client, url, output)
    return run


async def download(client: Client, url: str, output: Path) -> None:
    """Tries for a while: the API may be on its way back."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(ServiceError):
                return await client.download(url, output)
            await asyncio.sleep(0.1)


async def count_messages(run: Run) -> None:
    url = (run.service.log.parent / "data" / "redis-url").read_text()
    queues = ("images", "images-low", "images-high", "control")
    while True:
        try:
            with redis.Redis.from_url(url) as client:
                waiting = sum(client.hlen(f"dramatiq:{queue}.msgs") for queue in queues)
            run.most_messages = max(run.most_messages, waiting)
        except redis.RedisError:
            pass
        await asyncio.sleep(0.05)


def assert_every_picture_once(run: Run, output: Path, database: str) -> None:
    last = run.states[-1]
    assert (last.status, last.processed, last.failed) == (RequestStatus.COMPLETED, PICTURES, 0)
    assert [state.sequence for state in run.states] == sorted({state.sequence for state in run.states})
    rows = read(output)
    assert [row["S. No."] for row in rows] == [str(n) for n in range(1, PICTURES + 1)]
    addresses = [row["Output Image Urls"] for row in rows]
    assert len(set(addresses)) == PICTURES
    assert all(address.startswith(f"{run.service.url}/api/image/") for address in addresses)
    assert {row["Image Errors"] for row in rows} == {""}
    assert run.most_messages <= MOST_MESSAGES
    (request,), images = tables(database)
    assert Counter(image["status"] for image in images) == {"COMPLETED": PICTURES}
    assert request["processed_images"] == PICTURES
    assert request["input_bytes"] == sum(image["input_bytes"] for image in images)
    assert request["output_bytes"] == sum(image["output_bytes"] for image in images)
    objects = run.service.log.parent / "data" / "objects" / "requests" / UUID(str(request["id"])).hex
    for image in images:
        stored = (objects / "images" / image["object_name"]).read_bytes()
        assert (len(stored), hashlib.sha256(stored).hexdigest()) == (image["output_bytes"], image["sha256"])
    assert {address.rpartition("/")[2] for address in addresses} == {image["object_name"] for image in images}
    assert (objects / request["output_name"]).read_bytes() == output.read_bytes()


def tables(database: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of requests and of images."""
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
    (await some_worker(run)).kill()


async def kill_all_workers(run: Run) -> None:
    await some_worker(run)
    for worker in run.service.workers():
        worker.kill()


async def kill_the_api(run: Run) -> None:
    (await asyncio.to_thread(run.service.api)).kill()


async def kill_redis(run: Run) -> None:
    (await asyncio.to_thread(run.service.redis)).kill()


async def flush_redis(run: Run) -> None:
    url = (run.service.log.parent / "data" / "redis-url").read_text()
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def stop_a_worker_for_longer_than_its_lease(run: Run) -> None:
    worker = await some_worker(run)
    worker.suspend()
    await asyncio.sleep(2)
    worker.resume()


async def ask_a_worker_to_end(run: Run) -> None:
    await asyncio.sleep(random.random() / 10)
    (await some_worker(run)).send_signal(signal.SIGTERM)


async def some_worker(run: Run) -> psutil.Process:
    """One that is there, or is there again."""
    while not (workers := run.service.workers()):  # noqa: ASYNC110 - other processes tell nobody
        await asyncio.sleep(0.01)
    return random.choice(workers)


DEEDS = [
    kill_one_worker,
    kill_all_workers,
    kill_the_api,
    kill_redis,
    flush_redis,
    stop_a_worker_for_longer_than_its_lease,
    ask_a_worker_to_end,
]


@pytest.mark.parametrize("deed", DEEDS)
def test_whatever_is_done_to_it_a_request_ends_with_every_picture_once(
    deed: Deed, start: StartService, slow_port: int, tmp_path: Path
) -> None:
    manifest = given_manifest(tmp_path, slow_port)
    service = start(FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5")

    run = asyncio.run(go_through(service, manifest, tmp_path / "out.csv", deed))

    assert_every_picture_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))
    assert service.stop() == 0


def given_manifest(folder: Path, port: int) -> Path:
    return write_manifest(folder / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(PICTURES)])


def test_with_the_default_settings_work_goes_on_within_20_seconds(
    start: StartService, slow_port: int, tmp_path: Path
) -> None:
    """Promise P2; and P3: it ends within 30 s of Redis being back."""
    manifest = given_manifest(tmp_path, slow_port)
    service = start(FETCH_ALLOW_PORTS=str(slow_port))
    killed: list[float] = []

    async def kill_workers_and_redis(run: Run) -> None:
        if not killed:
            for worker in run.service.workers():
                worker.kill()
            run.service.redis().kill()
            killed.append(time.monotonic())
            before = run.done
            await run.until(before + 1)
            assert time.monotonic() - killed[0] < 20

    run = asyncio.run(go_through(service, manifest, tmp_path / "out.csv", kill_workers_and_redis))

    assert time.monotonic() - killed[0] < 30
    assert_every_picture_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))


def test_a_full_disk_loses_nothing(start: StartService, slow_port: int, tmp_path: Path) -> None:
    """Pictures, database and all: what cannot be written now is written when there is room again."""
    manifest = given_manifest(tmp_path, slow_port)
    (tmp_path / "data").mkdir()
    with small_disk(tmp_path / "data"):
        service = start(
            FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", RETRY_DELAYS="1,1,2,2,2"
        )

        async def fill_for_a_while(run: Run) -> None:
            ballast = tmp_path / "data" / "ballast"
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(65_536))
                except OSError:
                    pass
            await asyncio.sleep(2)
            ballast.unlink()

        run = asyncio.run(go_through(service, manifest, tmp_path / "out.csv", fill_for_a_while))

        assert_every_picture_once(run, tmp_path / "out.csv", str(tmp_path / "data" / "imgproc.db"))
        assert service.stop() == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield
    finally:
        # Lazily: processes of a test that failed may have files open.
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_postgresql_that_is_restarted_loses_nothing(start: StartService, slow_port: int, tmp_path: Path) -> None:
    manifest = given_manifest(tmp_path, slow_port)
    with postgresql() as database:
        service = start(
            FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", DATABASE_URL=database.url
        )

        async def restart(run: Run) -> None:
            await asyncio.to_thread(database.restart)

        run = asyncio.run(go_through(service, manifest, tmp_path / "out.csv", restart))

        assert_every_picture_once(run, tmp_path / "out.csv", database.url)
        assert service.stop() == 0


def test_a_postgresql_that_is_away_for_longer_than_anybody_waits_costs_time_only(
    start: StartService, slow_port: int, tmp_path: Path
) -> None:
    manifest = given_manifest(tmp_path, slow_port)
    with postgresql() as database:
        gate = Gate(database.url)
        service = start(FETCH_ALLOW_PORTS=str(slow_port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5", DATABASE_URL=gate.url)
        workers = [worker.pid for worker in service.workers()]
        answers: list[httpx.Response] = []

        async def go_away(run: Run) -> None:
            if answers:
                return
            gate.shut()
            async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
                answers.append(await client.get("/healthz"))
                answers.append(await client.get("/readyz"))
                answers.append(await client.post("/graphql", json={"query": "{ requests { totalCount } }"}))
                # Leases and patience have run out.
                await asyncio.sleep(1)
                gate.open()
                async with asyncio.timeout(10):
                    while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.1)

        run = asyncio.run(go_through(service, manifest, tmp_path / "out.csv", go_away))

        healthy, ready, asked = answers
        assert healthy.status_code == 200
        assert (ready.status_code, list(ready.json()["missing"])) == (503, ["database"])
        assert [error["extensions"]["code"] for error in asked.json()["errors"]] == ["INTERNAL"]
        assert "psycopg" not in asked.text + ready.text
        # The watcher's one subscription has seen it all, and nobody died of it.
        assert_every_picture_once(run, tmp_path / "out.csv", database.url)
        assert [worker.pid for worker in service.workers()] == workers
        assert service.stop() == 0
        gate.shut()
