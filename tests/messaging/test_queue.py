"""Messages in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dramatiq.brokers.redis import RedisBroker

from gql_imgproc.ids import new_id
from gql_imgproc.messaging.queue import CONTROL_QUEUE, NAMESPACE, Queue, connect


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    queue = Queue(redis_url)
    yield queue
    queue.close()


def test_permits_and_control_messages_wait_in_separate_queues(queue: Queue) -> None:
    queue.process_images()
    queue.process_images()
    queue.advance(new_id())

    assert queue.count_permits() == 2
    assert queue.lengths() == {"images": 2, "control": 1}


def test_senders_are_not_counted_as_workers(queue: Queue, redis_url: str) -> None:
    queue.advance(new_id())
    assert queue.count_workers() == 0

    broker = RedisBroker(client=connect(redis_url), middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]
    next(broker.consume(CONTROL_QUEUE))

    assert queue.count_workers() == 1
    broker.close()
    broker.client.close()
