"""The hub with a real Redis, and with one that does not respond (promise P10)."""

from __future__ import annotations

import asyncio
import socket
from uuid import UUID

import pytest
import redis

from gql_imgproc.ids import new_id
from gql_imgproc.messaging import pubsub
from gql_imgproc.messaging.pubsub import Event, Hub, channel
from tests.support.waiting import until


async def test_every_subscriber_gets_the_newest_event_of_its_topic(redis_url: str) -> None:
    topic, other_topic = new_id(), new_id()
    hub = Hub(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        async with hub.subscribe(topic) as one, hub.subscribe(topic) as two:
            for published_topic, sequence in ((topic, 2), (other_topic, 9), (topic, 4), (topic, 3)):
                client.publish(channel(published_topic), Event(sequence, b"state").to_bytes())
            # Published last, so received last.
            async with hub.subscribe(other_topic) as last:
                client.publish(channel(other_topic), Event(9, b"state").to_bytes())
                assert await last.take(5) == Event(9, b"state")
            assert [await one.take(1), await two.take(1)] == [Event(4, b"state")] * 2
    await hub.aclose()


async def test_malformed_event_is_ignored(redis_url: str) -> None:
    topic = new_id()
    hub = Hub(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        async with hub.subscribe(topic) as latest:
            for event in (b"", b"null", b"one {}", b"\xff", Event(2, b"{} and a blank").to_bytes()):
                client.publish(channel(topic), event)

            assert await latest.take(5) == Event(2, b"{} and a blank")
            assert hub.is_connected
    await hub.aclose()


async def test_silent_redis_delays_each_subscriber_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "CONFIRM_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        hub = Hub(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        async def subscribe() -> None:
            async with hub.subscribe(new_id()):
                assert not hub.is_connected

        # One after the other, 200 subscribers would wait for 20 s.
        async with asyncio.timeout(10):
            await asyncio.gather(*(subscribe() for _ in range(200)))
        await hub.aclose()


async def test_lost_connection_wakes_subscribers(redis_url: str) -> None:
    """Promise P10: an event that was published meanwhile is lost, so they read the database at once."""
    hub = Hub(redis_url)
    async with hub.subscribe(new_id()) as latest:
        taken = asyncio.create_task(latest.take(600))
        await asyncio.sleep(0)
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")

        assert await asyncio.wait_for(taken, 10) is None
        assert not hub.is_connected
    await hub.aclose()


async def test_subscribers_that_leave_at_once_leave_no_channel_and_disturb_no_other(redis_url: str) -> None:
    hub = Hub(redis_url)
    topics = [new_id() for _ in range(20)]

    async def subscribe(topic: UUID) -> None:
        async with hub.subscribe(topic):
            pass

    async with hub.subscribe(topics[0]) as latest:
        # When subscribers of this and of other topics are cancelled, after any number of steps,
        for steps in range(40):
            tasks = [asyncio.create_task(subscribe(topic)) for topic in topics]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        # then the one that stays still gets its events over the same connection, and Redis has no other channel.
        with redis.Redis.from_url(redis_url) as client:
            client.publish(channel(topics[0]), Event(2, b"state").to_bytes())
            assert await latest.take(5) == Event(2, b"state")
            assert hub.is_connected
            async with hub.subscribe(topics[1]) as again:
                client.publish(channel(topics[1]), Event(3, b"state").to_bytes())
                assert await again.take(5) == Event(3, b"state")
            ours = {channel(topic).encode() for topic in topics}
            await until(
                lambda: ours.intersection(client.pubsub_channels("progress:*")) == {channel(topics[0]).encode()}
            )
    await hub.aclose()
