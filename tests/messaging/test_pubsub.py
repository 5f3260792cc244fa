"""The hub, on a real Redis and on one that does not answer (promise P10)."""

from __future__ import annotations

import asyncio
import socket
import time
from dataclasses import replace

import redis

from gql_imgproc.ids import new_id
from gql_imgproc.messaging.pubsub import CONFIRM_SECONDS, Hub, Publisher, channel
from gql_imgproc.requests.snapshot import Snapshot
from tests.requests.test_snapshot import OPEN


def some(sequence: int) -> Snapshot:
    return replace(OPEN, id=new_id(), sequence=sequence)


def test_every_watcher_gets_the_newest_snapshot_of_its_request(redis_url: str) -> None:
    async def story() -> None:
        mine, other = some(2), some(9)
        hub, publisher = Hub(redis_url), Publisher(redis_url)
        async with hub.subscribe(mine.id) as one, hub.subscribe(mine.id) as two:
            for snapshot in (mine, other, replace(mine, sequence=4), replace(mine, sequence=3)):
                await asyncio.to_thread(publisher.publish, snapshot)
            # Published last, hence seen last.
            async with hub.subscribe(other.id) as last:
                await asyncio.to_thread(publisher.publish, other)
                assert await last.take(5) == other
            assert [await one.take(1), await two.take(1)] == [replace(mine, sequence=4)] * 2
        publisher.close()
        await hub.aclose()

    asyncio.run(story())


def test_an_event_that_cannot_be_read_disturbs_nobody(redis_url: str) -> None:
    async def story() -> None:
        mine = some(2)
        hub, publisher = Hub(redis_url), Publisher(redis_url)
        with redis.Redis.from_url(redis_url) as client:
            async with hub.subscribe(mine.id) as inbox:
                for event in (b"", b"null", b'{"id": 1}', b"\xff"):
                    client.publish(channel(mine.id), event)
                await asyncio.to_thread(publisher.publish, mine)

                assert await inbox.take(5) == mine
                assert hub.connected
        publisher.close()
        await hub.aclose()

    asyncio.run(story())


def test_an_event_of_a_newer_version_is_understood(redis_url: str) -> None:
    mine = some(2)
    newer = mine.to_json().replace("{", '{"a_field_of_the_future": 1, ', 1)

    assert Snapshot.from_json(newer) == mine


def test_nobody_waits_long_for_a_redis_that_does_not_answer() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
            hub = Hub(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

            async def watch() -> float:
                began = time.monotonic()
                async with hub.subscribe(new_id()):
                    return time.monotonic() - began

            waits = await asyncio.gather(*(watch() for _ in range(6)))

            assert max(waits) < 3 * CONFIRM_SECONDS
            assert not hub.connected
            await hub.aclose()

    asyncio.run(story())
