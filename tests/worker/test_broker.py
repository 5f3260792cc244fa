"""Which queues a worker polls."""

from __future__ import annotations

from dramatiq import Worker

from gql_imgproc.messaging.queue import CONTROL_QUEUE, IMAGE_QUEUES, NAMESPACE, connect
from gql_imgproc.worker.broker import UndelayedBroker


def test_worker_polls_only_the_declared_queues(redis_url: str) -> None:
    broker = UndelayedBroker(client=connect(redis_url), namespace=NAMESPACE, middleware=[])  # type: ignore[no-untyped-call]
    queues = {CONTROL_QUEUE, *IMAGE_QUEUES.values()}
    for queue in queues:
        broker.declare_queue(queue)

    worker = Worker(broker, worker_threads=1)
    worker.start()
    polled = set(worker.consumers)
    worker.stop()
    broker.close()

    assert polled == queues
