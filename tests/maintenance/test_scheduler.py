"""Periodic tasks: leader lock, automatic retries, expiry, orphan cleanup."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, update

from gql_imgproc.database.tables import object_cleanups, requests
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.maintenance import retention
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.maintenance.scheduler import CLEANUP_SECONDS, PeriodicTask, run_as_leader, run_periodic_tasks
from gql_imgproc.requests import commands
from gql_imgproc.requests.lifecycle import advance
from gql_imgproc.requests.repository import cleanups, queries
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, input_key, legacy_image_key, object_name, output_key
from tests.support.api_clients import ANYBODY
from tests.support.scenarios import claim_image
from tests.support.services import (
    ImageHost,
    advance_in_background,
    background_work,
    jpeg,
    upload,
    work_all,
    work_on_images,
)

HEADER = "S. No.,Product Name,Input Image Urls\n"


async def read_state(runtime: Runtime, request_id: Any) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def plan_due_cleanups(runtime: Runtime) -> None:
    """Lets a cleanup of every request be due."""

    def plan(connection: Connection) -> None:
        for request_id in connection.scalars(select(requests.c.id)).all():
            cleanups.plan(connection, request_id)
        connection.execute(update(object_cleanups).values(due_at=now_plus(-1)))

    await runtime.db.write(plan)


async def test_periodic_task_runs_once_for_all_processes_and_is_recorded(runtime: Runtime) -> None:
    runs = []

    async def run(_: Runtime) -> int:
        runs.append(True)
        return 5

    await asyncio.gather(*(run_as_leader(runtime, PeriodicTask("something", run, 60)) for _ in range(10)))

    assert len(runs) == 1
    recorded = runtime.leader_locks.stats()["something"]
    assert (recorded.runs, recorded.items) == (1, 5)


async def test_all_periodic_tasks_run(runtime: Runtime) -> None:
    names = {"reconcile", "expiry", "renditions", "orphans", "deliveries", "audit_log"}

    run_periodic_tasks(runtime)

    async with asyncio.timeout(30):
        while set(runtime.leader_locks.stats()) != names:  # noqa: ASYNC110 - polls Redis
            await asyncio.sleep(0.01)


async def test_retryable_failures_get_three_automatic_retries(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    gone, flaky = f"{image_host.url}/gone.jpg", image_host.add("/flaky.jpg", jpeg(1))
    image_host.statuses["/flaky.jpg"] = [500] * 12

    runtime.settings = settings.model_copy(update={"auto_retry_seconds": 0})
    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{gone},{flaky}"\n')).snapshot.id
    started = []
    for _ in range(6):
        await work_all(runtime)
        final = await read_state(runtime, request_id)
        assert (final.status, final.failed_images) == (RequestStatus.FAILED, 2)
        await reconcile(runtime)
        started.append((await read_state(runtime, request_id)).generation - final.generation)

    # Three attempts per round; a URL that answers 404 is requested only once.
    assert started == [1, 1, 1, 0, 0, 0]
    assert image_host.requests.count("/flaky.jpg") == 12
    assert image_host.requests.count("/gone.jpg") == 1

    # The thirteenth response is the image.
    advance_in_background(runtime)
    await commands.retry_failed(runtime, ANYBODY, request_id)
    await work_all(runtime)
    final = await read_state(runtime, request_id)
    assert (final.status, final.processed_images) == (RequestStatus.COMPLETED_WITH_ERRORS, 1)


async def test_finished_request_is_deleted_after_its_retention(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    old, young = [(await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id for _ in range(2)]
    await work_all(runtime)
    still_open = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    age = update(requests).where(requests.c.id == old).values(completed_at=now_plus(-2 * 86_400))
    await runtime.db.write(lambda connection: connection.execute(age))

    assert await retention.delete_expired_requests(runtime) == 0
    runtime.settings = settings.model_copy(update={"retention_days": 1.5})
    assert await retention.delete_expired_requests(runtime) == 1
    assert await retention.delete_expired_requests(runtime) == 0
    await advance(runtime, old)
    await background_work(runtime)

    exists = await runtime.db.read(
        lambda connection: [
            queries.get_request(connection, DEFAULT_TENANT, request_id) is not None
            for request_id in (old, young, still_open)
        ]
    )
    assert exists == [False, True, True]
    keys = await runtime.storage.list_keys("requests/")
    assert {key.split("/")[1] for key in keys} == {young.hex, still_open.hex}


async def test_old_orphaned_objects_are_deleted(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    await work_all(runtime)
    done = await read_state(runtime, request_id)
    assert done.output_name is not None
    referenced = sorted(await list_keys(runtime))
    assert len(referenced) == 4
    orphans = [
        input_key(new_id()),
        image_key(new_id(), object_name(new_id(), "jpg")),
        image_key(request_id, object_name(new_id(), "jpg")),
        legacy_image_key(new_id(), f"{new_id().hex}-1.jpg"),
        legacy_image_key(request_id, f"{new_id().hex}-1.jpg"),
        output_key(request_id, "output-99.csv"),
    ]
    for key in orphans:
        await runtime.storage.put(key, b"orphan", "text/plain")
    # A foreign object, though its folder's name is as long as a request ID.
    foreign = [f"requests/{'foreign-notes':-<32}/a.txt"]
    await runtime.storage.put(foreign[0], b"foreign", "text/plain")
    await plan_due_cleanups(runtime)

    assert await retention.delete_orphans(runtime) == 0
    assert sorted(await list_keys(runtime)) == sorted(referenced + orphans + foreign)

    # The request is checked again a minute later, since some of its orphans were too young.
    assert await runtime.db.read(cleanups.list_due, 10) == []
    await plan_due_cleanups(runtime)
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
    assert await retention.delete_orphans(runtime) == 6
    assert sorted(await list_keys(runtime)) == sorted(referenced + foreign)
    assert await runtime.db.read(lambda connection: connection.scalar(select(object_cleanups.c.due_at))) is None


async def list_keys(runtime: Runtime) -> list[str]:
    return [*await runtime.storage.list_keys("requests/"), *await runtime.storage.list_keys("images/")]


def set_age(runtime: Runtime, key: str, age_s: float) -> None:
    """Lets an object have been stored `age_s` ago."""
    stored_at = time.time() - age_s
    os.utime(Path(urlsplit(runtime.storage.url).path) / key, (stored_at, stored_at))


async def claim(runtime: Runtime, request_id: UUID) -> ClaimedImage:
    """Claims the image of a request with a lease that expires at once."""
    return claim_image(runtime.db, request_id, lease_s=0)


async def store(runtime: Runtime, claimed: ClaimedImage) -> str:
    """Stores an image as the worker with this claim does, without a record; returns its key."""
    key = image_key(claimed.request_id, object_name(new_id(), "jpg"))
    await runtime.storage.put(key, b"an image", "image/jpeg")
    return key


async def is_cleanup_planned(runtime: Runtime) -> bool:
    return await runtime.db.read(lambda connection: connection.scalar(select(object_cleanups.c.due_at))) is not None


async def test_object_of_a_lost_lease_is_deleted_from_an_open_request(runtime: Runtime) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,Chair,https://x.example/1.jpg\n")).snapshot.id
    lost = await store(runtime, await claim(runtime, request_id))
    assert not await is_cleanup_planned(runtime)

    # The claim after a lost lease plans a cleanup.
    current = await store(runtime, await claim(runtime, request_id))
    assert await is_cleanup_planned(runtime)
    assert await runtime.db.read(cleanups.list_due, 10) == []

    # Until the grace time ends, and after it.
    deleted = []
    for age_s in (retention.ORPHAN_SECONDS - 30, retention.ORPHAN_SECONDS + 30):
        set_age(runtime, lost, age_s)
        await plan_due_cleanups(runtime)
        deleted.append(await retention.delete_orphans(runtime))

    # The worker with the current lease may still record its object, which is young.
    assert deleted == [0, 1]
    assert sorted(await list_keys(runtime)) == sorted([input_key(request_id), current])
    # If not, that object is deleted by a later cleanup.
    assert await is_cleanup_planned(runtime)


async def test_cleanup_planned_during_a_cleanup_is_not_lost(runtime: Runtime) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,Chair,https://x.example/1.jpg\n")).snapshot.id
    await plan_due_cleanups(runtime)

    (due,) = await runtime.db.read(cleanups.list_due, 10)
    # SQLite's clock has milliseconds.
    await asyncio.sleep(0.005)
    await runtime.db.write(cleanups.plan, request_id)
    await runtime.db.write(cleanups.end, due, None)

    (again,) = await runtime.db.read(cleanups.list_due, 10)
    assert again.request_id == request_id
    await runtime.db.write(cleanups.end, again, None)
    assert not await is_cleanup_planned(runtime)


async def test_one_run_cleans_up_all_due_requests(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE_SIZE", 2)
    for _ in range(5):
        request_id = (await upload(runtime, f"{HEADER}1,Chair,https://x.example/1.jpg\n")).snapshot.id
        set_age(runtime, await store(runtime, await claim(runtime, request_id)), 700)
        await claim(runtime, request_id)
    await plan_due_cleanups(runtime)

    assert await retention.delete_orphans(runtime) == 5

    assert await runtime.db.read(cleanups.list_due, 10) == []


async def test_worker_that_lost_its_lease_plans_a_cleanup(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/a.jpg", jpeg(1))
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    put_new = runtime.storage.put_new
    advance_in_background(runtime)

    async def cancel_then_put(*args: Any) -> None:
        # The cancelled request is final when the worker has stored its image.
        runtime.storage.put_new = put_new  # type: ignore[method-assign]
        await commands.cancel(runtime, ANYBODY, request_id)
        await plan_due_cleanups(runtime)
        assert await retention.delete_orphans(runtime) == 0
        await put_new(*args)

    runtime.storage.put_new = cancel_then_put  # type: ignore[method-assign]
    await work_on_images(runtime)

    assert await is_cleanup_planned(runtime)


def test_unreferenced_objects_are_deleted_within_ten_minutes_of_their_grace_time(settings: Settings) -> None:
    # The longest time from the end of the grace time until the cleanup is due: it was planned when the object was
    # stored, or the object was a little too young.
    due_s = max(cleanups.CLEANUP_DELAY_SECONDS - retention.ORPHAN_SECONDS, retention.RECHECK_SECONDS)
    # A cleanup that fails is repeated by the next one. The scheduler looks every SWEEP_SECONDS.
    two_rounds_s = 2 * (CLEANUP_SECONDS + settings.sweep_seconds)

    # The rest is for the duration of the cleanup itself.
    assert due_s + two_rounds_s <= 600 - 45
