"""A process claims what fits, shares it between hosts, loses nothing, and passes on its permit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import func, select, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, lanes
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import DatabaseUnavailable, ImageErrorCode
from gql_imgproc.imaging.outputs import compress_outputs
from gql_imgproc.messaging.host_budget import HostBudgets, HostGrant
from gql_imgproc.net import checked_resolver
from gql_imgproc.net.fetch_errors import FetchError, FetchErrorKind
from gql_imgproc.net.host_answers import HostAnswer
from gql_imgproc.processing import host_memory, worker_pool
from gql_imgproc.processing import image as image_service
from gql_imgproc.processing import recorder as recorder_module
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.requests.repository import claims, lane_choice
from gql_imgproc.requests.repository import lanes as lanes_repository
from gql_imgproc.requests.repository.claims import ClaimedImage
from gql_imgproc.requests.repository.image_results import FinishedImage
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from tests.support.invariants import assert_counters_equal_rows
from tests.support.scenarios import get_snapshot, given_request, given_urls, try_claim
from tests.support.services import jpeg, without_validators
from tests.support.statements import collect_statements
from tests.support.unique_images import unique_jpeg
from tests.support.waiting import until

IMAGE = jpeg(1)


#: The host of `given_request`.
X_HOST = "x.example:443"


class Host:
    """Every image host. Downloads wait until `answer`, if it is closed."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def fetch(self, url: str) -> bytes:
        self.started.append(url)
        await self.is_open.wait()
        return unique_jpeg(IMAGE, url)


@pytest.fixture
async def host(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Serves every URL."""
    host = Host()
    monkeypatch.setattr(runtime.fetcher, "fetch_if_changed", without_validators(host.fetch))
    return host


@pytest.fixture
async def silent_host(host: Host) -> AsyncIterator[Host]:
    """Answers when `is_open` is set."""
    host.is_open.clear()
    yield host
    host.is_open.set()


@pytest.fixture
async def pool(runtime: Runtime, settings: Settings) -> AsyncIterator[WorkerPool]:
    """A pool with eight places. It grants every host eight downloads at once."""
    pool = given_pool(runtime, settings)
    yield pool
    await pool.aclose()


def given_pool(runtime: Runtime, settings: Settings, places: int = 8) -> WorkerPool:
    # Leases that expire later than reconcile runs, as usual: no permit waits for them.
    runtime.settings = settings.model_copy(update={"images_in_flight": places})
    return WorkerPool(runtime)


def learn_host(runtime: Runtime, pool: WorkerPool, *hosts: str) -> None:
    """Lets the pool and the host's budget know hosts that serve; the budget has no limit any more that matters."""
    for host in hosts:
        pool._hosts.learn_served(host)
        for _ in range(200):
            runtime.host_budgets.report(host, HostAnswer.SERVED, started_at=0.0, seconds=0.01)


def permits(runtime: Runtime) -> int:
    return runtime.queue.count_permits()


def processed(runtime: Runtime, request_id: UUID) -> int:
    return get_snapshot(runtime.db, request_id).processed_images


async def read_images(runtime: Runtime, *columns: Any) -> list[Any]:
    statement = select(*columns).order_by(images.c.product_id, images.c.position)
    return list(await runtime.db.read(lambda connection: connection.execute(statement).all()))


async def stop(pool: WorkerPool, working: asyncio.Task[None]) -> None:
    pool.stop()
    await working
    await pool.aclose()


@pytest.mark.parametrize("wakes_in_s", [None, 60])
async def test_permit_ends_when_nothing_is_due_soon(
    runtime: Runtime, pool: WorkerPool, host: Host, wakes_in_s: float | None
) -> None:
    request_id = given_request(runtime.db, 1, 1, 1)
    if wakes_in_s is not None:
        given_request(runtime.db, 1)
        later = update(lanes).where(lanes.c.request_id != request_id)
        await runtime.db.write(
            lambda connection: connection.execute(later.values(ready=False, wake_at=now_plus(wakes_in_s)))
        )

    await pool.use_permit()

    assert processed(runtime, request_id) == 3
    assert len(host.started) == 3
    assert permits(runtime) == 0


async def test_permit_continues_until_a_lane_that_wakes_soon(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lane that wakes a moment after the process has looked for lanes that wake,
    request_id = given_request(runtime.db, 1)
    soon = update(lanes).values(ready=False, wake_at=now_plus(0.3))
    await runtime.db.write(lambda connection: connection.execute(soon))
    looked = Counter[str]()
    choose = lane_choice.choose_lanes
    monkeypatch.setattr(lane_choice, "choose_lanes", lambda *args: (looked.update(["looked"]), choose(*args))[1])

    await pool.use_permit()

    # Then it waits for the lane, and does not look again and again.
    assert processed(runtime, request_id) == 1
    assert looked["looked"] <= 6
    assert permits(runtime) == 0


async def test_grants_without_an_image_are_given_back_at_once(
    runtime: Runtime, pool: WorkerPool, silent_host: Host
) -> None:
    # Given a process that asked a host for more downloads than there are images,
    learn_host(runtime, pool, X_HOST)
    given_request(runtime.db, 1)
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: silent_host.started)

    # when another process asks the host,
    settings = runtime.settings
    other = HostBudgets(settings.redis_url, per_host=settings.fetch_per_host)
    await until(lambda: pool.is_waiting)
    grant = (await other.ask({X_HOST: settings.fetch_per_host}))[X_HOST]

    # then only the download in flight counts: 200 answers have widened the window from 2 to 22.
    assert len(grant.starts_s) == 22 - 1
    silent_host.is_open.set()
    await other.aclose()
    await stop(pool, working)


async def test_download_begins_when_it_was_granted_however_long_the_claim_takes(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a host whose budget lets a download begin 60 s after the question,
    times = []
    request_id = given_request(runtime.db, 1)
    claim = claims.claim_images

    async def ask(wanted: Any) -> dict[str, HostGrant]:
        times.append(time.monotonic())
        return {name: HostGrant((60.0,), 0.0, is_paused=False, unserved_s=0.0) for name in wanted}

    def claim_later(*arguments: Any) -> Any:
        times.append(time.monotonic())
        return claim(*arguments)

    monkeypatch.setattr(runtime.host_budgets, "ask", ask)
    monkeypatch.setattr(claims, "claim_images", claim_later)

    # when the process claims an image,
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: pool._tasks)

    # then the time of the claim does not delay it. Two downloads would come too close to each other.
    (task,) = pool._tasks
    asked_at, claims_at, *_ = times
    assert asked_at + 60 <= task.starts_at <= claims_at + 60
    assert host.started == []
    await stop(pool, working)
    assert processed(runtime, request_id) == 0


async def test_permit_is_passed_on_after_its_time_when_work_is_left(
    runtime: Runtime, pool: WorkerPool, silent_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "PERMIT_SECONDS", 0.05)
    given_request(runtime.db, *([1] * 20))

    await pool.use_permit()

    # Images in flight continue, although the permit has ended.
    assert permits(runtime) == 1
    assert len(pool._tasks) == len(silent_host.started) > 0
    silent_host.is_open.set()
    await until(lambda: not pool._leases)
    assert Counter(row.status for row in await read_images(runtime, images.c.status))[ImageStatus.COMPLETED] > 0


async def test_process_keeps_its_permit_while_redis_refuses_the_next(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given permits that expire at once, and a Redis that takes no messages,
    monkeypatch.setattr(worker_pool, "PERMIT_SECONDS", 0.02)
    request_id = given_request(runtime.db, *([1] * 30))
    refusals = []

    def refuse() -> None:
        refusals.append(1)
        raise redis.ConnectionError("connection refused")

    monkeypatch.setattr(runtime.queue, "process_images", refuse)

    # when a process works,
    await pool.use_permit()

    # then it works until nothing is left.
    await until(lambda: processed(runtime, request_id) == 30)
    assert refusals
    assert_counters_equal_rows(runtime.db, request_id)


async def test_second_permit_ends_at_once_and_makes_the_process_look_again(
    runtime: Runtime, pool: WorkerPool, silent_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that works, and does not look for other tenants or lanes for a while,
    monkeypatch.setattr(worker_pool, "TENANTS_SECONDS", 600.0)
    monkeypatch.setattr(worker_pool, "WATCH_SECONDS", 600.0)
    given_urls(runtime.db, ["https://x.example/1"])
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(silent_host.started) == 1)
    await until(lambda: not pool._recorder._waiting)

    # when another request is uploaded,
    given_urls(runtime.db, ["https://y.example/1"])
    await pool.use_permit()

    # then its permit ends at once, and the first one starts the new image.
    assert not working.done()
    await until(lambda: "https://y.example/1" in silent_host.started)
    await stop(pool, working)


async def test_permit_that_comes_while_another_ends_is_used(
    runtime: Runtime, pool: WorkerPool, silent_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that has just found that nothing is due,
    look = pool._seconds_to_next_work
    uploads = iter([["https://x.example/1"]])

    async def look_before_an_upload() -> float | None:
        pause_s = await look()
        for urls in uploads:
            given_urls(runtime.db, urls)
            # when an image is uploaded, whose permit this process takes,
            await pool.use_permit()
        return pause_s

    monkeypatch.setattr(pool, "_seconds_to_next_work", look_before_an_upload)

    working = asyncio.create_task(pool.use_permit())

    # then it starts the image.
    await until(lambda: len(silent_host.started) == 1)
    await stop(pool, working)


@pytest.mark.parametrize(("images_due", "waiting", "invited"), [(20, 0, 1), (20, 1, 1), (2, 0, 0)])
async def test_process_invites_another_when_there_is_more_than_fits(
    runtime: Runtime,
    pool: WorkerPool,
    silent_host: Host,
    monkeypatch: pytest.MonkeyPatch,
    images_due: int,
    waiting: int,
    invited: int,
) -> None:
    monkeypatch.setattr(worker_pool, "WATCH_SECONDS", 0.02)
    learn_host(runtime, pool, "x.example:443")
    given_request(runtime.db, *([1] * images_due))
    for _ in range(waiting):
        runtime.queue.process_images()

    counted, count_permits = [], runtime.queue.count_permits
    watched, next_wake = [], lanes_repository.seconds_to_next_wake

    def count() -> int:
        counted.append(1)
        return count_permits()

    def watch(connection: Any) -> float | None:
        watched.append(1)
        return next_wake(connection)

    monkeypatch.setattr(runtime.queue, "count_permits", count)
    monkeypatch.setattr(lanes_repository, "seconds_to_next_wake", watch)
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(watched) > 10 if not invited else len(counted) > 1)

    assert count_permits() == invited
    await stop(pool, working)


async def test_leases_are_renewed_in_one_statement_and_lost_images_are_dropped(
    runtime: Runtime, settings: Settings, silent_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process with images in flight, whose leases are renewed often,
    pool = given_pool(runtime, settings)
    monkeypatch.setattr(runtime, "settings", runtime.settings.model_copy(update={"lease_seconds": 0.3}))
    learn_host(runtime, pool, "x.example:443")
    renewals, renew, claim = [], claims.renew_leases, claims.claim_images
    # None expires before its first renewal, however slow the machine is.
    monkeypatch.setattr(claims, "claim_images", lambda *args: claim(*args[:3], 60, *args[4:]))

    def collect(connection: Any, claimed: Any, lease_s: float) -> set[UUID]:
        renewed = renew(connection, claimed, 60)
        renewals.append((len(claimed), len(renewed)))
        return renewed

    monkeypatch.setattr(claims, "renew_leases", collect)
    given_request(runtime.db, *([1] * 3))
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(silent_host.started) == 3)
    await until(lambda: (3, 3) in renewals)

    # when another process claims one of them,
    lost = next(iter(pool._leases))
    raised = update(images).where(images.c.id == lost.id).values(lease_token=images.c.lease_token + 1)
    await runtime.db.write(lambda connection: connection.execute(raised))
    await until(lambda: len(pool._tasks) == 2)

    # then this one drops it, and renews and records the others.
    assert (3, 2) in renewals
    assert lost not in pool._leases
    await until(lambda: renewals[-1] == (2, 2))
    silent_host.is_open.set()
    await until(lambda: not pool._leases)
    found = dict(await read_images(runtime, images.c.id, images.c.status))
    assert found.pop(lost.id) is ImageStatus.PENDING
    assert set(found.values()) == {ImageStatus.COMPLETED}
    await stop(pool, working)


def test_renewal_is_one_statement(database: Database) -> None:
    request_id = given_request(database, *([1] * 20))
    claimed = try_claim(database, request_id, 20)

    with collect_statements(database) as statements:
        renewed = database.write_now(claims.renew_leases, claimed, 60)

    assert renewed == {image.id for image in claimed}
    assert len(statements) == 1


async def test_image_whose_lease_expired_is_marked_and_decoded_alone(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P5."""
    # Given a worker that crashed with one image of twelve,
    request_id = given_request(runtime.db, *([1] * 12))
    (crashed,) = try_claim(runtime.db, request_id, 1, lease_s=0)
    lock, running, seen = threading.Lock(), Counter[str](), []
    run = runtime.cpu.run
    marked: list[int] = []

    async def note_megapixels(megapixels: float, call: Callable[[], Any]) -> Any:
        def decode() -> Any:
            with lock:
                running["all"] += 1
                seen.append((megapixels, running["all"]))
            try:
                return call()
            finally:
                with lock:
                    running["all"] -= 1

        return await run(megapixels, decode)

    def compress_marked(*args: Any) -> Any:
        marked.append(runtime.db.read_now(lambda c: c.execute(select(func.sum(images.c.crashes))).scalar_one()))
        return compress_outputs(*args)

    monkeypatch.setattr(runtime.cpu, "run", note_megapixels)
    monkeypatch.setattr("gql_imgproc.processing.image.compress_outputs", compress_marked)

    # when another process works,
    await pool.use_permit()
    await until(lambda: processed(runtime, request_id) == 12)

    # then that image was decoded with nothing else in the CPU pool, and marked before.
    assert [count for megapixels, count in seen if megapixels == float("inf")] == [1]
    assert len(seen) == 12
    assert sorted(set(marked)) in ([0, 1], [1])
    found = {row.id: (row.attempts, row.status) for row in await read_images(runtime, images)}
    # The claims of one attempt count once.
    assert set(found.values()) == {(1, ImageStatus.COMPLETED)}
    assert crashed.id in found


async def test_image_that_crashes_twice_alone_fails_and_charges_no_other(
    runtime: Runtime, pool: WorkerPool, host: Host
) -> None:
    """Promise P5."""
    # Given an image that crashed its worker together with another, and twice alone,
    request_id = given_request(runtime.db, 1, 1)
    killer, innocent = try_claim(runtime.db, request_id, 2, lease_s=0)
    for _ in range(2):
        again = {image.id: image for image in try_claim(runtime.db, request_id, 2, lease_s=0)}
        assert await runtime.db.write(claims.mark_crash_suspect, again[killer.id])

    # when a process works,
    await pool.use_permit()
    await until(lambda: not get_snapshot(runtime.db, request_id).pending_images)

    # then it fails without being requested; the other one completes in its first attempt.
    rows = {row.id: row for row in await read_images(runtime, images)}
    assert rows[killer.id].error_code is ImageErrorCode.WORKER_CRASHED
    assert (rows[innocent.id].status, rows[innocent.id].attempts) == (ImageStatus.COMPLETED, 1)
    assert host.started == [innocent.url]
    # And its host's budget counts no download that never began.
    assert runtime.host_budgets._hosts["x.example:443"].held == 0
    assert_counters_equal_rows(runtime.db, request_id)


async def test_unknown_hosts_get_half_of_the_places(runtime: Runtime, pool: WorkerPool, silent_host: Host) -> None:
    # Given many hosts that have not served this process yet, and one that has,
    given_urls(runtime.db, *([f"https://dead{n}.example/a"] for n in range(20)))
    learn_host(runtime, pool, "x.example:443")
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(silent_host.started) == 4)
    given_request(runtime.db, *([1] * 20))

    # when there is more work than places,
    await pool.use_permit()
    await until(lambda: len(silent_host.started) == 8)

    # then half of the eight places are left to the known host.
    known = [url for url in silent_host.started if url.startswith("https://x.example/")]
    assert len(known) == 4
    assert pool._free_places == 0
    await stop(pool, working)


async def test_one_host_gets_three_quarters_of_the_places(
    runtime: Runtime, pool: WorkerPool, silent_host: Host
) -> None:
    # Given a host that serves, with more images than places,
    learn_host(runtime, pool, "x.example:443", "y.example:443")
    given_request(runtime.db, *([1] * 20))
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(silent_host.started) == 6)

    # when another one has images,
    given_urls(runtime.db, *([f"https://y.example/{n}"] for n in range(20)))
    await pool.use_permit()
    await until(lambda: len(silent_host.started) == 8)

    # then it gets the last quarter.
    hosts = Counter(url.split("/")[2] for url in silent_host.started)
    assert hosts == {"x.example": 6, "y.example": 2}
    await stop(pool, working)


async def test_images_wait_for_the_name_of_their_host_without_a_place(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a host whose name is resolved slowly, in a request with another host,
    monkeypatch.setattr(checked_resolver, "LOOK_UP_S", 0.0)
    monkeypatch.setattr(host_memory, "LOOKUP_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(worker_pool, "WATCH_SECONDS", 0.01)
    is_resolved = asyncio.Event()

    async def resolve(name: str, port: int) -> Sequence[str]:
        if name == "slow.example":
            await is_resolved.wait()
        return ["127.0.0.1"]

    monkeypatch.setattr(runtime.fetcher, "_resolve", resolve)
    request_id = given_urls(runtime.db, ["https://slow.example/1"], ["https://x.example/1"])

    # when a process works,
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: processed(runtime, request_id) == 1)

    # then the other image is neither claimed nor counted until the name is resolved.
    assert host.started == ["https://x.example/1"]
    assert pool._free_places == 8
    rows = await read_images(runtime, images.c.attempts, images.c.lease_token)
    assert sorted(row.attempts for row in rows) == [0, 1]
    assert min(row.lease_token for row in rows) == 0
    is_resolved.set()
    await working
    assert processed(runtime, request_id) == 2
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.parametrize("places", [1, 2, 3])
async def test_process_with_few_places_works(runtime: Runtime, settings: Settings, host: Host, places: int) -> None:
    pool = given_pool(runtime, settings, places)
    request_id = given_request(runtime.db, 1, 1, 1)

    async with asyncio.timeout(20):
        await pool.use_permit()

    await until(lambda: processed(runtime, request_id) == 3)
    await pool.aclose()


async def test_downloads_are_given_back_while_the_database_is_unavailable(
    runtime: Runtime, pool: WorkerPool, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that fails whenever images are claimed,
    monkeypatch.setattr(worker_pool, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(recorder_module, "ERROR_PAUSE_SECONDS", 0.0)
    request_id = given_request(runtime.db, *([1] * 5))
    claim, failures = claims.claim_images, []

    def fail(*_: Any) -> Any:
        failures.append(runtime.host_budgets._hosts["x.example:443"].held)
        raise DatabaseUnavailable("the server is starting up")

    monkeypatch.setattr(claims, "claim_images", fail)

    # when a process works,
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(failures) >= 4)

    # then it keeps its permit and no granted downloads, and works once the database is back.
    assert not working.done()
    assert max(failures) == 2
    assert host.started == []
    monkeypatch.setattr(claims, "claim_images", claim)
    await working
    assert processed(runtime, request_id) == 5
    assert runtime.host_budgets._hosts["x.example:443"].held == 0
    assert_counters_equal_rows(runtime.db, request_id)


async def test_orderly_stop_records_what_is_stored_and_gives_back_the_rest(
    runtime: Runtime, settings: Settings, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an image that is being stored, and others that are being downloaded,
    pool = given_pool(runtime, settings)
    learn_host(runtime, pool, "x.example:443")
    request_id = given_request(runtime.db, *([1] * 4))
    store, may_store, storing = image_service.store, asyncio.Event(), []
    first: list[str] = []
    fetch = host.fetch

    async def store_slowly(runtime: Runtime, image: ClaimedImage, *args: Any) -> FinishedImage:
        storing.append(image.id)
        await may_store.wait()
        return await store(runtime, image, *args)

    async def serve_first(url: str) -> bytes:
        if first:
            host.is_open.clear()
        first.append(url)
        return await fetch(url)

    monkeypatch.setattr(image_service, "store", store_slowly)
    monkeypatch.setattr(runtime.fetcher, "fetch_if_changed", without_validators(serve_first))
    working = asyncio.create_task(pool.use_permit())
    await until(lambda: len(host.started) == 4 and len(storing) == 1)

    # when the process stops,
    pool.stop()
    await working
    closing = asyncio.create_task(pool.aclose())
    await asyncio.sleep(0)
    may_store.set()
    await closing

    # then the first is recorded, the others are due without an attempt, and a permit is sent for them.
    rows = {row.id: row for row in await read_images(runtime, images)}
    assert rows.pop(storing[0]).status is ImageStatus.COMPLETED
    assert {(row.status, row.attempts, row.unfinished_claims) for row in rows.values()} == {(ImageStatus.PENDING, 0, 0)}
    assert permits(runtime) == 1
    assert runtime.host_budgets._hosts["x.example:443"].held == 0
    assert len(try_claim(runtime.db, request_id, 4)) == 3
    assert_counters_equal_rows(runtime.db, request_id)


async def test_stop_without_images_in_flight_sends_no_permit(runtime: Runtime, settings: Settings, host: Host) -> None:
    pool = given_pool(runtime, settings)
    request_id = given_request(runtime.db, 1)

    await pool.use_permit()
    await pool.aclose()

    assert processed(runtime, request_id) == 1
    assert permits(runtime) == 0
    # And a permit that comes later is not used.
    given_request(runtime.db, 1)
    await pool.use_permit()
    assert len(host.started) == 1


async def test_images_of_a_dead_host_fail_when_their_attempts_would_be_used_up(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given 40 images of a host that refuses connections, which has a pause of 5 s after three failures,
    monkeypatch.setattr(host_memory, "MIN_PATIENCE_SECONDS", 0.0)
    asked: list[str] = []

    async def fail(url: str) -> bytes:
        asked.append(url)
        raise FetchError(FetchErrorKind.NOT_CONNECTED, "x.example refused the connection.")

    monkeypatch.setattr(runtime.fetcher, "fetch_if_changed", without_validators(fail))
    request_id = given_request(runtime.db, *([1] * 40))
    pool = given_pool(runtime, settings)

    # when no image has attempts left that wait for each other,
    await pool.use_permit()
    await pool.aclose()

    # then all fail with the host's error, and few were asked for.
    assert get_snapshot(runtime.db, request_id).failed_images == 40
    assert 3 <= len(asked) <= 8
    errors = await read_images(runtime, images.c.error_code, images.c.error_message, images.c.error_retryable)
    assert {tuple(error) for error in errors} == {
        (ImageErrorCode.UNREACHABLE, "x.example refused the connection.", True)
    }
    assert_counters_equal_rows(runtime.db, request_id)


async def test_images_of_a_host_that_refuses_everybody_fail_when_patience_ends(
    runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given 40 images of a host that answers 429 to every request, and no patience,
    async def refuse(url: str) -> bytes:
        raise FetchError(FetchErrorKind.STATUS_RETRYABLE, "Too many requests.", http_status=429, retry_after_s=60)

    monkeypatch.setattr(runtime.fetcher, "fetch_if_changed", without_validators(refuse))
    request_id = given_request(runtime.db, *([1] * 40))
    pool = given_pool(runtime, settings.model_copy(update={"host_patience_seconds": 0.0}))

    # when it works,
    await pool.use_permit()
    await pool.aclose()

    # then those that were not asked for fail as well; the refused ones are due after the host's pause.
    rows = await read_images(runtime, images.c.status, images.c.error_code)
    failed = [row for row in rows if row.status is ImageStatus.FAILED]
    assert len(failed) >= 38
    assert {row.error_code for row in failed} == {ImageErrorCode.HOST_OVERLOADED}
    assert_counters_equal_rows(runtime.db, request_id)
