"""Reconcile sends lost messages again (promises P1 to P3)."""

from __future__ import annotations

import asyncio

import pytest
import redis

from gql_imgproc.enums import RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.requests.repository import lanes, queries, transitions
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.scenarios import ready_lanes, try_claim
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"
THREE_ROWS = HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 4))


def flush(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()


async def test_permit_is_sent_again_after_a_redis_flush(runtime: Runtime, settings: Settings) -> None:
    """Promise P3."""
    await upload(runtime, THREE_ROWS)
    flush(settings)
    assert runtime.queue.count_permits() == 0

    await reconcile(runtime)

    assert runtime.queue.count_permits() == 1


async def test_reconcile_keeps_one_permit_waiting(runtime: Runtime) -> None:
    await upload(runtime, THREE_ROWS)

    for _ in range(3):
        await reconcile(runtime)

    assert runtime.queue.count_permits() == 1


async def test_permit_is_sent_for_images_with_an_expired_lease(runtime: Runtime, settings: Settings) -> None:
    """Promise P2."""
    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id
    # A lane that has fewer images than asked for sleeps until the lease of one of them expires.
    assert len(try_claim(runtime.db, request_id, 4, lease_s=0)) == 3
    assert await runtime.db.read(ready_lanes, request_id) == []
    flush(settings)

    # Not sooner than after a fifth of a second.
    while await runtime.db.read(lanes.seconds_to_next_wake):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await reconcile(runtime)

    assert runtime.queue.count_permits() == 1
    assert len(try_claim(runtime.db, request_id, 4)) == 3


async def test_nothing_is_permitted_without_a_due_image(runtime: Runtime, settings: Settings) -> None:
    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id
    assert len(try_claim(runtime.db, request_id, 4)) == 3
    flush(settings)

    await reconcile(runtime)

    assert runtime.queue.count_permits() == 0


async def test_stopping_request_is_finished_after_its_message_was_lost(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    await runtime.db.write(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    flush(settings)

    await reconcile(runtime)
    assert runtime.queue.lengths()["control"] == 1

    await work_all(runtime)
    final = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert final is not None
    assert final.status is RequestStatus.CANCELLED


async def test_interrupted_ingestion_is_continued(runtime: Runtime, settings: Settings) -> None:
    rows = "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, 2502))
    await upload(runtime, HEADER + rows)
    flush(settings)

    await reconcile(runtime)

    assert runtime.queue.lengths()["control"] == 1


async def test_reconcile_reads_all_requests_in_pages(
    settings: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.settings = settings.model_copy(update={"request_deadline_seconds": 0.0})
    monkeypatch.setattr("gql_imgproc.maintenance.reconcile.PAGE_SIZE", 2)
    for _ in range(5):
        await upload(runtime, THREE_ROWS)

    await reconcile(runtime)

    assert runtime.queue.lengths()["control"] == 5


async def test_request_past_its_deadline_fails(settings: Settings, runtime: Runtime) -> None:
    """Promise P7."""
    runtime.settings = settings.model_copy(update={"request_deadline_seconds": 0.0})
    request_id = (await upload(runtime, THREE_ROWS)).snapshot.id

    await reconcile(runtime)
    await work_all(runtime)

    final = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert final is not None
    assert (final.status, final.failure_code, final.cancelled_images) == (RequestStatus.FAILED, "DEADLINE", 3)
