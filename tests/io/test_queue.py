"""Wake-up calls on a real Redis."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from gql_imgproc.identifiers import new_id
from gql_imgproc.io.queue import Census, Queue
from gql_imgproc.states import Priority


@pytest.fixture
def queue(redis_url: str) -> Iterator[Queue]:
    opened = Queue(redis_url)
    yield opened
    opened.close()


def test_calls_are_counted_per_request_and_queued_by_priority(queue: Queue) -> None:
    urgent, usual = new_id(), new_id()

    queue.work_on(urgent, Priority.HIGH, [0, 1])
    queue.work_on(usual, Priority.NORMAL, [0, 3, 7])
    queue.work_on(usual, Priority.LOW, [1])
    queue.ingest(usual)

    assert queue.census() == Census(
        defaultdict(set, {urgent: {0, 1}, usual: {0, 1, 3, 7}}), Counter({("ingest", usual): 1})
    )
    assert queue.lengths() == {"images-high": 2, "images": 3, "images-low": 1, "control": 1}
