"""Promise P10: a snapshot first, then states that never go back, then the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import redis

from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.requests import watch
from gql_imgproc.requests.lifecycle import advance
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.services import ImageHost, jpeg, upload, work_on_images

Run = Callable[[Callable[[Runtime], Any]], Any]

HEADER = "S. No.,Product Name,Input Image Urls\n"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MIN_INTERVAL_SECONDS", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for happens in another thread or process
        await asyncio.sleep(0.005)


async def watched(runtime: Runtime, request_id: Any) -> list[Snapshot]:
    async with aclosing(watch.watch(runtime, DEFAULT_TENANT, request_id)) as states:
        return [state async for state in states]


def csv_of(image_host: ImageHost, count: int) -> str:
    return HEADER + "".join(f"{n + 1},P,{image_host.add(f'/{n}.jpg', jpeg(n))}\n" for n in range(count))


async def test_watcher_receives_current_newer_and_final_snapshots(runtime: Runtime, image_host: ImageHost) -> None:
    request_id = (await upload(runtime, csv_of(image_host, 5))).snapshot.id
    watcher = asyncio.create_task(watched(runtime, request_id))
    await until(lambda: runtime.hub.is_connected)
    for _ in range(5):
        await work_on_images(runtime)
        await asyncio.sleep(0.02)
    await advance(runtime, request_id)

    states = await asyncio.wait_for(watcher, 10)

    sequences = [state.sequence for state in states]
    assert sequences == sorted(set(sequences))
    assert states[0].status is RequestStatus.PENDING
    assert len(states) > 3
    final = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert states[-1] == final
    assert states[-1].status is RequestStatus.COMPLETED


async def test_watcher_of_a_final_request_receives_one_snapshot(runtime: Runtime, image_host: ImageHost) -> None:
    request_id = (await upload(runtime, csv_of(image_host, 1))).snapshot.id
    await work_on_images(runtime)
    await advance(runtime, request_id)

    states = await asyncio.wait_for(watched(runtime, request_id), 5)

    assert [state.status for state in states] == [RequestStatus.COMPLETED]


async def test_watcher_of_an_unknown_request_receives_nothing(runtime: Runtime) -> None:
    assert await asyncio.wait_for(watched(runtime, new_id()), 5) == []


async def test_watcher_polls_the_database_after_lost_events(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)

    request_id = (await upload(runtime, csv_of(image_host, 1))).snapshot.id
    watcher = asyncio.create_task(watched(runtime, request_id))
    await until(lambda: runtime.hub.is_connected)
    monkeypatch.setattr(runtime.publisher, "publish", lambda *args, **options: None)
    await work_on_images(runtime)
    await advance(runtime, request_id)

    states = await asyncio.wait_for(watcher, 5)

    assert states[-1].status is RequestStatus.COMPLETED


async def test_watcher_survives_a_closed_redis_connection(
    runtime: Runtime, image_host: ImageHost, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS_WITHOUT_REDIS", 0.05)

    request_id = (await upload(runtime, csv_of(image_host, 1))).snapshot.id
    watcher = asyncio.create_task(watched(runtime, request_id))
    await until(lambda: runtime.hub.is_connected)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.client_kill_filter(_type="pubsub")
    await until(lambda: not runtime.hub.is_connected)
    await work_on_images(runtime)
    await until(lambda: runtime.hub.is_connected)
    await advance(runtime, request_id)

    states = await asyncio.wait_for(watcher, 10)

    assert states[-1].status is RequestStatus.COMPLETED
