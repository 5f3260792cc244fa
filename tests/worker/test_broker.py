"""How many messages of each queue a worker process takes at once."""

from __future__ import annotations

from dramatiq import Message

from gql_imgproc.messaging.queue import CONTROL_QUEUE, IMAGE_QUEUE, NAMESPACE, connect
from gql_imgproc.worker.broker import WORKER_THREADS, Broker


def test_process_takes_one_permit_and_leaves_a_thread_for_it(redis_url: str) -> None:
    # Given ten messages in each queue,
    broker = Broker(client=connect(redis_url), namespace=NAMESPACE, middleware=[])  # type: ignore[no-untyped-call]
    for queue in (IMAGE_QUEUE, CONTROL_QUEUE):
        broker.declare_queue(queue)  # type: ignore[no-untyped-call]
        for _ in range(10):
            broker.enqueue(Message(queue_name=queue, actor_name="any", args=(), kwargs={}, options={}))

    # when a process polls as Dramatiq does, with one prefetch for all queues,
    taken = {}
    for queue in (IMAGE_QUEUE, CONTROL_QUEUE):
        consumer = broker.consume(queue, prefetch=100, timeout=10)
        taken[queue] = 0
        while next(consumer) is not None:
            taken[queue] += 1
        consumer.close()
    broker.close()

    # then a second permit stays for another process, and control messages have the other threads.
    assert taken == {IMAGE_QUEUE: 1, CONTROL_QUEUE: 7}
    assert sum(taken.values()) == WORKER_THREADS
