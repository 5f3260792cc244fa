"""Ten requests of one tenant have no more of the workers than one of another's (promise P11, between tenants)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
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

Run = Callable[[Callable[[Runtime], Any]], Any]


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product is done by recording it; turns have one product each, as the settings of these tests say."""

    async def do(runtime: Runtime, claim: ClaimedProduct, slot: int) -> None:
        def record(connection: Connection) -> None:
            for image in claim.images:
                claims.record_image(connection, claim, image.id, DONE)

        await runtime.db.write(record)

    monkeypatch.setattr(worker_pool, "_do", do)


class Line:
    """The workers, one after the other: who comes first is served first."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._redis = redis.Redis.from_url(settings.redis_url)
        self.turns: Counter[UUID] = Counter()

    async def turn(self) -> bool:
        number = self._redis.lpop(f"{NAMESPACE}:images")
        if number is None:
            return False
        message = json.loads(self._redis.hget(f"{NAMESPACE}:images.msgs", number))  # type: ignore[arg-type]
        self._redis.hdel(f"{NAMESPACE}:images.msgs", number)
        request_id, slot = UUID(message["args"][0]), message["args"][1]
        self.turns[request_id] += 1
        await worker_pool.drain(self._runtime, request_id, slot)
        return True

    def close(self) -> None:
        self._redis.close()


async def accepted(runtime: Runtime, products: int, tenant_id: UUID = DEFAULT_TENANT) -> UUID:
    request_id = given_request(runtime.db, *([1] * products), tenant_id=tenant_id)
    await enqueue_workers(runtime, request_id, Priority.NORMAL)
    return request_id


@pytest.mark.parametrize(("open_requests", "share"), [(0, 32), (1, 32), (2, 16), (10, 3), (32, 1), (1000, 1)])
def test_a_tenants_places_are_shared_by_its_open_requests(open_requests: int, share: int) -> None:
    assert share_of(32, open_requests) == share


async def test_while_one_tenant_has_ten_requests_anothers_has_every_other_turn(
    runtime: Runtime, settings: Settings
) -> None:
    line = Line(runtime, settings)
    many = [await accepted(runtime, 60) for _ in range(10)]
    # The first had all places to itself, the second half of them: each such call has one turn yet.
    at_first = [32, 16, 10, 8, 6, 5, 4, 4, 3, 3]
    assert [len(runtime.queue.census().pictures[each]) for each in many] == at_first
    for _ in range(sum(at_first)):
        await line.turn()
    assert runtime.queue.census().pictures == {each: {0, 1, 2} for each in many}

    one = await accepted(runtime, 64, given_tenant(runtime.db, "other"))
    assert runtime.queue.census().pictures[one] == set(range(32))
    line.turns.clear()
    while now_of(runtime, one).processed_products < 64:
        await line.turn()

    # It came behind thirty calls, as many as it then has in each round.
    assert line.turns[one] == 64
    assert sum(line.turns[each] for each in many) == 60
    assert {line.turns[each] for each in many} == {6}
    line.close()


async def test_the_places_of_a_request_that_has_ended_are_its_siblings(runtime: Runtime, settings: Settings) -> None:
    line = Line(runtime, settings)
    short = [await accepted(runtime, 1) for _ in range(9)]
    long = await accepted(runtime, 200)
    assert runtime.queue.census().pictures[long] == {0, 1, 2}
    for _ in range(9):
        await line.turn()
    assert all(now_of(runtime, each).processed_products == 1 for each in short)

    # They cannot end, since no CSV was stored for them: that is an end as well.
    for each in short:
        await lifecycle.finish(runtime, each)
    assert all(now_of(runtime, each).status.is_terminal for each in short)

    # Without a sweep.
    assert runtime.queue.census().pictures[long] == set(range(32))
    line.close()


async def test_a_sweep_after_redis_forgot_all_sends_each_request_its_share(
    runtime: Runtime, settings: Settings
) -> None:
    many = [await accepted(runtime, 40) for _ in range(10)]
    one = await accepted(runtime, 40, given_tenant(runtime.db, "other"))
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()

    for _ in range(2):
        await reconcile(runtime)

    expected: dict[UUID, set[int]] = {each: {0, 1, 2} for each in many} | {one: set(range(32))}
    assert runtime.queue.census().pictures == expected


async def test_a_call_for_a_slot_that_has_its_turn_here_is_dropped(runtime: Runtime) -> None:
    """The sweep takes the call of a turn that lasts for lost, and sends it again."""

    request_id = await accepted(runtime, 2)
    runtime.turns[request_id].add(0)

    await worker_pool.drain(runtime, request_id, 0)
    assert now_of(runtime, request_id).processed_products == 0
    await worker_pool.drain(runtime, request_id, 1)
    assert now_of(runtime, request_id).processed_products == 1


def now_of(runtime: Runtime, request_id: UUID) -> Snapshot:
    def read(connection: Connection) -> Snapshot:
        tenant_id = queries.tenant_of_request(connection, request_id)
        found = queries.get_request(connection, tenant_id, request_id) if tenant_id else None
        assert found is not None
        return found

    return runtime.db.read_now(read)
