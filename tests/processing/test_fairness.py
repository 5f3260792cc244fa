"""Ten requests of one tenant get no larger share of the workers than one request of another (promise P11)."""

from __future__ import annotations

import json
from collections import Counter
from uuid import UUID

import pytest
import redis
from sqlalchemy import Connection

from gql_imgproc.enums import Priority
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.messaging.queue import NAMESPACE
from gql_imgproc.processing import worker_pool
from gql_imgproc.requests import lifecycle
from gql_imgproc.requests.notify import enqueue_workers, share_of
from gql_imgproc.requests.repository import claims, queries
from gql_imgproc.requests.repository.claims import ClaimedProduct
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.api_keys import given_tenant
from tests.support.scenarios import DONE, given_request


@pytest.fixture(autouse=True)
def _instant_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are recorded without processing; a turn is one product, since the tests set `turn_seconds` to 0."""

    async def record_product(runtime: Runtime, claim: ClaimedProduct, slot: int) -> None:
        def record(connection: Connection) -> None:
            for image in claim.images:
                claims.record_image(connection, claim, image.id, DONE)

        await runtime.db.write(record)

    monkeypatch.setattr(worker_pool, "_process_product", record_product)


class MessageRunner:
    """One worker that handles the messages of the queue in order."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._redis = redis.Redis.from_url(settings.redis_url)
        self.turns: Counter[UUID] = Counter()

    async def run_next(self) -> bool:
        message_id = self._redis.lpop(f"{NAMESPACE}:images")
        if message_id is None:
            return False
        message = json.loads(self._redis.hget(f"{NAMESPACE}:images.msgs", message_id))  # type: ignore[arg-type]
        self._redis.hdel(f"{NAMESPACE}:images.msgs", message_id)
        request_id, slot = UUID(message["args"][0]), message["args"][1]
        self.turns[request_id] += 1
        await worker_pool.drain(self._runtime, request_id, slot)
        return True

    def close(self) -> None:
        self._redis.close()


async def given_enqueued_request(runtime: Runtime, products: int, tenant_id: UUID = DEFAULT_TENANT) -> UUID:
    request_id = given_request(runtime.db, *([1] * products), tenant_id=tenant_id)
    await enqueue_workers(runtime, request_id, Priority.NORMAL)
    return request_id


@pytest.mark.parametrize(("open_requests", "share"), [(0, 32), (1, 32), (2, 16), (10, 3), (32, 1), (1000, 1)])
def test_slots_of_a_tenant_are_shared_by_its_open_requests(open_requests: int, share: int) -> None:
    assert share_of(32, open_requests) == share


async def test_tenant_with_one_request_gets_half_of_the_turns(runtime: Runtime, settings: Settings) -> None:
    runner = MessageRunner(runtime, settings)
    many = [await given_enqueued_request(runtime, 60) for _ in range(10)]
    # The first request was alone and got all slots, the second got half: each of these messages has one turn left.
    initial_slots = [32, 16, 10, 8, 6, 5, 4, 4, 3, 3]
    assert [len(runtime.queue.census().images[each]) for each in many] == initial_slots
    for _ in range(sum(initial_slots)):
        await runner.run_next()
    assert runtime.queue.census().images == {each: {0, 1, 2} for each in many}

    one = await given_enqueued_request(runtime, 64, given_tenant(runtime.db, "other"))
    assert runtime.queue.census().images[one] == set(range(32))
    runner.turns.clear()
    while read_request(runtime, one).processed_products < 64:
        await runner.run_next()

    # The queue had thirty messages of the others, as many as its own in each round.
    assert runner.turns[one] == 64
    assert sum(runner.turns[each] for each in many) == 60
    assert {runner.turns[each] for each in many} == {6}
    runner.close()


async def test_slots_of_a_finished_request_go_to_the_other_requests_of_its_tenant(
    runtime: Runtime, settings: Settings
) -> None:
    runner = MessageRunner(runtime, settings)
    short = [await given_enqueued_request(runtime, 1) for _ in range(9)]
    long = await given_enqueued_request(runtime, 200)
    assert runtime.queue.census().images[long] == {0, 1, 2}
    for _ in range(9):
        await runner.run_next()
    assert all(read_request(runtime, each).processed_products == 1 for each in short)

    # They fail, since no CSV was stored for them; a failed request is finished, too.
    for each in short:
        await lifecycle.advance(runtime, each)
    assert all(read_request(runtime, each).status.is_terminal for each in short)

    # This needs no reconcile.
    assert runtime.queue.census().images[long] == set(range(32))
    runner.close()


async def test_reconcile_after_a_redis_flush_sends_each_request_its_share(runtime: Runtime, settings: Settings) -> None:
    many = [await given_enqueued_request(runtime, 40) for _ in range(10)]
    one = await given_enqueued_request(runtime, 40, given_tenant(runtime.db, "other"))
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()

    for _ in range(2):
        await reconcile(runtime)

    expected: dict[UUID, set[int]] = {each: {0, 1, 2} for each in many} | {one: set(range(32))}
    assert runtime.queue.census().images == expected


async def test_message_for_a_slot_that_has_a_running_turn_is_dropped(runtime: Runtime) -> None:
    """Reconcile takes the message of a long turn for lost, and sends it again."""
    request_id = await given_enqueued_request(runtime, 2)
    runtime.turns[request_id].add(0)

    await worker_pool.drain(runtime, request_id, 0)
    assert read_request(runtime, request_id).processed_products == 0
    await worker_pool.drain(runtime, request_id, 1)
    assert read_request(runtime, request_id).processed_products == 1


def read_request(runtime: Runtime, request_id: UUID) -> Snapshot:
    def read(connection: Connection) -> Snapshot:
        tenant_id = queries.tenant_of_request(connection, request_id)
        found = queries.get_request(connection, tenant_id, request_id) if tenant_id else None
        assert found is not None
        return found

    return runtime.db.read_now(read)
