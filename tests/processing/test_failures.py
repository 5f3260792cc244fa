"""Failures at the worst moment: an accepted upload is not lost and always finishes (promises P1 to P5)."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis
from sqlalchemy import event, select, update

from gql_imgproc.database.tables import images, requests, webhook_deliveries
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import RequestFailureCode, RequestStatus, TerminationReason, WebhookStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.requests import commands, lifecycle
from gql_imgproc.requests.repository import queries, retry, transitions, webhook_outbox
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import input_key, output_key
from tests.support.api_clients import ANYBODY
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import claim_image
from tests.support.services import ImageHost, jpeg, upload, without_validators, work_all, work_on_images
from tests.support.waiting import until

HEADER = "S. No.,Product Name,Input Image Urls\n"


def rows(count: int) -> str:
    return HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, count + 1))


def flush(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()


async def read_state(runtime: Runtime, request_id: Any) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def retry_failed(runtime: Runtime, request_id: UUID) -> None:
    """Starts a retry, which no worker advances yet."""
    assert await runtime.db.write(retry.start_retry, DEFAULT_TENANT, request_id) is not None


async def request_ids(runtime: Runtime) -> list[Any]:
    return list(await runtime.db.read(lambda connection: connection.scalars(select(requests.c.id)).all()))


# SQLite has no connection to lose.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("key", [None, "a key"])
@pytest.mark.parametrize("quota", [0, 1])
async def test_upload_is_accepted_when_the_answer_to_its_commit_is_lost(
    runtime: Runtime, settings: Settings, key: str | None, quota: int
) -> None:
    # With quota 1, the retried transaction finds the quota used up by its own first attempt.
    runtime.settings = settings.model_copy(update={"quota_open_requests": quota})
    caller = anonymous_caller("127.0.0.1", is_unlimited=not quota)
    dialect = runtime.db._writer.dialect
    commit, commits = dialect.do_commit, []

    def lose_answer(connection: Any) -> None:
        commit(connection)
        commits.append(connection)
        # Earlier commits: the search for an upload with the same idempotency key, and the check of the quotas.
        if len(commits) == 1 + (key is not None) + quota:
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose_answer  # type: ignore[method-assign]
    result = await upload(runtime, rows(2), caller, idempotency_key=key)
    dialect.do_commit = commit  # type: ignore[method-assign]

    assert not result.is_replay
    assert await request_ids(runtime) == [result.snapshot.id]
    assert await runtime.storage.list_keys("requests/") == [input_key(result.snapshot.id)]


@pytest.mark.usefixtures("control_worker")
async def test_upload_is_complete_when_its_caller_disconnects_during_the_commit(runtime: Runtime) -> None:
    dialect = runtime.db._writer.dialect
    commit, committing, may_commit = dialect.do_commit, threading.Event(), threading.Event()

    def wait(connection: Any) -> None:
        committing.set()
        may_commit.wait(10)
        commit(connection)

    dialect.do_commit = wait  # type: ignore[method-assign]
    uploading = asyncio.create_task(upload(runtime, rows(2)))
    await asyncio.to_thread(committing.wait, 10)
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    may_commit.set()
    while not (found := await request_ids(runtime)):  # noqa: ASYNC110 - another thread commits
        await asyncio.sleep(0.01)
    dialect.do_commit = commit  # type: ignore[method-assign]

    assert (await commands.cancel(runtime, ANYBODY, found[0])).status is RequestStatus.CANCELLED


@pytest.mark.parametrize("stored", [rows(400).encode(), rows(700).encode(), b"", None])
async def test_request_fails_when_its_stored_csv_was_changed_or_deleted(runtime: Runtime, stored: bytes | None) -> None:
    """Promise P1."""
    request_id = (await upload(runtime, rows(600))).snapshot.id
    if stored is None:
        await runtime.storage.delete(input_key(request_id))
    else:
        await runtime.storage.put(input_key(request_id), stored, "text/csv")

    await lifecycle.advance(runtime, request_id)

    ended = await read_state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.output_name is None


async def test_request_fails_when_its_stored_csv_is_missing_at_the_end(runtime: Runtime, image_host: ImageHost) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    await runtime.storage.delete(input_key(request_id))

    await work_all(runtime)

    ended = await read_state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.processed_images == 1


@pytest.mark.parametrize("reason", [TerminationReason.CANCELLED, TerminationReason.DEADLINE])
async def test_stopping_request_fails_when_its_stored_csv_is_missing(
    runtime: Runtime, reason: TerminationReason
) -> None:
    """Promise P1. Ingesting and finishing once enqueued each other without end."""
    request_id = (await upload(runtime, rows(600))).snapshot.id
    await runtime.db.write(transitions.stop, DEFAULT_TENANT, request_id, reason)
    await runtime.storage.delete(input_key(request_id))

    await lifecycle.advance(runtime, request_id)

    ended = await read_state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.cancelled_images == ended.ingested_products
    assert_counters_equal_rows(runtime.db, request_id)


async def test_request_is_finished_by_the_process_that_had_the_lease_when_its_last_image_was_recorded(
    runtime: Runtime, settings: Settings, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that the last image sends finds the lease taken, and is the only one."""
    # Given a process that inserts the last rows,
    csv = HEADER + "".join(f"{n},P,{image_host.add(f'/{n}.jpg', jpeg(n))}\n" for n in range(1, 4))
    monkeypatch.setattr("gql_imgproc.requests.upload.FIRST_CHUNK_PRODUCTS", 2)
    request_id = (await upload(runtime, csv)).snapshot.id
    do_steps = lifecycle._do_steps

    # when all images are recorded before it releases the lease,
    async def record_all(*arguments: Any, **options: Any) -> None:
        await do_steps(*arguments, **options)
        if not flushed:
            await work_on_images(runtime)
        await lifecycle.advance(runtime, request_id)
        flush(settings)
        flushed.append(await read_state(runtime, request_id))

    flushed: list[Snapshot] = []
    monkeypatch.setattr(lifecycle, "_do_steps", record_all)
    await lifecycle.advance(runtime, request_id)

    # then it finishes the request.
    assert (flushed[0].status, flushed[0].pending_images) == (RequestStatus.PROCESSING, 0)
    assert (await read_state(runtime, request_id)).status is RequestStatus.COMPLETED


async def test_deadline_of_a_retried_request_counts_from_the_retry(runtime: Runtime, image_host: ImageHost) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,P,{image_host.url}/late.jpg\n")).snapshot.id
    await work_all(runtime)
    long_ago = datetime.now(UTC) - timedelta(days=8)
    await runtime.db.write(lambda connection: connection.execute(update(requests).values(created_at=long_ago)))
    image_host.add("/late.jpg", jpeg(1))

    await retry_failed(runtime, request_id)
    await reconcile(runtime)
    await work_all(runtime)

    assert (await read_state(runtime, request_id)).status is RequestStatus.COMPLETED


async def test_reconcile_sends_no_message_for_a_request_that_a_process_advances(runtime: Runtime) -> None:
    request_id = (await upload(runtime, rows(2501))).snapshot.id
    sent = runtime.queue.lengths()["control"]
    assert await runtime.db.write(transitions.acquire, request_id, 60) is not None

    await reconcile(runtime)

    assert runtime.queue.lengths()["control"] == sent


async def test_worker_that_was_suspended_during_a_retry_does_not_change_its_output(
    runtime: Runtime, image_host: ImageHost
) -> None:
    """Promise P4: the output CSV belongs to the final status."""
    request_id = (await upload(runtime, f"{HEADER}1,P,{image_host.url}/late.jpg\n")).snapshot.id
    store, is_suspended, may_resume = runtime.storage.put_file, asyncio.Event(), asyncio.Event()

    async def suspend(*arguments: Any) -> None:
        runtime.storage.put_file = store  # type: ignore[method-assign]
        is_suspended.set()
        await may_resume.wait()
        await store(*arguments)

    await runtime.db.write(lambda connection: connection.execute(update(requests).values(lease_until=now_plus(0))))
    claim_image(runtime.db, request_id, lease_s=0)
    runtime.storage.put_file = suspend  # type: ignore[method-assign]
    suspended = asyncio.create_task(work_all(runtime))
    await is_suspended.wait()
    # Its lease expires, and another process finishes the request and its retry.
    await runtime.db.write(lambda connection: connection.execute(update(requests).values(lease_until=now_plus(0))))
    await lifecycle.advance(runtime, request_id)
    image_host.add("/late.jpg", jpeg(1))
    await retry_failed(runtime, request_id)
    await work_all(runtime)
    done = await read_state(runtime, request_id)
    assert (done.status, done.generation) == (RequestStatus.COMPLETED, 2)
    assert done.output_name is not None
    output = await runtime.storage.get(output_key(request_id, done.output_name))

    may_resume.set()
    await suspended

    assert await read_state(runtime, request_id) == done
    assert await runtime.storage.get(output_key(request_id, done.output_name)) == output
    await asyncio.to_thread(assert_counters_equal_rows, runtime.db, request_id)


async def test_webhook_that_becomes_due_during_its_claim_is_not_superseded(
    runtime: Runtime, image_host: ImageHost
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    await upload(runtime, f"{HEADER}1,Chair,{url}\n", webhook_url="http://127.0.0.1:9/hook")
    await work_all(runtime)
    (delivery_id,) = await runtime.db.read(webhook_outbox.list_due, 10)

    later = update(webhook_deliveries).values(due_at=now_plus(60))
    runtime.db.write_now(lambda connection: connection.execute(later))

    def make_due(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT requests.id"):
            cursor.execute("UPDATE webhook_deliveries SET due_at = created_at")

    event.listen(runtime.db._writer, "after_cursor_execute", make_due)
    claim = await runtime.db.write(webhook_outbox.claim_delivery, delivery_id, 30)
    event.remove(runtime.db._writer, "after_cursor_execute", make_due)

    assert claim is None
    (row,) = await runtime.db.read(lambda connection: connection.execute(select(webhook_deliveries)).all())
    assert (row.status, row.attempts) == (WebhookStatus.PENDING, 0)
    assert await runtime.db.read(webhook_outbox.list_due, 10) == [delivery_id]


async def test_request_that_is_cancelled_while_its_output_is_written_ends_as_cancelled(
    runtime: Runtime, image_host: ImageHost
) -> None:
    url = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{url}\n")).snapshot.id
    store = runtime.storage.put_file

    async def cancel_first(*arguments: Any) -> None:
        runtime.storage.put_file = store  # type: ignore[method-assign]
        await runtime.db.write(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
        await store(*arguments)

    runtime.storage.put_file = cancel_first  # type: ignore[method-assign]
    await work_all(runtime)

    assert (await read_state(runtime, request_id)).status is RequestStatus.CANCELLED


async def test_silent_host_holds_up_only_its_own_images(settings: Settings, runtime: Runtime) -> None:
    """Promise P11, inside one request."""
    # Given a host that does not answer, with ten images before the one of another host,
    runtime.settings = settings.model_copy(update={"images_in_flight": 8})
    request_id = (await upload(runtime, rows(10) + "11,P,https://y.example/a.jpg\n")).snapshot.id
    started: list[str] = []

    async def fetch(url: str) -> bytes:
        started.append(url)
        if url.startswith("https://x.example/"):
            await asyncio.Event().wait()
        return jpeg(1)

    runtime.fetcher.fetch_if_changed = without_validators(fetch)  # type: ignore[method-assign]

    # when a process works,
    pool = WorkerPool(runtime)
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(started) == 3)
    while not (await read_state(runtime, request_id)).processed_images:  # noqa: ASYNC110 - no event for it
        await asyncio.sleep(0.01)

    # then the other image is done, while an unknown host is asked for two images at most.
    assert sorted(started)[-1] == "https://y.example/a.jpg"
    assert len(started) == 3
    # And a stop gives the two back, without an attempt.
    pool.stop()
    await working
    await pool.aclose()
    attempts = await runtime.db.read(lambda connection: connection.scalars(select(images.c.attempts)).all())
    assert sorted(attempts) == [0] * 10 + [1]
