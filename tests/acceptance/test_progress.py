"""Progress is exact, whatever is away meanwhile (promise P10)."""

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

from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import Client, Progress
from gql_imgproc.standalone.embedded_redis import find_server
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import upload, write_manifest

pytestmark = pytest.mark.acceptance

PICTURES = 150
#: How long Redis is away, in seconds.
AWAY_S = 10
#: How far behind a watcher may be, in seconds, and what a machine that runs other tests as well adds to that.
BEHIND_S, MARGIN_S = 1.0, 1.0


class OwnRedis:
    """A Redis that nobody starts again but the test."""

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
    """What one of them was told, and when."""

    seen: list[tuple[float, Progress]] = field(default_factory=list)

    def note(self, state: Progress) -> None:
        self.seen.append((time.monotonic(), state))

    @property
    def sequences(self) -> list[int]:
        return [state.sequence for _, state in self.seen]


async def steadily(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    async with Client(service.url) as client:
        async for state in client.progress(request_id):
            watcher.note(state)
    return watcher


async def cut_off_again_and_again(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    while not watcher.seen or not watcher.seen[-1][1].status.is_terminal:
        async with Client(service.url) as client, aclosing(client.progress(request_id)) as states:
            try:
                async with asyncio.timeout(0.7):
                    async for state in states:
                        watcher.note(state)
            except TimeoutError:
                continue
    return watcher


async def slowly(service: Service, request_id: str) -> Watcher:
    watcher = Watcher()
    async with Client(service.url) as client:
        async for state in client.progress(request_id):
            watcher.note(state)
            await asyncio.sleep(1)
    return watcher


def newest(database: Path) -> int:
    with sqlite3.connect(database) as connection:
        return int(connection.execute("SELECT sequence FROM requests").fetchone()[0])


def test_watchers_see_what_the_database_says_while_redis_and_the_api_come_and_go(
    start: StartService, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    picture = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: picture, delay_s=0.3) as port, own_redis(tmp_path_factory.mktemp("r")) as own:
        urls = [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(PICTURES)]
        manifest = write_manifest(tmp_path / "products.csv", urls)
        service = start(FETCH_ALLOW_PORTS=str(port), REDIS_URL=own.url, LEASE_SECONDS="2", SWEEP_SECONDS="0.5")
        database = tmp_path / "data" / "imgproc.db"
        committed: list[tuple[float, int]] = []

        async def story() -> tuple[list[Watcher], float]:
            async with Client(service.url) as client:
                request_id = (await upload(client, manifest)).request_id
            watching = [
                asyncio.create_task(watch(service, request_id)) for watch in (steadily, cut_off_again_and_again, slowly)
            ]

            async def sample() -> None:
                while True:
                    committed.append((time.monotonic(), await asyncio.to_thread(newest, database)))
                    await asyncio.sleep(0.1)

            sampling = asyncio.create_task(sample())
            await asyncio.sleep(1)
            await asyncio.to_thread(own.kill)
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(own.start)
            back = time.monotonic()
            await asyncio.sleep(1)
            service.api().kill()
            watchers = await asyncio.gather(*watching)
            sampling.cancel()
            return watchers, back

        (steady, cut_off, slow), back = asyncio.run(asyncio.wait_for(story(), 90))

    # It ended, within 30 s of Redis being back.
    assert steady.seen[-1][0] - back < 30
    for watcher in (steady, cut_off, slow):
        last = watcher.seen[-1][1]
        assert (last.status, last.processed) == (RequestStatus.COMPLETED, PICTURES)
        assert last.sequence == newest(database)
    # States never go back; who comes back may be told where it was.
    assert steady.sequences == sorted(set(steady.sequences))
    assert cut_off.sequences == sorted(cut_off.sequences)
    assert slow.sequences == sorted(set(slow.sequences))
    # While Redis was away, nobody was far behind: the API was not.
    for at, sequence in committed:
        if at < back:
            told = [seen for when, seen in steady.seen if when <= at + BEHIND_S + MARGIN_S]
            assert told
            assert told[-1].sequence >= sequence


def test_a_watcher_of_a_finished_request_is_told_at_once(start: StartService, tmp_path: Path) -> None:
    picture = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: picture) as port:
        manifest = write_manifest(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/1.jpg"]])
        service = start("--workers", "1", FETCH_ALLOW_PORTS=str(port))

        async def story() -> tuple[list[Progress], float]:
            async with Client(service.url) as client:
                request_id = (await upload(client, manifest)).request_id
                async for _ in client.progress(request_id):
                    pass
                began = time.monotonic()
                states = [state async for state in client.progress(request_id)]
                return states, time.monotonic() - began

        states, took_s = asyncio.run(asyncio.wait_for(story(), 60))

    assert [state.status for state in states] == [RequestStatus.COMPLETED]
    assert took_s < 1
