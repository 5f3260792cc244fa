"""How many messages of each queue a worker process takes at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dramatiq import Message

from gql_imgproc.messaging.queue import CONTROL_QUEUE, IMAGE_QUEUE, NAMESPACE, WORKER_THREADS, connect
from gql_imgproc.worker.broker import Broker


@pytest.fixture
def broker(redis_url: str) -> Iterator[Broker]:
    broker = Broker(is_waiting=lambda: False, client=connect(redis_url), namespace=NAMESPACE, middleware=[])
    for queue in (IMAGE_QUEUE, CONTROL_QUEUE):
        broker.declare_queue(queue)  # type: ignore[no-untyped-call]
    yield broker
    broker.close()


def send(broker: Broker, queue: str, *args: int) -> None:
    broker.enqueue(Message(queue_name=queue, actor_name="any", args=args, kwargs={}, options={}))


def test_process_takes_one_permit_and_leaves_a_thread_for_it(broker: Broker) -> None:
    # Given ten messages in each queue,
    for queue in (IMAGE_QUEUE, CONTROL_QUEUE):
        for _ in range(10):
            send(broker, queue)

    # when a process polls as Dramatiq does, with one prefetch for all queues,
    taken = {}
    for queue in (IMAGE_QUEUE, CONTROL_QUEUE):
        consumer = broker.consume(queue, prefetch=100, timeout=10)
        taken[queue] = 0
        while next(consumer) is not None:
            taken[queue] += 1
        consumer.close()

    # then a second permit stays for another process, and control messages have the other threads.
    assert taken == {IMAGE_QUEUE: 1, CONTROL_QUEUE: 7}
    assert sum(taken.values()) == WORKER_THREADS - 1


def test_process_without_work_takes_another_permit(redis_url: str, broker: Broker) -> None:
    # Given a process that used one of two permits for all images that are due,
    is_waiting = False
    client = connect(redis_url)
    of_test = Broker(is_waiting=lambda: is_waiting, client=client, namespace=NAMESPACE, middleware=[])
    send(broker, IMAGE_QUEUE, 1)
    send(broker, IMAGE_QUEUE, 2)
    consumer = of_test.consume(IMAGE_QUEUE)
    assert next(consumer).args == (1,)
    assert next(consumer) is None

    # when it has no more work,
    is_waiting = True

    # then the other permit tells it where to look.
    assert next(consumer).args == (2,)
    consumer.close()
    of_test.close()


def test_idle_process_takes_a_message_when_it_is_sent(
    broker: Broker, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that waits longer than this test may take,
    monkeypatch.setattr("gql_imgproc.worker.broker.QUEUE_WAIT_S", 0)
    consumer = broker.consume(CONTROL_QUEUE)
    with ThreadPoolExecutor(1) as pool, connect(redis_url) as client:
        waiting = pool.submit(next, consumer)
        while not client.info("clients")["blocked_clients"]:
            pass

        # when a message is sent,
        send(broker, CONTROL_QUEUE, 1)

        # then it has it, and others that come before it looks again keep their order.
        message = waiting.result(timeout=4)
        assert message is not None
        assert message.args == (1,)
        for n in (2, 3, 4):
            send(broker, CONTROL_QUEUE, n)
        assert [next(consumer).args for _ in range(3)] == [(2,), (3,), (4,)]
    consumer.close()
