"""An object store that fails: no image is COMPLETED without its object, and the request finishes once it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import select, update

from gql_imgproc.database.tables import images, products, renditions
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import ImageStatus, RequestStatus, TerminationReason
from gql_imgproc.errors import StorageError
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance import retention
from gql_imgproc.processing.worker_pool import STOP_SECONDS
from gql_imgproc.requests import commands, lifecycle
from gql_imgproc.requests.repository import queries, transitions
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.storage.cloud import StoreTimeouts
from gql_imgproc.storage.object_store import ObjectStore
from gql_imgproc.storage.paths import image_key, input_key, output_key
from tests.support.api_clients import ANYBODY
from tests.support.fault_injection import Fault, FaultyProxy, proxy_to
from tests.support.invariants import assert_counters_equal_rows
from tests.support.s3_server import S3
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = "S. No.,Product Name,Input Image Urls\n"
PRODUCTS = 4
#: Short timeouts, so that a silent store fails soon.
TIMEOUTS = StoreTimeouts(connect_s=1, silence_s=0.5, call_s=5, retries=1)

# The store's effect on a request does not depend on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def proxy(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy in front of the store that can inject faults."""
    with proxy_to(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
async def runtime(settings: Settings, s3: S3, proxy: FaultyProxy) -> AsyncIterator[Runtime]:
    """A runtime whose bucket is behind the proxy. Attempts are practically unlimited."""
    changes = {"storage_url": s3.url, "retry_delays": (0.0,) * 10_000, "lease_seconds": 1}
    async with Runtime(settings.model_copy(update=changes)) as runtime:
        runtime.storage = ObjectStore(s3.url, timeouts=TIMEOUTS)
        yield runtime


def given_csv(image_host: ImageHost) -> str:
    urls = [image_host.add(f"/{n}.jpg", jpeg(n)) for n in range(PRODUCTS)]
    return HEADER + "".join(f"{n},P,{url}\n" for n, url in enumerate(urls, 1))


async def read_state(runtime: Runtime, request_id: UUID) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request_id)
    assert found is not None
    return found


async def completed_keys(runtime: Runtime, request_id: UUID) -> list[str]:
    """Objects of the images with the status COMPLETED."""
    statement = (
        select(images.c.object_name)
        .join(products)
        .where(products.c.request_id == request_id, images.c.status == ImageStatus.COMPLETED)
    )
    names = await runtime.db.read(lambda connection: connection.scalars(statement).all())
    return sorted(image_key(request_id, name) for name in names)


async def work_until(runtime: Runtime, is_reached: Callable[[], bool]) -> None:
    """Works until a condition holds. Work that is stopped during a claim leaves a lease, which must expire first."""
    working = asyncio.create_task(work_all(runtime))
    try:
        async with asyncio.timeout(30):
            while not is_reached():
                if working.done():
                    working.result()
                    working = asyncio.create_task(work_all(runtime))
                await asyncio.sleep(0.01)
    finally:
        # Again after the longest stop: a cancellation during a command of Redis is lost on Python 3.11.
        while not working.done():
            working.cancel()
            await asyncio.wait([working], timeout=2 * STOP_SECONDS + 2)
        await asyncio.gather(working, return_exceptions=True)


def fail_after_two_images(fault: Fault) -> Callable[[str, str], Fault | None]:
    stored = 0

    def inject(method: str, target: str) -> Fault | None:
        nonlocal stored
        stored += method == "PUT"
        return fault if method == "PUT" and stored > 2 else None

    return inject


def fail_outputs(fault: Fault) -> Callable[[str, str], Fault | None]:
    return lambda method, target: fault if method == "PUT" and "output-" in target else None


@pytest.mark.parametrize("fault", list(Fault))
async def test_failing_store_delays_a_request_and_loses_nothing(
    runtime: Runtime, s3: S3, proxy: FaultyProxy, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    request_id = (await upload(runtime, given_csv(image_host))).snapshot.id
    # A store is opened when it is first used: this one does not use the proxy.
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    direct = ObjectStore(s3.url)

    # When the store fails after half of the images, no other image is completed.
    proxy.fault = fail_after_two_images(fault)
    await work_until(runtime, lambda: len(proxy.failed_requests) >= 6)
    assert len(await completed_keys(runtime, request_id)) == 2
    assert (await read_state(runtime, request_id)).status is RequestStatus.PROCESSING

    # When it stores images but no output CSV, the request is not finished.
    proxy.fault = fail_outputs(fault)
    # Requests for images that were in progress may still fail.
    await work_until(runtime, lambda: any("output-" in request for request in proxy.failed_requests))
    await lifecycle.advance(runtime, request_id)
    completed = await completed_keys(runtime, request_id)
    assert len(completed) == PRODUCTS
    assert set(completed) <= set(await direct.list_keys("images/"))
    unfinished = await read_state(runtime, request_id)
    assert (unfinished.status, unfinished.output_name) == (RequestStatus.PROCESSING, None)

    # When it is back, the request finishes with all images.
    proxy.recover()
    async with asyncio.timeout(30):
        while not (final := await read_state(runtime, request_id)).status.is_terminal:
            await work_all(runtime)
    assert (final.status, final.processed_images, final.failed_images) == (RequestStatus.COMPLETED, PRODUCTS, 0)
    assert final.output_name is not None
    output = (await direct.get(output_key(request_id, final.output_name))).decode("utf-8-sig")
    assert output.count(f"{runtime.settings.public_url}/api/image/") == PRODUCTS
    for key in await completed_keys(runtime, request_id):
        assert await direct.get(key)
    assert_counters_equal_rows(runtime.db, request_id)


@pytest.mark.parametrize("fault", list(Fault))
async def test_upload_that_cannot_be_stored_is_refused_and_creates_no_request(
    runtime: Runtime, proxy: FaultyProxy, image_host: ImageHost, fault: Fault
) -> None:
    proxy.fail(fault, "PUT")

    with pytest.raises(StorageError):
        await upload(runtime, given_csv(image_host), idempotency_key="once")

    assert await runtime.db.read(queries.count_requests, DEFAULT_TENANT) == 0
    proxy.recover()
    second = await upload(runtime, given_csv(image_host), idempotency_key="once")
    assert not second.is_replay
    assert input_key(second.snapshot.id) in await runtime.storage.list_keys("requests/")


async def test_missing_bucket_does_not_finish_a_request(runtime: Runtime, image_host: ImageHost) -> None:
    """A missing bucket answers reads with 404, as a missing CSV does; only the error code differs."""
    store = runtime.storage
    request_id = (await upload(runtime, given_csv(image_host))).snapshot.id
    runtime.storage = ObjectStore("s3://no-such-bucket", timeouts=TIMEOUTS)
    await runtime.db.write(transitions.stop, DEFAULT_TENANT, request_id, TerminationReason.CANCELLED)

    await lifecycle.advance(runtime, request_id)
    assert not (await read_state(runtime, request_id)).status.is_terminal

    runtime.storage = store
    await lifecycle.advance(runtime, request_id)
    assert (await read_state(runtime, request_id)).status is RequestStatus.CANCELLED


async def test_objects_that_the_store_could_not_delete_are_deleted_later(
    runtime: Runtime, proxy: FaultyProxy, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = (await upload(runtime, given_csv(image_host))).snapshot.id
    await work_all(runtime)
    proxy.fail(Fault.BUSY, "POST", "DELETE")
    await commands.start_deletion(runtime, ANYBODY, request_id)
    await work_all(runtime)
    assert await runtime.db.read(queries.count_requests, DEFAULT_TENANT) == 0
    due = update(renditions).values(check_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))
    with pytest.raises(StorageError):
        await retention.delete_unused_renditions(runtime)
    assert len(await runtime.storage.list_keys("requests/")) == 3
    assert len(await runtime.storage.list_keys("images/")) == PRODUCTS

    proxy.recover()
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -5)
    assert await retention.delete_orphans(runtime) == 3
    assert await retention.delete_unused_renditions(runtime) == PRODUCTS

    assert await runtime.storage.list_keys("requests/") == []
    assert await runtime.storage.list_keys("images/") == []
