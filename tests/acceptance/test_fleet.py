"""Several hosts that share only a PostgreSQL, a Redis and an S3 server: the loss of one costs all others time only.

Its name tells in what the hosts were: namespaces of the network with cables, or processes that are stopped.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import request_id_from
from tests.acceptance.cluster import MOMENT_S, PUBLIC_URL, Fleet, until
from tests.acceptance.graphql_client import Watched, upload, watch
from tests.acceptance.netns import kind, network
from tests.acceptance.test_webhook import receiver

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(sys.platform != "linux", reason="namespaces of Linux")]

#: Pictures of a request; each is a product. There are many where time is needed to do something to it.
PICTURES, MANY = 60, 150
#: What three workers have in hand of a request at once: each three quarters of its eight places.
IN_HAND = 18
#: Pictures of each of the requests that are made while everything is restarted, and how many are open at once.
FEW, OPEN = 24, 2
#: Promise P2, and what the last pictures themselves may take on a machine that runs other tests as well, in seconds.
RESUMED_S, MARGIN_S = 20.0, 15.0


@dataclass
class World:
    fleet: Fleet
    hook: str
    calls: list[tuple[dict[str, str], bytes]]

    def manifest(self, pictures: int) -> bytes:
        rows = (f"{n},Product {n},{self.fleet.pictures}/{n}.jpg\n" for n in range(1, pictures + 1))
        return ("S. No.,Product Name,Input Image Urls\n" + "".join(rows)).encode()

    def webhooks(self) -> Counter[str]:
        """How often the end of each request was told."""
        return Counter(json.loads(body)["data"]["id"] for _, body in list(self.calls))


@pytest.fixture(params=[kind()])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with network(request.param) as net, ExitStack() as stack:
        hook, calls = stack.enter_context(receiver([204], net.address))
        yield World(Fleet(net, tmp_path, stack), hook, calls)


@pytest.mark.timeout(300)
def test_several_hosts_lose_nothing_when_one_is_cut_off_or_all_are_restarted(world: World) -> None:
    """One fleet for all stories, since a fleet takes as long to start as a story to be told."""
    try:
        for story in (a_worker_is_cut_off, an_api_is_cut_off, everything_is_restarted):
            asyncio.run(story(world))
    except BaseException:
        print(world.fleet.everything_said())  # noqa: T201 - pytest shows it
        raise
    for part in world.fleet.parts():
        part.ask_to_end()
    assert [part.ended() for part in world.fleet.parts()] == [0] * 5


@asynccontextmanager
async def request_under_way(world: World, *, at: int, watched_at: tuple[int, ...], pictures: int = PICTURES) -> Any:
    """A request, and for each number of an API one who watches it there first; ends when all have seen its end."""
    apis = [api.url for api in world.fleet.apis]
    request_id = await upload([apis[at]], world.manifest(pictures), world.hook)
    watchers = [Watched() for _ in watched_at]
    async with asyncio.timeout(MOMENT_S), asyncio.TaskGroup() as tasks:
        for first, watched in zip(watched_at, watchers, strict=True):
            tasks.create_task(watch([apis[first], apis[1 - first]], request_id, watched))
        yield request_id, watchers


async def a_worker_is_cut_off(world: World) -> None:
    """In the middle of pictures, and of a transaction that locks what all others need to record theirs."""
    cut, *_ = world.fleet.workers
    async with request_under_way(world, at=0, watched_at=(1,), pictures=MANY) as (request_id, (watched,)):
        await watched.until(1)
        named = request_id_from(request_id)
        assert named is not None
        await asyncio.to_thread(cut.lock, named)
        await asyncio.to_thread(until, lambda: waiting(world) >= IN_HAND)
        cut.host.unplug()
        cut_at, done, ended = time.monotonic(), watched.done, cut.said("image completed")
        assert done < MANY - 2 * IN_HAND
        await watched.until(done + IN_HAND + 1)
        assert time.monotonic() - cut_at < RESUMED_S
    assert time.monotonic() - cut_at < RESUMED_S + MARGIN_S
    assert_done(world, request_id, MANY, watched)
    before = rows(world, request_id)

    cut.host.plug_in()

    # It works for others, and what it had in hand is nobody's any more.
    while cut.said("image completed") == ended:
        async with request_under_way(world, at=1, watched_at=(0, 1)) as (next_id, watchers):
            pass
        assert_done(world, next_id, PICTURES, *watchers)
    assert rows(world, request_id) == before


def waiting(world: World) -> int:
    """How many transactions wait for a row that another has."""
    with psycopg.connect(world.fleet.database_url) as connection:
        asked = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(asked.fetchone()[0])  # type: ignore[index]  # a count has one row


async def an_api_is_cut_off(world: World) -> None:
    stays, cut = world.fleet.apis
    async with request_under_way(world, at=1, watched_at=(0, 1, 1)) as (request_id, watchers):
        await asyncio.gather(*(watched.until(PICTURES // 6) for watched in watchers))
        cut.host.unplug()

    assert [watched.connections for watched in watchers] == [[stays.url], [cut.url, stays.url], [cut.url, stays.url]]
    cut.host.plug_in()
    await asyncio.to_thread(until, cut.ready)
    assert_done(world, request_id, PICTURES, *watchers)


async def everything_is_restarted(world: World) -> None:
    """Under load: requests are made one after the other, at whichever API takes them, each watched by somebody."""
    fleet = world.fleet
    apis = [api.url for api in fleet.apis]
    seen: dict[str, Watched] = {}
    enough = asyncio.Event()

    async def go_on() -> None:
        turn = 0
        while not enough.is_set():
            turn += 1
            order = apis if turn % 2 else apis[::-1]
            request_id = await upload(order, world.manifest(FEW), world.hook)
            assert request_id not in seen
            seen[request_id] = Watched()
            await watch(order[::-1], request_id, seen[request_id])

    async with asyncio.timeout(2 * MOMENT_S), asyncio.TaskGroup() as tasks:
        for _ in range(OPEN):
            tasks.create_task(go_on())
        for api in fleet.apis:
            api.ask_to_end()
            assert await asyncio.to_thread(api.ended) == 0
            api.start()
            await asyncio.to_thread(until, api.ready)
        for worker in fleet.workers:
            worker.ask_to_end()
            assert await asyncio.to_thread(worker.ended) == 0
            ended = worker.said("image completed")
            worker.start()
            await asyncio.to_thread(until, lambda worker=worker, ended=ended: worker.said("image completed") > ended)
        for server in (fleet.redis, fleet.postgresql):
            await asyncio.to_thread(server.restart)
            # Work goes on before the next is restarted.
            done = len(seen)
            while len(seen) < done + 2:  # noqa: ASYNC110 - what is waited for comes from other processes
                await asyncio.sleep(0.05)
        enough.set()

    assert len(seen) > OPEN
    for request_id, watched in seen.items():
        assert_done(world, request_id, FEW, watched)
    # Nothing else was accepted: a call that was made again is the same request.
    assert set(world.webhooks()) >= set(seen)
    with psycopg.connect(fleet.database_url) as connection:
        known = {
            UUID(str(row[0])) for row in connection.execute("SELECT id FROM requests WHERE total_images = %s", [FEW])
        }
    assert known == {request_id_from(request_id) for request_id in seen}


def rows(world: World, request_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A request and its images, as they stand in the database."""
    named = request_id_from(request_id)
    with psycopg.connect(world.fleet.database_url, row_factory=dict_row) as connection:
        (request,) = connection.execute("SELECT * FROM requests WHERE id = %s", [named]).fetchall()
        images = connection.execute("SELECT * FROM images WHERE request_id = %s ORDER BY id", [named]).fetchall()
    return request, images


def assert_done(world: World, request_id: str, pictures: int, *watchers: Watched) -> None:
    """Every picture once: as watched, in the database, in the store, in the output that both APIs hand out."""
    for watched in watchers:
        sequences = [state.sequence for state in watched.states]
        last = watched.states[-1]
        assert sequences == sorted(sequences)
        assert (last.status, last.processed, last.failed) == (RequestStatus.COMPLETED, pictures, 0)

    request, images = rows(world, request_id)
    assert Counter(image["status"] for image in images) == {"COMPLETED": pictures}
    assert (request["processed_images"], request["processed_products"]) == (pictures, pictures)
    for counted in ("input_bytes", "output_bytes"):
        assert request[counted] == sum(image[counted] for image in images)
        assert {getattr(watched.states[-1], counted) for watched in watchers} == {request[counted]}

    apis = [api.url for api in world.fleet.apis]
    with httpx.Client(trust_env=False) as client:
        (output,) = {client.get(f"{api}/api/download/{request_id}").raise_for_status().text for api in apis}
        listed = list(csv.DictReader(io.StringIO(output.removeprefix("\ufeff"))))
        assert [row["S. No."] for row in listed] == [str(n) for n in range(1, pictures + 1)]
        addresses = {row["Output Image Urls"] for row in listed}
        assert len(addresses) == pictures
        # Each takes a while to be fetched, and one in three of many requests is enough.
        for image, api in zip(images[::3], cycle(apis)):
            path = f"/api/image/{request['id'].hex}/{image['object_name']}"
            assert f"{PUBLIC_URL}{path}" in addresses
            stored = client.get(f"{api}{path}").raise_for_status().content
            assert (len(stored), hashlib.sha256(stored).hexdigest()) == (image["output_bytes"], image["sha256"])

    until(lambda: world.webhooks()[request_id] > 0)
    # Told, and once more if who told it could not write down that it had.
    assert world.webhooks()[request_id] <= 2
