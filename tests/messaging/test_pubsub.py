"""The hub, on a real Redis and on one that does not answer (promise P10)."""

from __future__ import annotations

import asyncio
import socket
import time

import redis

from gql_imgproc.ids import new_id
from gql_imgproc.messaging.pubsub import CONFIRM_SECONDS, Event, Hub, Publisher, channel


async def test_every_watcher_gets_the_newest_event_of_its_topic(redis_url: str) -> None:
    mine, other = new_id(), new_id()
    hub, publisher = Hub(redis_url), Publisher(redis_url)
    async with hub.subscribe(mine) as one, hub.subscribe(mine) as two:
        for topic, sequence in ((mine, 2), (other, 9), (mine, 4), (mine, 3)):
            await asyncio.to_thread(publisher.publish, topic, Event(sequence, b"state"))
        # Published last, hence seen last.
        async with hub.subscribe(other) as last:
            await asyncio.to_thread(publisher.publish, other, Event(9, b"state"))
            assert await last.take(5) == Event(9, b"state")
        assert [await one.take(1), await two.take(1)] == [Event(4, b"state")] * 2
    publisher.close()
    await hub.aclose()


async def test_an_event_that_cannot_be_read_disturbs_nobody(redis_url: str) -> None:
    mine = new_id()
    hub, publisher = Hub(redis_url), Publisher(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        async with hub.subscribe(mine) as inbox:
            for event in (b"", b"null", b"one {}", b"\xff"):
                client.publish(channel(mine), event)
            await asyncio.to_thread(publisher.publish, mine, Event(2, b"{} and a blank"))

            assert await inbox.take(5) == Event(2, b"{} and a blank")
            assert hub.connected
    publisher.close()
    await hub.aclose()


async def test_nobody_waits_long_for_a_redis_that_does_not_answer() -> None:
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
