"""The recorder writes results in groups, loses none that it may record, and publishes what people can follow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, select, update

from gql_imgproc.database.tables import images, object_cleanups
from gql_imgproc.database.types import now_plus
from gql_imgproc.errors import DatabaseUnavailable
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.messaging import outage
from gql_imgproc.messaging.pubsub import Event
from gql_imgproc.metrics import IMAGES, LEASES_LOST
from gql_imgproc.processing import recorder as recorder_module
from gql_imgproc.processing.recorder import Recorder
from gql_imgproc.requests.repository import results
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage, Recorded, ReturnedImage, ReturnReason
from gql_imgproc.requests.snapshot import Snapshot, list_channel, progress_channel
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.invariants import assert_counters_equal_rows
from tests.support.lost_commits import lost_commits
from tests.support.scenarios import DONE, FAILED, finished_image, get_snapshot, given_request, try_claim
from tests.support.services import background_work
from tests.support.suspended_redis import suspended_redis
from tests.support.waiting import until


class RecorderOfTest(Recorder):
    """Knows the images whose leases it no longer needs, of a process that has so many."""

    def __init__(self, runtime: Runtime) -> None:
        self.released: list[ClaimedImage] = []
        self.leased = 1_000
        super().__init__(runtime, self.released.extend, lambda: self.leased - len(self.released))


@pytest.fixture
def recorder(runtime: Runtime) -> RecorderOfTest:
    return RecorderOfTest(runtime)


@pytest.fixture
def group_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of results in each transaction."""
    sizes, record = [], results.record

    def count(
        connection: Connection, finished: Collection[FinishedImage], returned: Collection[ReturnedImage]
    ) -> Recorded:
        sizes.append(len(finished) + len(returned))
        return record(connection, finished, returned)

    monkeypatch.setattr(results, "record", count)
    return sizes


@pytest.fixture
def published(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> list[tuple[UUID, int, bool]]:
    """Request and number of finished images of each progress event, and whether it is published at once."""
    events = []

    def publish(channel: str, event: Event, *, at_once: bool = False) -> None:
        if channel == list_channel(DEFAULT_TENANT):
            return
        snapshot = Snapshot.from_json(event.body)
        assert channel == progress_channel(snapshot.id)
        events.append((snapshot.id, snapshot.finished_images, at_once))

    monkeypatch.setattr(runtime.publisher, "publish", publish)
    return events


@pytest.fixture
def endless_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results wait practically without end for others."""
    monkeypatch.setattr(recorder_module, "MAX_WAIT_SECONDS", 600.0)


def given_claimed(runtime: Runtime, count: int, lease_s: float = 60) -> tuple[UUID, list[ClaimedImage]]:
    """A request with so many images, all claimed."""
    request_id = given_request(runtime.db, *([1] * count))
    return request_id, list(try_claim(runtime.db, request_id, count, lease_s))


def all_done(claimed: Iterable[ClaimedImage]) -> list[FinishedImage]:
    return [finished_image(image) for image in claimed]


async def test_results_within_50_ms_are_one_transaction(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int]
) -> None:
    assert (recorder_module.MAX_WAIT_SECONDS, recorder_module.MAX_RESULTS) == (0.05, 64)
    # Given images that complete, fail and are returned one after the other,
    request_id, claimed = given_claimed(runtime, 4)

    # when nothing more follows,
    recorder.add(*all_done(claimed[:2]))
    recorder.add(FinishedImage(claimed[2], FAILED))
    recorder.add(ReturnedImage(claimed[3], ReturnReason.REFUSED, 60))
    await until(lambda: recorder.released)

    # then one transaction records all.
    assert group_sizes == [4]
    assert recorder.released == claimed
    snapshot = get_snapshot(runtime.db, request_id)
    assert (snapshot.processed_images, snapshot.failed_images, snapshot.pending_images) == (2, 1, 1)
    assert_counters_equal_rows(runtime.db, request_id)
    await recorder.aclose()


async def test_transactions_of_a_busy_process_are_not_more_frequent_than_progress(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that has recorded a result a moment ago,
    monkeypatch.setattr(recorder_module, "MIN_INTERVAL_SECONDS", 600.0)
    _, claimed = given_claimed(runtime, 4)
    recorder.add(*all_done(claimed[:1]))
    await until(lambda: recorder.released)

    # when more results come, longer than 50 ms apart,
    recorder.add(*all_done(claimed[1:2]))
    await asyncio.sleep(2 * recorder_module.MAX_WAIT_SECONDS)
    recorder.add(*all_done(claimed[2:]))
    await asyncio.sleep(2 * recorder_module.MAX_WAIT_SECONDS)

    # then they wait for the interval to end, or for the stop of the process.
    assert group_sizes == [1]
    await recorder.flush()
    assert group_sizes == [1, 3]
    await recorder.aclose()


@pytest.mark.usefixtures("endless_wait")
async def test_results_of_all_images_of_a_process_are_recorded_at_once(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int]
) -> None:
    # Given a process with three images,
    _, claimed = given_claimed(runtime, 3)
    recorder.leased = 3

    # when the last image of the process is done,
    recorder.add(*all_done(claimed[:2]))
    await asyncio.sleep(0)
    assert group_sizes == []
    recorder.add(*all_done(claimed[2:]))

    # then nothing is waited for.
    await until(lambda: len(recorder.released) == 3)
    assert group_sizes == [3]
    await recorder.aclose()


@pytest.mark.usefixtures("endless_wait")
async def test_full_group_is_recorded_without_waiting(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process with many images,
    monkeypatch.setattr(recorder_module, "MAX_RESULTS", 4)
    request_id, claimed = given_claimed(runtime, 10)

    # when two full groups and two results more come,
    recorder.add(*all_done(claimed[:3]))
    recorder.add(*all_done(claimed[3:]))
    await until(lambda: len(recorder.released) == 8)

    # then the groups are recorded, and the rest when the process stops.
    assert group_sizes == [4, 4]
    assert get_snapshot(runtime.db, request_id).processed_images == 8
    await recorder.flush()
    assert group_sizes == [4, 4, 2]
    assert get_snapshot(runtime.db, request_id).pending_images == 0
    await recorder.aclose()


async def test_lost_lease_drops_only_its_image_and_plans_a_cleanup(
    runtime: Runtime, recorder: RecorderOfTest, caplog: pytest.LogCaptureFixture
) -> None:
    # Given three images, one of which another process has claimed since,
    request_id, claimed = given_claimed(runtime, 3, lease_s=0)
    (lost,) = try_claim(runtime.db, request_id, 1)
    losses = LEASES_LOST.labels("image")._value.get()
    completed = IMAGES.labels("COMPRESSED", "jpeg")._value.get()
    await runtime.db.write(lambda connection: connection.execute(delete(object_cleanups)))

    # when the first process records them,
    with caplog.at_level(logging.INFO):
        recorder.add(*all_done(claimed))
        await recorder.flush()

    # then two count; the object of the third is deleted later.
    assert get_snapshot(runtime.db, request_id).processed_images == 2
    assert LEASES_LOST.labels("image")._value.get() == losses + 1
    assert IMAGES.labels("COMPRESSED", "jpeg")._value.get() == completed + 2
    assert [record.__dict__["image"] for record in caplog.records if record.message == "lease lost"] == [lost.id]
    planned = await runtime.db.read(lambda connection: connection.scalars(select(object_cleanups.c.request_id)).all())
    assert planned == [request_id]
    assert_counters_equal_rows(runtime.db, request_id)
    # And the other process records its own result.
    recorder.add(finished_image(lost))
    await recorder.flush()
    assert get_snapshot(runtime.db, request_id).processed_images == 3
    await recorder.aclose()


async def test_commit_whose_answer_was_lost_counts_nothing_twice(
    runtime: Runtime, recorder: RecorderOfTest, published: list[tuple[UUID, int, bool]]
) -> None:
    request_id, claimed = given_claimed(runtime, 3)
    completed = IMAGES.labels("COMPRESSED", "jpeg")._value.get()

    with lost_commits():
        recorder.add(*all_done(claimed[:2]), ReturnedImage(claimed[2], ReturnReason.FAILED))
        await recorder.flush()

    snapshot = get_snapshot(runtime.db, request_id)
    assert (snapshot.processed_images, snapshot.input_bytes, snapshot.output_bytes) == (2, 2000, 800)
    assert published == [(request_id, 2, False)]
    assert IMAGES.labels("COMPRESSED", "jpeg")._value.get() == completed + 2
    assert_counters_equal_rows(runtime.db, request_id)
    (again,) = try_claim(runtime.db, request_id, 3)
    assert (again.id, again.attempts) == (claimed[2].id, 2)
    await recorder.aclose()


async def test_nothing_is_lost_while_the_database_is_unavailable(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that is unavailable,
    monkeypatch.setattr(recorder_module, "ERROR_PAUSE_SECONDS", 0.0)
    request_id, claimed = given_claimed(runtime, 3)
    write, failures = runtime.db.write, []

    async def fail(*_: Any) -> None:
        failures.append(len(recorder.released))
        raise DatabaseUnavailable("the server is starting up")

    monkeypatch.setattr(runtime.db, "write", fail)

    # when results come, before it is back,
    recorder.add(*all_done(claimed[:2]))
    await until(lambda: len(failures) >= 2)
    recorder.add(*all_done(claimed[2:]))
    await until(lambda: len(failures) >= 4)

    # then their leases are still needed, and all are recorded once it is back.
    assert set(failures) == {0}
    assert (recorder.released, group_sizes) == ([], [])
    monkeypatch.setattr(runtime.db, "write", write)
    await recorder.flush()
    assert recorder.released == claimed
    assert get_snapshot(runtime.db, request_id).processed_images == 3
    assert_counters_equal_rows(runtime.db, request_id)
    await recorder.aclose()


async def test_unexpected_error_drops_only_the_result_that_causes_it(
    runtime: Runtime, recorder: RecorderOfTest, group_sizes: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    # Given a group of five results, one of which cannot be written,
    request_id, claimed = given_claimed(runtime, 5)
    culprit = FinishedImage(claimed[1], replace(DONE, width=object()))  # type: ignore[arg-type]
    finished = [FinishedImage(claimed[0], DONE), culprit, FinishedImage(claimed[2], DONE)]

    # when they are recorded,
    recorder.add(*finished, *(ReturnedImage(image, ReturnReason.REFUSED, 60) for image in claimed[3:]))
    await recorder.flush()

    # then the others are recorded one by one;
    assert group_sizes == [5, 1, 1, 1, 1, 1]
    snapshot = get_snapshot(runtime.db, request_id)
    assert (snapshot.processed_images, snapshot.pending_images) == (2, 3)
    assert_counters_equal_rows(runtime.db, request_id)
    # its lease is not renewed any more, so its work is repeated.
    assert recorder.released == claimed
    (logged,) = (record for record in caplog.records if record.exc_info)
    assert (logged.message, logged.__dict__["image"]) == ("result not recorded", claimed[1].id)
    expired = update(images).where(images.c.id == claimed[1].id).values(due_at=now_plus(0))
    await runtime.db.write(lambda connection: connection.execute(expired))
    assert [image.id for image in try_claim(runtime.db, request_id, 5)] == [claimed[1].id]
    await recorder.aclose()


async def test_error_of_the_publisher_does_not_keep_later_results(
    runtime: Runtime, recorder: RecorderOfTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "MAX_RESULTS", 2)
    request_id, claimed = given_claimed(runtime, 4)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(runtime.publisher, "publish", fail)
    recorder.add(*all_done(claimed))
    await until(lambda: len(recorder.released) == 4)
    await recorder.flush()

    assert get_snapshot(runtime.db, request_id).processed_images == 4
    assert "progress not published" in caplog.messages
    await recorder.aclose()


async def test_redis_that_does_not_answer_keeps_no_result(
    runtime: Runtime, recorder: RecorderOfTest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a watcher, and a Redis that does not answer,
    monkeypatch.setattr(recorder_module, "MAX_RESULTS", 1)
    request_id, claimed = given_claimed(runtime, 5)
    async with runtime.hub.subscribe(progress_channel(request_id)) as inbox:
        await until(lambda: runtime.hub.is_connected)
        with suspended_redis(settings.redis_url):
            # when results come,
            recorder.add(*all_done(claimed))
            async with asyncio.timeout(outage.TIMEOUT_S / 2):
                await recorder.flush()

            # then all are recorded,
            assert get_snapshot(runtime.db, request_id).processed_images == 5

        # and the final state is published when Redis answers again.
        final = get_snapshot(runtime.db, request_id).to_event()
        async with asyncio.timeout(30):
            while await inbox.take(30) != final:
                pass
    await background_work(runtime)
    await recorder.aclose()


async def test_stop_records_and_publishes_what_waits(
    runtime: Runtime, recorder: RecorderOfTest, published: list[tuple[UUID, int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given progress that was published a moment ago, and results that wait for others,
    request_id, claimed = given_claimed(runtime, 4)
    recorder.add(*all_done(claimed[:1]))
    await recorder.flush()
    monkeypatch.setattr(recorder_module, "MAX_WAIT_SECONDS", 600.0)
    recorder.add(*all_done(claimed[1:3]))

    # when the process stops,
    await recorder.flush()
    await recorder.aclose()

    # then they are recorded and published.
    assert published == [(request_id, 1, False), (request_id, 3, False)]
    assert get_snapshot(runtime.db, request_id).processed_images == 3


async def test_final_state_is_published_at_once_and_advances_the_request(
    runtime: Runtime, recorder: RecorderOfTest, published: list[tuple[UUID, int, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a request and a burst of results,
    monkeypatch.setattr(recorder_module, "MAX_RESULTS", 1)
    request_id, claimed = given_claimed(runtime, 5)
    sent = runtime.queue.lengths()["control"]

    # when each is recorded in a transaction of its own,
    recorder.add(*all_done(claimed[:4]))
    await until(lambda: len(recorder.released) == 4)
    assert runtime.queue.lengths()["control"] == sent
    recorder.add(*all_done(claimed[4:]))
    await recorder.flush()
    await background_work(runtime)

    # then its last state is published at once, and one message continues the request.
    assert published == [(request_id, count, count == 5) for count in (1, 2, 3, 4, 5)]
    assert runtime.queue.lengths()["control"] == sent + 1
    await recorder.aclose()
