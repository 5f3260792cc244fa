"""The hub with a real Redis, and with one that does not respond (promise P10)."""

from __future__ import annotations

import asyncio
import socket

import pytest
import redis

from gql_imgproc.ids import new_id
from gql_imgproc.messaging import pubsub
from gql_imgproc.messaging.pubsub import Event, Hub
from tests.support.waiting import until


def new_channel() -> str:
    return f"test:{new_id()}"


async def test_every_subscriber_gets_the_newest_event_of_its_channel(redis_url: str) -> None:
    channel, other = new_channel(), new_channel()
    hub = Hub(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        async with hub.subscribe(channel) as one, hub.subscribe(channel) as two:
            for published, sequence in ((channel, 2), (other, 9), (channel, 4), (channel, 3)):
                client.publish(published, Event(sequence, b"state").to_bytes())
            # Published last, so received last.
            async with hub.subscribe(other) as last:
                client.publish(other, Event(9, b"state").to_bytes())
                assert await last.take(5) == Event(9, b"state")
            assert [await one.take(1), await two.take(1)] == [Event(4, b"state")] * 2
    await hub.aclose()


async def test_malformed_event_is_ignored(redis_url: str) -> None:
    channel = new_channel()
    hub = Hub(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        async with hub.subscribe(channel) as latest:
            for event in (b"", b"null", b"one {}", b"\xff", Event(2, b"{} and a blank").to_bytes()):
                client.publish(channel, event)

            assert await latest.take(5) == Event(2, b"{} and a blank")
            assert hub.is_connected
    await hub.aclose()


async def test_silent_redis_delays_each_subscriber_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "CONFIRM_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        hub = Hub(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

        async def subscribe() -> None:
            async with hub.subscribe(new_channel()):
                assert not hub.is_connected

        # One after the other, 200 subscribers would wait for 20 s.
        async with asyncio.timeout(10):
            await asyncio.gather(*(subscribe() for _ in range(200)))
        await hub.aclose()


async def test_lost_connection_wakes_subscribers(redis_url: str) -> None:
    """Promise P10: an event that was published meanwhile is lost, so they read the database at once."""
    hub = Hub(redis_url)
    async with hub.subscribe(new_channel()) as latest:
        taken = asyncio.create_task(latest.take(600))
        await asyncio.sleep(0)
        with redis.Redis.from_url(redis_url) as client:
            client.client_kill_filter(_type="pubsub")

        assert await asyncio.wait_for(taken, 10) is None
        assert not hub.is_connected
    await hub.aclose()


async def test_subscribers_that_leave_at_once_leave_no_channel_and_disturb_no_other(redis_url: str) -> None:
    hub = Hub(redis_url)
    channels = [new_channel() for _ in range(20)]

    async def subscribe(channel: str) -> None:
        async with hub.subscribe(channel):
            pass

    async with hub.subscribe(channels[0]) as latest:
        # When subscribers of this and of other channels are cancelled, after any number of steps,
        for steps in range(40):
            tasks = [asyncio.create_task(subscribe(channel)) for channel in channels]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        # then the one that stays still gets its events over the same connection, and Redis has no other channel.
        with redis.Redis.from_url(redis_url) as client:
            client.publish(channels[0], Event(2, b"state").to_bytes())
            assert await latest.take(5) == Event(2, b"state")
            assert hub.is_connected
            async with hub.subscribe(channels[1]) as again:
                client.publish(channels[1], Event(3, b"state").to_bytes())
                assert await again.take(5) == Event(3, b"state")
            ours = {channel.encode() for channel in channels}
            await until(lambda: ours.intersection(client.pubsub_channels("test:*")) == {channels[0].encode()})
    await hub.aclose()
