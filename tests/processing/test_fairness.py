"""Ten requests of one tenant get no larger share of the workers than one request of another (promise P11)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import pytest
import redis
from sqlalchemy import Connection

from gql_imgproc.enums import Priority
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.messaging.host_budget import HostGrant
from gql_imgproc.processing.image_task import ImageTask
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.image_results import FinishedImage
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.api_keys import given_tenant
from tests.support.scenarios import finished_image, given_request


@pytest.fixture
def _instant_images(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are recorded without being processed, and their hosts may be asked at once."""

    async def grant_all(wanted: Mapping[str, int]) -> dict[str, HostGrant]:
        return {host: HostGrant((0.0,) * count, 0.0, False, 0.0, True) for host, count in wanted.items()}

    monkeypatch.setattr(runtime.host_budgets, "ask", grant_all)

    async def process(task: ImageTask) -> None:
        task._recorder.add(finished_image(task.image))

    monkeypatch.setattr(ImageTask, "process", process)


def read_request(runtime: Runtime, request_id: UUID) -> Snapshot:
    def read(connection: Connection) -> Snapshot:
        tenant_id = queries.tenant_of_request(connection, request_id)
        found = queries.get_request(connection, tenant_id, request_id) if tenant_id else None
        assert found is not None
        return found

    return runtime.db.read_now(read)


@pytest.mark.usefixtures("_instant_images")
@pytest.mark.parametrize(
    "requests_of_other",
    [pytest.param(1, marks=pytest.mark.slow), 10, pytest.param(60, marks=pytest.mark.slow)],
)
async def test_tenant_with_one_request_gets_half_of_the_picks(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, requests_of_other: int
) -> None:
    # Given many requests of one tenant, and one of another,
    many = [given_request(runtime.db, *([1] * (3_600 // requests_of_other))) for _ in range(requests_of_other)]
    one = given_request(runtime.db, *([1] * 1_200), tenant_id=given_tenant(runtime.db, "other"))

    # when one process works until the single request is done,
    pool = WorkerPool(runtime)
    record = pool._recorder.add

    def stop_at_the_end(*items: FinishedImage) -> None:
        record(*items)
        seen.extend(item.image.request_id for item in items)
        if seen.count(one) == 1_200:
            pool.stop()

    seen: list[UUID] = []
    monkeypatch.setattr(pool._recorder, "add", stop_at_the_end)
    await pool.use_permit()
    await pool.aclose()

    # then the other tenant had as many picks: its images differ by the randomness of 300 picks of four.
    assert read_request(runtime, one).processed_images == 1_200
    of_many = [read_request(runtime, each).processed_images for each in many]
    assert 840 <= sum(of_many) <= 1_680


@pytest.mark.usefixtures("_instant_images")
async def test_priorities_share_the_picks(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    by_priority = {
        priority: given_request(runtime.db, *([1] * 1_000), priority=priority)
        for priority in (Priority.HIGH, Priority.NORMAL, Priority.LOW)
    }
    pool = WorkerPool(runtime)
    record = pool._recorder.add
    counts = dict.fromkeys(by_priority.values(), 0)

    def stop_at_the_end(*items: FinishedImage) -> None:
        record(*items)
        for item in items:
            counts[item.image.request_id] += 1
        if counts[by_priority[Priority.HIGH]] >= 800:
            pool.stop()

    monkeypatch.setattr(pool._recorder, "add", stop_at_the_end)
    await pool.use_permit()
    await pool.aclose()

    high, normal, low = (counts[by_priority[priority]] for priority in by_priority)
    # Of 21 picks, 16 are HIGH, 4 NORMAL and 1 LOW: 200 and 50 are expected for 800.
    assert 100 <= normal <= 320
    assert 10 <= low <= 120
    assert high >= 800


async def test_reconcile_after_a_redis_flush_permits_work_once(runtime: Runtime, settings: Settings) -> None:
    given_request(runtime.db, *([1] * 40), tenant_id=DEFAULT_TENANT)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()

    assert await reconcile(runtime) == 1
    assert runtime.queue.lengths()["images"] == 1
    # One that waits is enough.
    assert await reconcile(runtime) == 0
    assert runtime.queue.lengths()["images"] == 1


async def test_second_permit_in_a_working_process_ends_at_once(runtime: Runtime) -> None:
    pool = WorkerPool(runtime)
    pool._has_permit = True

    await pool.use_permit()

    assert pool._bell.is_set()
    assert runtime.queue.lengths()["images"] == 0
    await pool.aclose()
