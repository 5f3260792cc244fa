"""Faults at the worst moment: what was accepted stays accepted, and always ends (promises P1 to P5)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
from dramatiq import Message
from sqlalchemy import event, select, update

from gql_imgproc.database.tables import requests, webhook_deliveries
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import Priority, RequestFailureCode, RequestStatus, TerminationReason, WebhookStatus
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance.reconcile import reconcile
from gql_imgproc.messaging import queue as queues
from gql_imgproc.processing.worker_pool import drain
from gql_imgproc.requests import commands, ingest, lifecycle
from gql_imgproc.requests.repository import claims, queries, transitions, webhook_outbox
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import anonymous_caller
from gql_imgproc.settings import Settings
from gql_imgproc.storage.paths import input_key, output_key
from tests.support.api_clients import ANYBODY
from tests.support.invariants import assert_counters_equal_rows
from tests.support.services import ImageHost, jpeg, upload, work_all

Run = Callable[[Callable[[Runtime], Any]], Any]

HEADER = "S. No.,Product Name,Input Image Urls\n"


def rows(count: int) -> str:
    return HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, count + 1))


def flush(settings: Settings) -> None:
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushall()


async def state(runtime: Runtime, request_id: Any) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def all_requests(runtime: Runtime) -> list[Any]:
    return list(await runtime.db.read(lambda connection: connection.scalars(select(requests.c.id)).all()))


# SQLite has no connection to lose.
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("key", [None, "a key"])
@pytest.mark.parametrize("quota", [0, 1])
async def test_a_commit_whose_answer_was_lost_is_an_accepted_upload(
    runtime: Runtime, settings: Settings, key: str | None, quota: int
) -> None:
    # Tried again, it finds that what it has taken itself leaves no room.
    runtime.settings = settings.model_copy(update={"quota_open_requests": quota})
    caller = anonymous_caller("127.0.0.1", unlimited=not quota)
    dialect = runtime.db._writer.dialect
    commit, commits = dialect.do_commit, []

    def lose_the_answer(connection: Any) -> None:
        commit(connection)
        commits.append(connection)
        # Before it, an earlier upload with the same key is looked for, and the quotas.
        if len(commits) == 1 + (key is not None) + quota:
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    dialect.do_commit = lose_the_answer  # type: ignore[method-assign]
    submitted = await upload(runtime, rows(2), caller, idempotency_key=key)
    dialect.do_commit = commit  # type: ignore[method-assign]

    assert not submitted.replayed
    assert await all_requests(runtime) == [submitted.snapshot.id]
    assert await runtime.storage.list_keys("requests/") == [input_key(submitted.snapshot.id)]


async def test_an_upload_whose_caller_leaves_during_the_commit_is_whole(runtime: Runtime) -> None:
    dialect = runtime.db._writer.dialect
    commit, committing, go_on = dialect.do_commit, threading.Event(), threading.Event()

    def wait(connection: Any) -> None:
        committing.set()
        go_on.wait(10)
        commit(connection)

    dialect.do_commit = wait  # type: ignore[method-assign]
    leaving = asyncio.create_task(upload(runtime, rows(2)))
    await asyncio.to_thread(committing.wait, 10)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go_on.set()
    while not (found := await all_requests(runtime)):  # noqa: ASYNC110 - a thread that is not ours commits
        await asyncio.sleep(0.01)
    dialect.do_commit = commit  # type: ignore[method-assign]

    assert (await commands.cancel(runtime, ANYBODY, found[0])).status is RequestStatus.CANCELLED


@pytest.mark.parametrize("stored", [rows(400).encode(), rows(700).encode(), b"", None])
async def test_a_stored_csv_that_is_not_what_was_accepted_ends_the_request(
    runtime: Runtime, stored: bytes | None
) -> None:
    """Promise P1: it always ends."""

    request_id = (await upload(runtime, rows(600))).snapshot.id
    if stored is None:
        await runtime.storage.delete(input_key(request_id))
    else:
        await runtime.storage.put(input_key(request_id), stored, "text/csv")

    await ingest.ingest(runtime, request_id)
    await lifecycle.finish(runtime, request_id)

    ended = await state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.output_name is None


async def test_a_stored_csv_that_went_missing_before_the_end_ends_the_request(
    runtime: Runtime, image_host: ImageHost
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    await runtime.storage.delete(input_key(request_id))

    await work_all(runtime)

    ended = await state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.processed_images == 1


@pytest.mark.parametrize("reason", [TerminationReason.CANCELLED, TerminationReason.DEADLINE])
async def test_a_stored_csv_that_went_missing_ends_a_request_that_is_being_stopped(
    runtime: Runtime, reason: TerminationReason
) -> None:
    """Promise P1. Ingesting and finishing used to send each other messages for ever; the model found it."""

    request_id = (await upload(runtime, rows(600))).snapshot.id
    await runtime.db.write(transitions.mark_stopping, DEFAULT_TENANT, request_id, reason)
    await runtime.storage.delete(input_key(request_id))

    await ingest.ingest(runtime, request_id)
    await lifecycle.finish(runtime, request_id)

    ended = await state(runtime, request_id)
    assert (ended.status, ended.failure_code) == (RequestStatus.FAILED, RequestFailureCode.CSV_UNREADABLE)
    assert ended.cancelled_images == ended.ingested_products
    assert_counters_equal_rows(runtime.db, request_id)


async def test_an_end_that_was_turned_away_by_a_holder_is_not_left_to_the_sweep(
    runtime: Runtime, settings: Settings, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingestion sends a call to finish; who answers it may hold the request just when its last picture ends."""
    address = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    end = lifecycle._end

    async def last_picture_ends(*arguments: Any) -> Snapshot | None:
        ended = await end(*arguments)
        await drain(runtime, request_id)
        await lifecycle.finish(runtime, request_id)
        flush(settings)
        return ended

    monkeypatch.setattr(lifecycle, "_end", last_picture_ends)
    await lifecycle.finish(runtime, request_id)

    assert not (await state(runtime, request_id)).pending_images
    assert (await runtime.run_blocking(runtime.queue.census)).control == {(queues.FINISH, request_id): 1}


async def test_the_deadline_of_a_retried_request_counts_from_its_retry(runtime: Runtime, image_host: ImageHost) -> None:
    request_id = (await upload(runtime, f"{HEADER}1,P,{image_host.url}/late.jpg\n")).snapshot.id
    await work_all(runtime)
    long_ago = datetime.now(UTC) - timedelta(days=8)
    await runtime.db.write(lambda connection: connection.execute(update(requests).values(created_at=long_ago)))
    image_host.add("/late.jpg", jpeg(1))

    await commands.retry_failed(runtime, ANYBODY, request_id)
    await reconcile(runtime)
    await work_all(runtime)

    assert (await state(runtime, request_id)).status is RequestStatus.COMPLETED


async def test_a_call_that_redis_lost_on_its_way_is_sent_again(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P3: a call that was handed out, and never came, does not stand for a product that waits."""
    monkeypatch.setattr(queues, "FRESH_SECONDS", 0.0)

    request_id = (await upload(runtime, rows(2))).snapshot.id
    with redis.Redis.from_url(settings.redis_url) as client:
        assert client.llen("dramatiq:images") == 2
        client.delete("dramatiq:images")
        assert client.hlen("dramatiq:images.msgs") == 2

    await reconcile(runtime)
    await reconcile(runtime)

    assert runtime.queue.census().pictures == {request_id: set(range(2))}


async def test_a_slow_product_does_not_stand_for_those_that_wait(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P2: a product that is due again is worked on while another one of the request takes its time."""
    monkeypatch.setattr(queues, "FRESH_SECONDS", 0.0)

    request_id = (await upload(runtime, rows(2))).snapshot.id
    with redis.Redis.from_url(settings.redis_url) as client:
        client.lpop("dramatiq:images", 2)
    slow = await runtime.db.write(claims.claim_product, request_id, 600)
    assert slow is not None

    await reconcile(runtime)

    assert runtime.queue.lengths()["images"] == 1


async def test_there_are_never_more_calls_than_the_window(runtime: Runtime) -> None:
    request_id = (await upload(runtime, rows(3000))).snapshot.id
    assert runtime.queue.census().pictures == {request_id: set(range(32))}

    await ingest.ingest(runtime, request_id)

    assert runtime.queue.census().pictures == {request_id: set(range(32))}
    assert (await state(runtime, request_id)).ingested_products == 3000


async def test_control_messages_do_not_pile_up(runtime: Runtime, settings: Settings) -> None:
    broken_off = (await upload(runtime, rows(2501))).snapshot.id
    stopped = (await upload(runtime, rows(1), webhook_url="http://127.0.0.1:9/hook")).snapshot.id
    await commands.cancel(runtime, ANYBODY, stopped)
    flush(settings)

    for _ in range(5):
        await reconcile(runtime)

    control = runtime.queue.census().control
    assert sorted(control.values()) == [1, 1]
    assert ("ingest", broken_off) in control
    assert runtime.queue.lengths()["control"] == 2


async def test_a_message_of_somebody_else_stops_no_sweep(runtime: Runtime, settings: Settings) -> None:
    request_id = (await upload(runtime, rows(1))).snapshot.id
    flush(settings)
    stray = Message(queue_name="images", actor_name="stray", args=(), kwargs={}, options={})
    runtime.queue._broker.enqueue(stray)

    await reconcile(runtime)

    assert runtime.queue.census().pictures == {request_id: set(range(1))}


async def test_who_slept_through_a_retry_does_not_touch_its_output(runtime: Runtime, image_host: ImageHost) -> None:
    """Promise P4: an output CSV is that of the final status."""

    request_id = (await upload(runtime, f"{HEADER}1,P,{image_host.url}/late.jpg\n")).snapshot.id
    store, asleep, wake_up = runtime.storage.put_file, asyncio.Event(), asyncio.Event()

    async def fall_asleep(*arguments: Any) -> None:
        runtime.storage.put_file = store  # type: ignore[method-assign]
        asleep.set()
        await wake_up.wait()
        await store(*arguments)

    await runtime.db.write(lambda connection: connection.execute(update(requests).values(lease_until=now_plus(0))))
    claim = await runtime.db.write(claims.claim_product, request_id, 0)
    assert claim is not None
    runtime.storage.put_file = fall_asleep  # type: ignore[method-assign]
    sleeper = asyncio.create_task(work_all(runtime))
    await asleep.wait()
    # Its hold runs out, and another process does all that follows.
    await runtime.db.write(lambda connection: connection.execute(update(requests).values(lease_until=now_plus(0))))
    await lifecycle.finish(runtime, request_id)
    image_host.add("/late.jpg", jpeg(1))
    await commands.retry_failed(runtime, ANYBODY, request_id)
    await work_all(runtime)
    done = await state(runtime, request_id)
    assert (done.status, done.generation) == (RequestStatus.COMPLETED, 2)
    assert done.output_name is not None
    output = await runtime.storage.get(output_key(request_id, done.output_name))

    wake_up.set()
    await sleeper

    assert await state(runtime, request_id) == done
    assert await runtime.storage.get(output_key(request_id, done.output_name)) == output
    await asyncio.to_thread(assert_counters_equal_rows, runtime.db, request_id)


async def test_a_webhook_that_becomes_due_while_it_is_asked_for_is_not_given_up(
    runtime: Runtime, image_host: ImageHost
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    await upload(runtime, f"{HEADER}1,Chair,{address}\n", webhook_url="http://127.0.0.1:9/hook")
    await work_all(runtime)
    (delivery_id,) = await runtime.db.read(webhook_outbox.list_due, 10)

    def plan(seconds: float) -> None:
        soon = update(webhook_deliveries).values(due_at=now_plus(seconds))
        runtime.db.write_now(lambda connection: connection.execute(soon))

    plan(60)

    def becomes_due(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT requests.id"):
            due = "UPDATE webhook_deliveries SET due_at = created_at"
            cursor.execute(due)

    event.listen(runtime.db._writer, "after_cursor_execute", becomes_due)
    claim = await runtime.db.write(webhook_outbox.claim_delivery, delivery_id, 30)
    event.remove(runtime.db._writer, "after_cursor_execute", becomes_due)

    assert claim is None
    (row,) = await runtime.db.read(lambda connection: connection.execute(select(webhook_deliveries)).all())
    assert (row.status, row.attempts) == (WebhookStatus.PENDING, 0)
    assert await runtime.db.read(webhook_outbox.list_due, 10) == [delivery_id]


async def test_a_request_that_is_stopped_while_its_output_is_written_ends_as_stopped(
    runtime: Runtime, image_host: ImageHost
) -> None:
    address = image_host.add("/a.jpg", jpeg(1))

    request_id = (await upload(runtime, f"{HEADER}1,Chair,{address}\n")).snapshot.id
    store = runtime.storage.put_file

    async def stop_first(*arguments: Any) -> None:
        runtime.storage.put_file = store  # type: ignore[method-assign]
        stop = update(requests).values(termination_reason=TerminationReason.CANCELLED)
        await runtime.db.write(lambda connection: connection.execute(stop))
        await store(*arguments)

    runtime.storage.put_file = stop_first  # type: ignore[method-assign]
    await work_all(runtime)

    assert (await state(runtime, request_id)).status is RequestStatus.CANCELLED


async def test_one_request_leaves_places_in_a_process_to_others(settings: Settings, runtime: Runtime) -> None:
    """Promise P11: a host that does not answer holds up its own request."""

    runtime.settings = settings.model_copy(update={"worker_threads": 4})
    slow = (await upload(runtime, rows(10))).snapshot.id
    other = (await upload(runtime, rows(1), priority=Priority.NORMAL)).snapshot.id

    started, four, answer = [], asyncio.Event(), asyncio.Event()

    async def slowly(url: str) -> bytes:
        started.append(url)
        if len(started) == 4:
            four.set()
        await answer.wait()
        return jpeg(1)

    runtime.fetcher.fetch = slowly  # type: ignore[method-assign]
    turns = [asyncio.create_task(drain(runtime, slow, slot)) for slot in range(4)]
    turns.append(asyncio.create_task(drain(runtime, other)))
    await four.wait()
    # The fourth turn of the slow one ended at once, without a product.
    assert [turn.done() for turn in turns] == [False, False, False, True, False]
    answer.set()
    await asyncio.gather(*turns)
