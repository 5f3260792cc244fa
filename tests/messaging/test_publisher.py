"""The publisher with a real Redis, and while that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gql_imgproc.messaging import outage
from gql_imgproc.messaging import publisher as publisher_module
from gql_imgproc.messaging.publisher import Publisher
from gql_imgproc.messaging.pubsub import Event
from tests.support.suspended_redis import suspended_redis
from tests.support.waiting import until

A, B, C = "test:a", "test:b", "test:c"


@pytest.fixture
async def received(redis_url: str) -> AsyncIterator[list[tuple[str, int]]]:
    """Channel and sequence of each published event."""
    events: list[tuple[str, int]] = []
    async with redis.asyncio.Redis.from_url(redis_url, socket_timeout=None) as client, client.pubsub() as pubsub:
        await pubsub.psubscribe("test:*")
        await pubsub.get_message(timeout=5)

        async def read() -> None:
            async for message in pubsub.listen():
                events.append((message["channel"].decode(), Event.from_bytes(message["data"]).sequence))

        reader = asyncio.create_task(read())
        yield events
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[Publisher]:
    opened = Publisher(redis_url)
    yield opened
    await opened.aclose()


def event(sequence: int) -> Event:
    return Event(sequence, b"state")


async def test_channel_is_published_at_most_once_per_interval(
    publisher: Publisher, received: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert publisher_module.MIN_INTERVAL_S == 0.2
    # Given an interval that does not end,
    monkeypatch.setattr(publisher_module, "MIN_INTERVAL_S", 600.0)

    # when two channels change often, the second one later than the first,
    publisher.publish(A, event(1))
    await until(lambda: received)
    for sequence in range(2, 50):
        publisher.publish(A, event(sequence))
        publisher.publish(B, event(sequence))
    await until(lambda: len(received) == 2)

    # then each is published once, until an event has to be published at once, or the process ends.
    publisher.publish(A, event(50), at_once=True)
    await until(lambda: len(received) == 3)
    publisher.publish(A, event(51))
    await publisher.aclose()
    await until(lambda: len(received) == 4)
    assert received == [(A, 1), (B, 49), (A, 50), (A, 51)]


async def test_last_event_of_a_burst_is_published(
    publisher: Publisher, received: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "MIN_INTERVAL_S", 0.05)

    publisher.publish(A, event(1))
    await until(lambda: received)
    # The second one arrives out of order.
    for sequence in (2, 9, 8):
        publisher.publish(A, event(sequence))
    await until(lambda: len(received) == 2)

    assert received == [(A, 1), (A, 9)]


async def test_newest_events_are_published_once_redis_answers_again(
    publisher: Publisher, received: list[tuple[str, int]], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Redis that does not answer,
    monkeypatch.setattr(outage, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(publisher_module, "RETRY_DELAY_S", 0.01)
    monkeypatch.setattr(publisher_module, "MAX_CHANNELS", 2)
    with suspended_redis(redis_url):
        # when three channels change often, and only two may wait,
        for sequence in range(1, 30):
            for channel in (A, B, C):
                publisher.publish(channel, event(sequence))
            await asyncio.sleep(0.01)
        assert received == []
        assert len(publisher._waiting) == 2

    # then the last event of these two is published when Redis answers again.
    await until(lambda: {(B, 29), (C, 29)} <= set(received))
    await until(lambda: not publisher._waiting)
