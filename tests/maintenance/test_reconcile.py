"""The sweep finds what was forgotten (promises P1 to P3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from gql_imgproc.enums import RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.requests.repository import claims, queries, transitions
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.services import ImageHost, jpeg, upload, work_all

Run = Callable[[Callable[[Runtime], Any]], Any]

HEADER = "S. No.,Product Name,Input Image Urls\n"
THREE_ROWS = HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 4))


def flush(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()


async def test_wake_up_calls_that_redis_forgot_are_sent_again(runtime: Runtime, settings: Settings) -> None:
    """Promise P3: losing everything in Redis loses nothing."""

    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id
    flush(settings)
    assert runtime.queue.census().pictures == {}

    await reconcile(runtime)

    assert runtime.queue.census().pictures == {request_id: set(range(3))}


async def test_a_sweep_sends_only_what_is_missing(runtime: Runtime) -> None:
    rows = "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 101))
    request_id = (await upload(runtime, HEADER + rows)).snapshot.id

    for _ in range(3):
        await reconcile(runtime)

    assert runtime.queue.census().pictures == {request_id: set(range(32))}


async def test_products_whose_worker_died_are_worked_on_again(runtime: Runtime, settings: Settings) -> None:
    """Promise P2."""

    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id
    for _ in range(3):
        await runtime.db.write(claims.claim_product, request_id, 0)
    flush(settings)

    await reconcile(runtime)

    assert runtime.queue.census().pictures == {request_id: set(range(3))}


async def test_a_request_that_nobody_finished_is_finished(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    await runtime.db.write(transitions.mark_stopping, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    flush(settings)

    await reconcile(runtime)
    assert runtime.queue.lengths()["control"] == 1

    await work_all(runtime)
    ended = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert ended is not None
    assert ended.status is RequestStatus.CANCELLED


async def test_an_ingestion_that_broke_off_is_taken_up(runtime: Runtime, settings: Settings) -> None:
    rows = "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 2502))
    await upload(runtime, HEADER + rows)
    flush(settings)

    await reconcile(runtime)

    assert runtime.queue.lengths()["control"] == 1


async def test_a_request_past_its_deadline_ends_as_failed(settings: Settings, runtime: Runtime) -> None:
    """Promise P7: every wait has an end."""

    runtime.settings = settings.model_copy(update={"request_deadline_seconds": 0.0})
    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id

    await reconcile(runtime)
    await work_all(runtime)

    ended = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert ended is not None
    assert (ended.status, ended.failure_code, ended.cancelled_images) == (RequestStatus.FAILED, "DEADLINE", 3)
