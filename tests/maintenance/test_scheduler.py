"""Duties that one process does for all: retries by itself, and removing what nobody needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import requests
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.maintenance import retention
from gql_imgproc.maintenance.reconcile import run_auto_retries
from gql_imgproc.maintenance.scheduler import PeriodicTask, run_as_leader, run_periodic_tasks
from gql_imgproc.requests import commands
from gql_imgproc.requests.repository import queries, transitions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import image_key, input_key, object_name, output_key
from tests.support.api_clients import ANYBODY
from tests.support.services import ImageHost, jpeg, upload, work_all

Run = Callable[[Callable[[Runtime], Any]], Any]

HEADER = "S. No.,Product Name,Input Image Urls\n"


async def state(runtime: Runtime, request_id: Any) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def now_is_later(runtime: Runtime, **moments: float) -> None:
    """Sets columns of every request to so many seconds from now."""
    values = {name: now_plus(seconds) for name, seconds in moments.items()}
    await runtime.db.write(lambda connection: connection.execute(update(requests).values(values)))


async def test_of_several_processes_one_does_a_duty_and_leaves_an_account(runtime: Runtime) -> None:
    done = []

    async def do(_: Runtime) -> int:
        done.append(True)
        return 5

    await asyncio.gather(*(run_as_leader(runtime, PeriodicTask("something", do, 60)) for _ in range(10)))

    assert len(done) == 1
    account = runtime.leader_locks.stats()["something"]
    assert (account.runs, account.items) == (1, 5)


def test_every_duty_is_done(run: Run) -> None:
    async def story(runtime: Runtime) -> None:
        run_periodic_tasks(runtime)
        while set(runtime.leader_locks.stats()) != {"reconcile", "retry", "expiry", "orphans"}:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.01)

    run(lambda runtime: asyncio.wait_for(story(runtime), 10))


async def test_failures_that_may_be_temporary_are_tried_again_in_three_rounds(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    gone, flaky = f"{image_host.url}/gone.jpg", image_host.add("/flaky.jpg", jpeg(1))
    image_host.answers["/flaky.jpg"] = [503] * 12

    runtime.settings = settings.model_copy(update={"auto_retry_seconds": 0})
    request_id = (await upload(runtime, f'{HEADER}1,Chair,"{gone},{flaky}"\n')).snapshot.id
    ends = []
    for _ in range(6):
        await work_all(runtime)
        ended = await state(runtime, request_id)
        assert (ended.status, ended.failed_images) == (RequestStatus.FAILED, 2)
        ends.append(await run_auto_retries(runtime))

    # Three tries of each round; what was answered with 404 is asked for once.
    assert ends == [1, 1, 1, 0, 0, 0]
    assert image_host.requests.count("/flaky.jpg") == 12
    assert image_host.requests.count("/gone.jpg") == 1

    # The thirteenth answer is the picture.
    await commands.retry_failed(runtime, ANYBODY, request_id)
    await work_all(runtime)
    ended = await state(runtime, request_id)
    assert (ended.status, ended.processed_images) == (RequestStatus.COMPLETED_WITH_ERRORS, 1)


async def test_a_request_is_removed_when_its_retention_is_over(
    runtime: Runtime, settings: Settings, image_host: ImageHost
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    old, young = [(await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id for _ in range(2)]
    await work_all(runtime)
    still_open = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    past = update(requests).where(requests.c.id == old).values(completed_at=now_plus(-2 * 86_400))
    await runtime.db.write(lambda connection: connection.execute(past))

    assert await retention.delete_expired_requests(runtime) == 0
    runtime.settings = settings.model_copy(update={"retention_days": 1.5})
    assert await retention.delete_expired_requests(runtime) == 1

    left = await runtime.db.read(
        lambda connection: [
            queries.get_request(connection, DEFAULT_TENANT, request_id) is not None
            for request_id in (old, young, still_open)
        ]
    )
    assert left == [False, True, True]
    keys = await runtime.storage.list_keys("requests/")
    assert {key.split("/")[1] for key in keys} == {young.hex, still_open.hex}


async def test_objects_that_no_row_names_are_removed_once_they_are_old(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    await work_all(runtime)
    done = await state(runtime, request_id)
    assert done.output_name is not None
    own = sorted(await runtime.storage.list_keys("requests/"))
    assert len(own) == 3
    strays = [
        input_key(new_id()),
        image_key(new_id(), object_name(new_id(), 1, "jpg")),
        image_key(request_id, object_name(new_id(), 1, "jpg")),
        own[0].replace("-1.jpg", "-7.jpg"),
        output_key(request_id, "output-99.csv"),
    ]
    for key in strays:
        await runtime.storage.put(key, b"stray", "text/plain")
    # Not ours, though its folder has a name as long as one of ours.
    theirs = [f"requests/{'notes-of-somebody-else':-<32}/a.txt"]
    await runtime.storage.put(theirs[0], b"theirs", "text/plain")
    await now_is_later(runtime, cleanup_at=-1)

    assert await retention.delete_orphans(runtime) == 0
    assert sorted(await runtime.storage.list_keys("requests/")) == sorted(own + strays + theirs)

    # It is looked at again, since some were left.
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
    assert await retention.delete_orphans(runtime) == 5
    assert sorted(await runtime.storage.list_keys("requests/")) == sorted(own + theirs)
    assert await runtime.db.read(transitions.list_with_leftover_objects, 10) == []


async def test_nothing_of_an_open_request_is_removed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)

    request_id = (await upload(runtime, f"{HEADER}1,Chair,https://x.example/1.jpg\n")).snapshot.id
    not_yet_recorded = image_key(request_id, object_name(new_id(), 1, "jpg"))
    await runtime.storage.put(not_yet_recorded, b"a picture", "image/jpeg")
    await now_is_later(runtime, cleanup_at=-1)

    assert await retention.delete_orphans(runtime) == 0

    assert await runtime.storage.list_keys("requests/") == sorted([input_key(request_id), not_yet_recorded])
