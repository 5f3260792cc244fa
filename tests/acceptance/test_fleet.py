"""Several hosts that share only a PostgreSQL, a Redis and an S3 server: the loss of one only delays the others.

The test ID names the kind of hosts: network namespaces with links, or processes that are suspended.
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
from gql_imgproc.ids import IdPrefix, parse_global_id
from tests.acceptance.cluster import PUBLIC_URL, TIMEOUT_S, Fleet, wait_until
from tests.acceptance.graphql_client import Watcher, upload, watch
from tests.acceptance.netns import available_kind, network
from tests.acceptance.test_webhook import receiver

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces of Linux"),
]

#: Images of a request, one per product. MANY leaves time to disconnect a host.
IMAGES, MANY = 60, 150
#: Images of a request in flight on three workers: each uses three quarters of its eight threads.
IN_FLIGHT = 18
#: Images per request while everything is restarted, and number of open requests.
FEW, OPEN = 24, 2
#: Promise P2, and a margin for the last images on a machine that also runs other tests, in seconds.
RESUMED_S, MARGIN_S = 20.0, 15.0


@dataclass
class World:
    fleet: Fleet
    hook: str
    calls: list[tuple[dict[str, str], bytes]]

    def csv(self, images: int) -> bytes:
        rows = (f"{n},Product {n},{self.fleet.images_url}/{n}.jpg\n" for n in range(1, images + 1))
        return ("S. No.,Product Name,Input Image Urls\n" + "".join(rows)).encode()

    def webhooks(self) -> Counter[str]:
        """Number of webhooks per request."""
        return Counter(json.loads(body)["data"]["id"] for _, body in list(self.calls))


@pytest.fixture(params=[available_kind()])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with network(request.param) as net, ExitStack() as stack:
        hook, calls = stack.enter_context(receiver([204], net.ip))
        yield World(Fleet(net, tmp_path, stack), hook, calls)


@pytest.mark.timeout(600)
def test_fleet_loses_nothing_when_a_host_is_disconnected_or_all_are_restarted(world: World) -> None:
    """One fleet for all scenarios, since starting it takes as long as a scenario."""
    try:
        for scenario in (disconnect_worker, disconnect_api, restart_everything):
            asyncio.run(scenario(world))
    except BaseException:
        print(world.fleet.read_logs())  # noqa: T201 - pytest shows it
        raise
    for service in world.fleet.services():
        service.terminate()
    assert [service.wait() for service in world.fleet.services()] == [0] * 5


@asynccontextmanager
async def watched_request(world: World, *, at: int, watched_at: tuple[int, ...], images: int = IMAGES) -> Any:
    """A request and its watchers, each of which connects to the given API first. Waits until all saw the end."""
    apis = [api.url for api in world.fleet.apis]
    request_id = await upload([apis[at]], world.csv(images), world.hook)
    watchers = [Watcher() for _ in watched_at]
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
        for first, watcher in zip(watched_at, watchers, strict=True):
            tasks.create_task(watch([apis[first], apis[1 - first]], request_id, watcher))
        yield request_id, watchers


async def disconnect_worker(world: World) -> None:
    """While it processes images and its open transaction locks a row that all others need to record results."""
    lost, *_ = world.fleet.workers
    async with watched_request(world, at=0, watched_at=(1,), images=MANY) as (request_id, (watcher,)):
        await watcher.wait_for(1)
        uuid = parse_global_id(request_id, IdPrefix.REQUEST)
        assert uuid is not None
        await asyncio.to_thread(lost.lock, uuid)
        await asyncio.to_thread(wait_until, lambda: count_lock_waits(world) >= len(world.fleet.workers) - 1)
        lost.host.disconnect()
        disconnected_at, processed = time.monotonic(), watcher.processed_images
        completed_by_lost = lost.count_logged("image completed")
        assert processed < MANY - 2 * IN_FLIGHT
        await watcher.wait_for(processed + IN_FLIGHT + 1)
        assert time.monotonic() - disconnected_at < RESUMED_S
    assert time.monotonic() - disconnected_at < RESUMED_S + MARGIN_S
    assert_completed(world, request_id, MANY, watcher)
    before = read_rows(world, request_id)

    lost.host.reconnect()

    # It processes other requests, and its results for this one are dropped.
    while lost.count_logged("image completed") == completed_by_lost:
        async with watched_request(world, at=1, watched_at=(0, 1)) as (next_id, watchers):
            pass
        assert_completed(world, next_id, IMAGES, *watchers)
    assert read_rows(world, request_id) == before


def count_lock_waits(world: World) -> int:
    """Number of transactions that wait for a row lock."""
    with psycopg.connect(world.fleet.database_url) as connection:
        result = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        return int(result.fetchone()[0])  # type: ignore[index]  # a count has one row


async def disconnect_api(world: World) -> None:
    remaining, lost = world.fleet.apis
    async with watched_request(world, at=1, watched_at=(0, 1, 1)) as (request_id, watchers):
        await asyncio.gather(*(watcher.wait_for(IMAGES // 6) for watcher in watchers))
        lost.host.disconnect()

    failed_over = [lost.url, remaining.url]
    assert [watcher.connections for watcher in watchers] == [[remaining.url], failed_over, failed_over]
    lost.host.reconnect()
    await asyncio.to_thread(wait_until, lost.is_ready)
    assert_completed(world, request_id, IMAGES, *watchers)


async def restart_everything(world: World) -> None:
    """Under load: requests are uploaded one after the other to any available API, and each is watched."""
    fleet = world.fleet
    apis = [api.url for api in fleet.apis]
    seen: dict[str, Watcher] = {}
    is_enough = asyncio.Event()

    async def upload_repeatedly() -> None:
        for order in cycle((apis, apis[::-1])):
            if is_enough.is_set():
                return
            request_id = await upload(order, world.csv(FEW), world.hook)
            assert request_id not in seen
            seen[request_id] = Watcher()
            await watch(order[::-1], request_id, seen[request_id])

    async with asyncio.timeout(4 * TIMEOUT_S), asyncio.TaskGroup() as tasks:
        for _ in range(OPEN):
            tasks.create_task(upload_repeatedly())
        for api in fleet.apis:
            api.terminate()
            assert await asyncio.to_thread(api.wait) == 0
            api.start()
            await asyncio.to_thread(wait_until, api.is_ready)
        for worker in fleet.workers:
            worker.terminate()
            assert await asyncio.to_thread(worker.wait) == 0
            before = worker.count_logged("image completed")
            worker.start()
            await asyncio.to_thread(
                wait_until, lambda worker=worker, before=before: worker.count_logged("image completed") > before
            )
        for server in (fleet.redis, fleet.postgresql):
            await asyncio.to_thread(server.restart)
            # Two more requests are uploaded before the next server is restarted.
            uploaded = len(seen)
            while len(seen) < uploaded + 2:  # noqa: ASYNC110 - other processes make progress
                await asyncio.sleep(0.05)
        is_enough.set()

    assert_all_accepted_once(world, seen)


def assert_all_accepted_once(world: World, seen: dict[str, Watcher]) -> None:
    assert len(seen) > OPEN
    for request_id, watcher in seen.items():
        assert_completed(world, request_id, FEW, watcher)
    # Nothing else was accepted: a retried upload is the same request.
    assert set(world.webhooks()) >= set(seen)
    with psycopg.connect(world.fleet.database_url) as connection:
        known = {
            UUID(str(row[0])) for row in connection.execute("SELECT id FROM requests WHERE total_images = %s", [FEW])
        }
    assert known == {parse_global_id(request_id, IdPrefix.REQUEST) for request_id in seen}


def read_rows(world: World, request_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The rows of a request and its images."""
    uuid = parse_global_id(request_id, IdPrefix.REQUEST)
    with psycopg.connect(world.fleet.database_url, row_factory=dict_row) as connection:
        (request,) = connection.execute("SELECT * FROM requests WHERE id = %s", [uuid]).fetchall()
        images = connection.execute("SELECT * FROM images WHERE request_id = %s ORDER BY id", [uuid]).fetchall()
    return request, images


def assert_completed(world: World, request_id: str, count: int, *watchers: Watcher) -> None:
    """Every image occurs once: for the watchers, in the database, in the store, in the output CSV of both APIs."""
    for watcher in watchers:
        sequences = [state.sequence for state in watcher.states]
        last = watcher.states[-1]
        assert sequences == sorted(sequences)
        assert (last.status, last.processed_images, last.failed_images) == (RequestStatus.COMPLETED, count, 0)

    request, images = read_rows(world, request_id)
    assert Counter(image["status"] for image in images) == {"COMPLETED": count}
    assert (request["processed_images"], request["processed_products"]) == (count, count)
    for column in ("input_bytes", "output_bytes"):
        assert request[column] == sum(image[column] for image in images)
        assert {getattr(watcher.states[-1], column) for watcher in watchers} == {request[column]}

    apis = [api.url for api in world.fleet.apis]
    with httpx.Client(trust_env=False) as client:
        (output,) = {client.get(f"{api}/api/download/{request_id}").raise_for_status().text for api in apis}
        listed = list(csv.DictReader(io.StringIO(output.removeprefix("\ufeff"))))
        assert [row["S. No."] for row in listed] == [str(n) for n in range(1, count + 1)]
        urls = {row["Output Image Urls"].rpartition("/")[0] for row in listed}
        assert len(urls) == count
        # One in three is enough, since each download takes a while.
        for image, api in zip(images[::3], cycle(apis)):
            path = f"/api/image/{image['stored_by'].hex}/{image['object_name']}"
            assert f"{PUBLIC_URL}{path}" in urls
            stored = client.get(f"{api}{path}").raise_for_status().content
            assert (len(stored), hashlib.sha256(stored).hexdigest()) == (image["output_bytes"], image["sha256"])

    wait_until(lambda: world.webhooks()[request_id] > 0)
    # Sent once, and once more if the sender could not record it.
    assert world.webhooks()[request_id] <= 2
