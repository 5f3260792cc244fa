"""Progress is exact during outages of Redis and restarts of the API (promise P10)."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.embedded_redis import find_server
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import upload, write_csv

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

IMAGES = 150
#: Length of the Redis outage, in seconds.
OUTAGE_S = 10
#: Maximum lag of a watcher, and a margin for a machine that also runs other tests, in seconds.
MAX_LAG_S, MARGIN_S = 1.0, 1.0


class OwnRedis:
    """A Redis that only the test restarts."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder / 's'}"
        self._command = [find_server(), "--port", "0", "--unixsocket", str(folder / "s"), "--save", ""]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                with redis.Redis.from_url(self.url) as client:
                    client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def own_redis(folder: Path) -> Iterator[OwnRedis]:
    started = OwnRedis(folder)
    try:
        yield started
    finally:
        started.kill()


@dataclass
class Watcher:
    """The states that a watcher received, with the time of each."""

    seen: list[tuple[float, Request]] = field(default_factory=list)

    def record(self, state: Request) -> None:
        self.seen.append((time.monotonic(), state))

    @property
    def sequences(self) -> list[int]:
        return [state.sequence for _, state in self.seen]


async def watch_steadily(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    async with AsyncClient(service.url) as client:
        async for state in client.watch(request_id):
            watcher.record(state)
    return watcher


async def watch_with_reconnects(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    while not watcher.seen or not watcher.seen[-1][1].status.is_terminal:
        async with AsyncClient(service.url) as client, aclosing(client.watch(request_id)) as states:
            try:
                async with asyncio.timeout(0.7):
                    async for state in states:
                        watcher.record(state)
            except TimeoutError:
                continue
    return watcher


async def watch_slowly(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    async with AsyncClient(service.url) as client:
        async for state in client.watch(request_id):
            watcher.record(state)
            await asyncio.sleep(1)
    return watcher


def read_sequence(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT sequence FROM requests").fetchone()[0])


@pytest.mark.slow
def test_watchers_see_committed_states_during_redis_and_api_outages(
    start: StartService, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: image, delay_s=0.3) as port, own_redis(tmp_path_factory.mktemp("r")) as own:
        urls = [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(IMAGES)]
        csv_path = write_csv(tmp_path / "products.csv", urls)
        service = start(FETCH_ALLOW_PORTS=str(port), REDIS_URL=own.url, LEASE_SECONDS="2", SWEEP_SECONDS="0.5")
        database = tmp_path / "data" / "imgproc.db"
        committed: list[tuple[float, int]] = []

        async def run() -> tuple[list[Watcher], float]:
            async with AsyncClient(service.url) as client:
                request_id = (await upload(client, csv_path)).id
            watching = [
                asyncio.create_task(watch(service, request_id))
                for watch in (watch_steadily, watch_with_reconnects, watch_slowly)
            ]

            async def sample() -> None:
                while True:
                    committed.append((time.monotonic(), await asyncio.to_thread(read_sequence, database)))
                    await asyncio.sleep(0.1)

            sampling = asyncio.create_task(sample())
            await asyncio.sleep(1)
            await asyncio.to_thread(own.kill)
            await asyncio.sleep(OUTAGE_S)
            await asyncio.to_thread(own.start)
            back_at = time.monotonic()
            await asyncio.sleep(1)
            service.api().kill()
            watchers = await asyncio.gather(*watching)
            sampling.cancel()
            return watchers, back_at

        (steady, reconnecting, slow), back_at = asyncio.run(asyncio.wait_for(run(), 90))

    # The request finished within 30 s after Redis was back.
    assert steady.seen[-1][0] - back_at < 30
    for watcher in (steady, reconnecting, slow):
        last = watcher.seen[-1][1]
        assert (last.status, last.processed_images) == (RequestStatus.COMPLETED, IMAGES)
        assert last.sequence == read_sequence(database)
    # States never go back; after a reconnect the same state may be repeated.
    assert steady.sequences == sorted(set(steady.sequences))
    assert reconnecting.sequences == sorted(reconnecting.sequences)
    assert slow.sequences == sorted(set(slow.sequences))
    # The API was up during the Redis outage, so the steady watcher did not lag.
    for at, sequence in committed:
        if at < back_at:
            received = [state for when, state in steady.seen if when <= at + MAX_LAG_S + MARGIN_S]
            assert received
            assert received[-1].sequence >= sequence


def test_watcher_of_a_finished_request_gets_its_state_at_once(start: StartService, tmp_path: Path) -> None:
    image = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: image) as port:
        csv_path = write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/1.jpg"]])
        service = start("--workers", "1", FETCH_ALLOW_PORTS=str(port))

        async def run() -> tuple[list[Request], float]:
            async with AsyncClient(service.url) as client:
                request_id = (await upload(client, csv_path)).id
                async for _ in client.watch(request_id):
                    pass
                began = time.monotonic()
                states = [state async for state in client.watch(request_id)]
                return states, time.monotonic() - began

        states, took_s = asyncio.run(asyncio.wait_for(run(), 60))

    assert [state.status for state in states] == [RequestStatus.COMPLETED]
    assert took_s < 1
