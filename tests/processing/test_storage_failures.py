"""A store that fails in the middle: nothing is COMPLETED without its object, and all is well when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from gql_imgproc.database.tables import images, products
from gql_imgproc.enums import ImageStatus, RequestStatus, TerminationReason
from gql_imgproc.errors import StorageError
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance import retention
from gql_imgproc.requests import commands, lifecycle
from gql_imgproc.requests.repository import queries, transitions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.cloud import StoreTimeouts
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.paths import image_key, input_key, output_key
from tests.support.api_clients import ANYBODY
from tests.support.fault_injection import Fault, Way, way_to
from tests.support.invariants import assert_counters_equal_rows
from tests.support.s3_server import S3
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"
PRODUCTS = 4
#: A store that is silent is soon given up.
IMPATIENT = StoreTimeouts(connect_s=1, silence_s=0.5, call_s=5, retries=1)

# What a store does to a request is the same on every database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def way(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    with way_to(s3.endpoint) as way:
        monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
        yield way


@pytest.fixture
def run(settings: Settings, s3: S3, way: Way) -> Callable[[Callable[[Runtime], Awaitable[Any]]], Any]:
    """Runs a story with a bucket that is reached by the way."""

    def run_story(story: Callable[[Runtime], Awaitable[Any]]) -> Any:
        async def with_resources() -> Any:
            # No try is the last one.
            given = {"storage_url": s3.url, "retry_delays": (0.0,) * 50}
            async with Runtime(settings.model_copy(update=given)) as runtime:
                runtime.storage = ObjectStore(s3.url, patience=IMPATIENT)
                return await story(runtime)

        return asyncio.run(with_resources())

    return run_story


Run = Callable[[Callable[[Runtime], Awaitable[Any]]], Any]


def shop(image_host: ImageHost) -> str:
    addresses = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(PRODUCTS)]
    return HEADER + "".join(f"{n},P,{address}\n" for n, address in enumerate(addresses, 1))


async def state(runtime: Runtime, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def completed_keys(runtime: Runtime, request_id: UUID) -> list[str]:
    """Objects of the images that are said to be completed."""
    statement = (
        select(images.c.object_name)
        .join(products)
        .where(products.c.request_id == request_id, images.c.status == ImageStatus.COMPLETED)
    )
    names = await runtime.db.read(lambda connection: connection.scalars(statement).all())
    return sorted(image_key(request_id, name) for name in names)


async def work_until(runtime: Runtime, seen: Callable[[], bool]) -> None:
    """Works until something has been seen. Who was stopped in mid-claim leaves a lease, which has to run out."""
    working = asyncio.create_task(work_all(runtime))
    try:
        async with asyncio.timeout(30):
            while not seen():
                if working.done():
                    working.result()
                    working = asyncio.create_task(work_all(runtime))
                await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_store_that_fails_during_a_run_costs_time_and_nothing_else(
    run: Run, s3: S3, way: Way, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    async def story(runtime: Runtime) -> None:
        request_id = (await upload(runtime, shop(image_host))).snapshot.id
        # A store is opened when it is first used.
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
        straight = ObjectStore(s3.url)

        # Half of the pictures get through; then the store takes nothing any more.
        stored = 0

        def after_two(method: str, target: str) -> Fault | None:
            nonlocal stored
            stored += method == "PUT"
            return fault if method == "PUT" and stored > 2 else None

        way.fault = after_two
        await work_until(runtime, lambda: len(way.suffered) >= 6)
        kept = await completed_keys(runtime, request_id)
        assert len(kept) == 2
        assert (await state(runtime, request_id)).status is RequestStatus.PROCESSING

        # Pictures are stored again, but no output is.
        def outputs(method: str, target: str) -> Fault | None:
            return fault if method == "PUT" and "output-" in target else None

        way.fault = outputs
        way.suffered.clear()
        await work_until(runtime, lambda: bool(way.suffered))
        await lifecycle.finish(runtime, request_id)
        kept = await completed_keys(runtime, request_id)
        assert len(kept) == PRODUCTS
        there = await straight.list_keys("requests/")
        assert set(kept) <= set(there)
        waiting = await state(runtime, request_id)
        assert (waiting.status, waiting.output_name) == (RequestStatus.PROCESSING, None)

        way.heal()
        async with asyncio.timeout(30):
            while not (ended := await state(runtime, request_id)).status.is_terminal:
                await work_all(runtime)

        assert (ended.status, ended.processed_images, ended.failed_images) == (RequestStatus.COMPLETED, PRODUCTS, 0)
        assert ended.output_name is not None
        output = (await straight.get(output_key(request_id, ended.output_name))).decode("utf-8-sig")
        assert output.count("https://pictures.example/api/image/") == PRODUCTS
        for key in await completed_keys(runtime, request_id):
            assert await straight.get(key)
        assert_counters_equal_rows(runtime.db, request_id)

    run(story)


@pytest.mark.parametrize("fault", list(Fault))
def test_an_upload_that_cannot_be_stored_is_refused_and_leaves_no_request(
    run: Run, way: Way, image_host: ImageHost, fault: Fault
) -> None:
    async def story(runtime: Runtime) -> None:
        way.fail(fault, "PUT")

        with pytest.raises(StorageError):
            await upload(runtime, shop(image_host), idempotency_key="once")

        assert await runtime.db.read(queries.count_requests, DEFAULT_TENANT) == 0
        way.heal()
        again = await upload(runtime, shop(image_host), idempotency_key="once")
        assert not again.replayed
        assert input_key(again.snapshot.id) in await runtime.storage.list_keys("requests/")

    run(story)


def test_a_bucket_that_is_gone_for_a_while_ends_no_request(run: Run, s3: S3, image_host: ImageHost) -> None:
    """Its answer to a read is the 404 of a CSV that is gone, but for its code."""

    async def story(runtime: Runtime) -> None:
        right = runtime.storage
        request_id = (await upload(runtime, shop(image_host))).snapshot.id
        runtime.storage = ObjectStore("s3://no-such-bucket", patience=IMPATIENT)
        await runtime.db.write(transitions.mark_stopping, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

        await lifecycle.finish(runtime, request_id)
        assert not (await state(runtime, request_id)).status.is_terminal

        runtime.storage = right
        await lifecycle.finish(runtime, request_id)
        assert (await state(runtime, request_id)).status is RequestStatus.CANCELLED

    run(story)


def test_what_a_store_could_not_remove_is_removed_later(
    run: Run, way: Way, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(runtime: Runtime) -> None:
        request_id = (await upload(runtime, shop(image_host))).snapshot.id
        await work_all(runtime)
        way.fail(Fault.BUSY, "POST", "DELETE")
        with pytest.raises(StorageError):
            await commands.delete(runtime, ANYBODY, request_id)
        assert len(await runtime.storage.list_keys("requests/")) == PRODUCTS + 2

        way.heal()
        monkeypatch.setattr(retention, "ORPHAN_SECONDS", -5)
        removed = await retention.delete_orphans(runtime)

        assert removed == PRODUCTS + 2
        assert await runtime.storage.list_keys("requests/") == []

    run(story)
