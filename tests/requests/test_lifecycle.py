"""Steps of a request under its lease: who does them, how long, and what happens without a worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import redis

from gql_imgproc.enums import RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.ids import DEFAULT_TENANT, new_id
from gql_imgproc.messaging import publisher
from gql_imgproc.messaging.pubsub import Event
from gql_imgproc.messaging.queue import ADVANCE, CONTROL_QUEUE, DELIVER, NAMESPACE
from gql_imgproc.requests import commands, ingest, lifecycle, time_slice
from gql_imgproc.requests.repository import create, queries, transitions
from gql_imgproc.requests.snapshot import Snapshot, progress_channel
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.api_clients import ANYBODY
from tests.support.services import ImageHost, background_work, jpeg, upload, work_all, work_on_images

HEADER = "S. No.,Product Name,Input Image Urls\n"


def rows(count: int) -> str:
    return HEADER + "".join(f"{n},P,https://x.example/{n}.jpg\n" for n in range(1, count + 1))


async def read_state(runtime: Runtime, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


class ControlWorker:
    """One thread that handles control messages in the order of their arrival."""

    def __init__(self, runtime: Runtime, settings: Settings) -> None:
        self._runtime = runtime
        self._redis = redis.Redis.from_url(settings.redis_url)

    async def run_next(self) -> str:
        """Handles a message; returns the name of its actor. A webhook is only taken from the queue."""
        message_id = self._redis.lpop(f"{NAMESPACE}:{CONTROL_QUEUE}")
        assert message_id is not None
        message = json.loads(self._redis.hget(f"{NAMESPACE}:{CONTROL_QUEUE}.msgs", message_id))  # type: ignore[arg-type]
        if message["actor_name"] == ADVANCE:
            await lifecycle.advance(self._runtime, UUID(message["args"][0]))
        return str(message["actor_name"])

    def close(self) -> None:
        self._redis.close()


async def test_eight_ingestions_let_a_webhook_through(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given eight large uploads, whose messages have had their time,
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(ingest, "CHUNK_PRODUCTS", 50)
    requests = [(await upload(runtime, rows(500))).snapshot.id for _ in range(8)]
    worker = ControlWorker(runtime, settings)

    # when a webhook is due,
    runtime.queue.deliver(new_id())
    handled = [await worker.run_next() for _ in range(9)]

    # then even a single thread sends it before any upload has inserted a second chunk.
    assert handled == [ADVANCE] * 8 + [DELIVER]
    assert [(await read_state(runtime, each)).ingested_products for each in requests] == [300] * 8
    # Each upload has sent itself again; the last one does not wait for anybody.
    assert runtime.queue.lengths()[CONTROL_QUEUE] == 8
    while runtime.queue.lengths()[CONTROL_QUEUE]:
        await worker.run_next()
    assert {(await read_state(runtime, each)).phase for each in requests} == {RequestPhase.WORKING}
    worker.close()


async def test_message_continues_while_no_other_one_waits(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(ingest, "CHUNK_PRODUCTS", 50)
    request_id = (await upload(runtime, rows(500))).snapshot.id
    worker = ControlWorker(runtime, settings)

    await worker.run_next()

    assert (await read_state(runtime, request_id)).phase is RequestPhase.WORKING
    worker.close()


async def test_request_that_finds_all_output_writers_busy_waits_without_a_thread(
    runtime: Runtime, image_host: ImageHost
) -> None:
    # Given a process that writes as many output CSVs as it may,
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{image_host.add('/a.jpg', jpeg(1))}\n")).snapshot.id
    await work_on_images(runtime)
    monopoly = [runtime.outputs.acquire() for _ in range(3)]
    await asyncio.gather(*monopoly)

    # when a request is ready to finish,
    await lifecycle.advance(runtime, request_id)

    # then its message ends at once, and the request finishes when a writer is free.
    waiting = await read_state(runtime, request_id)
    assert (waiting.phase, waiting.status) == (RequestPhase.FINISHING, RequestStatus.PROCESSING)
    runtime.outputs.release()
    await background_work(runtime)
    assert (await read_state(runtime, request_id)).status is RequestStatus.COMPLETED


async def test_cancel_without_a_worker_returns_the_request_as_it_is(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API writes no output CSV."""
    monkeypatch.setattr(commands, "WAIT_SECONDS", 0.1)
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{image_host.add('/a.jpg', jpeg(1))}\n")).snapshot.id
    stored = await runtime.storage.list_keys("requests/")

    cancelled = await commands.cancel(runtime, ANYBODY, request_id)
    again = await commands.cancel(runtime, ANYBODY, request_id)

    assert (cancelled.status, cancelled.phase) == (RequestStatus.PENDING, RequestPhase.STOPPING)
    assert again.sequence == cancelled.sequence
    assert await runtime.storage.list_keys("requests/") == stored
    await work_all(runtime)
    ended = await read_state(runtime, request_id)
    assert (ended.status, ended.cancelled_images) == (RequestStatus.CANCELLED, 1)
    assert image_host.requests == []


async def test_delete_without_a_worker_refuses_other_commands(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, image_host: ImageHost
) -> None:
    monkeypatch.setattr(commands, "WAIT_SECONDS", 0.1)
    request_id = (await upload(runtime, f"{HEADER}1,Chair,{image_host.url}/gone.jpg\n")).snapshot.id
    await work_all(runtime)

    for _ in range(2):
        await commands.delete(runtime, ANYBODY, request_id)

    with pytest.raises(commands.NothingToRetry):
        await commands.retry_failed(runtime, ANYBODY, request_id)
    with pytest.raises(commands.RequestAlreadyFinal):
        await commands.cancel(runtime, ANYBODY, request_id)
    assert (await read_state(runtime, request_id)).phase is RequestPhase.DELETING
    await work_all(runtime)
    with pytest.raises(commands.RequestNotFound):
        await commands.delete(runtime, ANYBODY, request_id)
    assert await runtime.storage.list_keys("requests/") == []


@pytest.mark.parametrize("moment", ["first chunk", "output"])
async def test_request_stopped_during_a_step_is_stopped_by_the_same_process(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("gql_imgproc.requests.upload.FIRST_CHUNK_PRODUCTS", 1)
    csv = HEADER + "".join(f"{n},P,{image_host.add(f'/{n}.jpg', jpeg(n))}\n" for n in range(1, 4))
    request_id = (await upload(runtime, csv)).snapshot.id
    stopped: list[Snapshot | None] = []

    def stop_before(work: Callable[..., Any]) -> Callable[..., Any]:
        async def stop_and_work(*arguments: Any) -> Any:
            if not stopped:
                stop = transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED
                stopped.append(await runtime.db.write(*stop))
            return await work(*arguments)

        return stop_and_work

    if moment == "first chunk":
        monkeypatch.setattr(lifecycle, "ingest", stop_before(lifecycle.ingest))
    else:
        await lifecycle.advance(runtime, request_id)
        while (await read_state(runtime, request_id)).pending_images:
            await work_on_images(runtime)
        monkeypatch.setattr(lifecycle, "store_output", stop_before(lifecycle.store_output))
    await lifecycle.advance(runtime, request_id)

    ended = await read_state(runtime, request_id)
    cancelled_images = 3 if moment == "first chunk" else 0
    assert (ended.status, ended.cancelled_images) == (RequestStatus.CANCELLED, cancelled_images)
    assert ended.ingested_products == 3


async def test_rows_of_a_stopped_upload_are_never_claimable(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = (await upload(runtime, rows(300))).snapshot.id
    await runtime.db.write(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)
    monkeypatch.setattr(create, "insert_chunk", lambda *_: pytest.fail("inserted as pending"))

    await lifecycle.advance(runtime, request_id)

    ended = await read_state(runtime, request_id)
    assert (ended.status, ended.cancelled_images, ended.ingested_products) == (RequestStatus.CANCELLED, 300, 300)


async def test_ingestion_and_cancellation_publish_at_most_five_states_per_second(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a request of which one chunk is ingested, a watcher, and an interval that does not end,
    monkeypatch.setattr(publisher, "MIN_INTERVAL_S", 600.0)
    monkeypatch.setattr(commands, "WAIT_SECONDS", 0.1)
    monkeypatch.setattr(ingest, "CHUNK_PRODUCTS", 200)
    request_id = (await upload(runtime, rows(1_200))).snapshot.id
    with redis.Redis.from_url(settings.redis_url) as client, client.pubsub() as watcher:
        watcher.subscribe(progress_channel(request_id))
        assert watcher.get_message(timeout=5) is not None

        # when its other chunks are ingested, and cancelled,
        await lifecycle.advance(runtime, request_id)
        await commands.cancel(runtime, ANYBODY, request_id)
        await lifecycle.advance(runtime, request_id)

        # then the first state and the final one are published.
        await runtime.publisher.aclose()
        messages = iter(lambda: watcher.get_message(timeout=0.1), None)
        snapshots = [Snapshot.from_json(Event.from_bytes(message["data"]).body) for message in messages]
    states = [(snapshot.ingested_products, snapshot.cancelled_images) for snapshot in snapshots]
    assert states[:2] == [(450, 0), (1_200, 1_200)]
    # The one without pending images may be published before the final one, and that one again at the end.
    assert set(states[2:]) <= {(1_200, 1_200)}
    assert snapshots[-1].status is RequestStatus.CANCELLED
