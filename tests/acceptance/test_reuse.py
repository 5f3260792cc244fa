"""Requests share stored images while earlier ones are deleted and workers are killed (promise P15)."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Connection, select, update

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.database.tables import object_cleanups, renditions, tenants
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import RequestStatus
from gql_imgproc.maintenance import retention
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import read, upload, write_csv

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

IMAGES, ROUNDS = 60, 6


def let_checks_be_due(connection: Connection) -> None:
    """No grace time."""
    connection.execute(update(renditions).where(renditions.c.check_at.is_not(None)).values(check_at=now_plus(-1)))
    connection.execute(update(object_cleanups).values(due_at=now_plus(-1)))


@asynccontextmanager
async def cleaning(runtime: Runtime) -> AsyncIterator[None]:
    """Deletes what no image needs, again and again."""

    async def clean() -> None:
        while True:
            await runtime.db.write(let_checks_be_due)
            await retention.delete_unused_renditions(runtime)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(clean())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def kill_a_worker(service: Service) -> None:
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        random.choice(service.workers()).kill()


async def upload_and_disturb(client: AsyncClient, service: Service, csv_path: Path, earlier: Request | None) -> Request:
    """Uploads; deletes the earlier request and kills a worker while images are in progress."""
    accepted = await upload(client, csv_path)
    state = accepted
    async with contextlib.aclosing(client.watch(accepted.id)) as states:
        async for state in states:
            if earlier is not None and state.finished_images:
                await client.delete(earlier.id)
                kill_a_worker(service)
                earlier = None
    if earlier is not None:
        await client.delete(earlier.id)
    return state


async def assert_outputs_exist(client: AsyncClient, request: Request, folder: Path) -> set[str]:
    """Every output URL of the request works; returns their names."""
    assert (request.status, request.processed_images) == (RequestStatus.COMPLETED, IMAGES)
    await client.download(request, folder / "output.csv")
    urls = [row["Output Image Urls"] for row in read(folder / "output.csv")]
    async with httpx.AsyncClient() as browser:
        responses = [await browser.get(url) for url in urls]
    assert [response.status_code for response in responses] == [200] * IMAGES
    assert all(response.content.startswith(b"\xff\xd8") for response in responses)
    return {url.split("/")[-2] for url in urls}


def test_no_request_loses_an_image_that_another_one_shared(
    start: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sample_images.render_sample("espresso-front.jpg")

    async def run(service: Service, csv_path: Path, settings: Settings) -> None:
        async with AsyncClient(service.url) as client, Runtime(settings) as runtime:
            request: Request | None = None
            # When a catalogue is uploaded again and again, while the request before is deleted,
            async with cleaning(runtime):
                for _ in range(ROUNDS):
                    request = await upload_and_disturb(client, service, csv_path, request)
                    # then each request has all its images.
                    names = await assert_outputs_exist(client, request, tmp_path)
                    assert len(names) == IMAGES
            assert request is not None
            # And after the last one nothing is left.
            await client.delete(request.id)
            monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
            await runtime.db.write(let_checks_be_due)
            await retention.delete_unused_renditions(runtime)
            await retention.delete_orphans(runtime)
            assert await runtime.storage.list_keys("images/") == []
            stored = await runtime.db.read(lambda connection: connection.scalar(select(tenants.c.stored_bytes)))
            assert stored == 0

    with host(lambda path: image, delay_s=0.05) as port:
        csv_path = write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(IMAGES)])
        service = start("--workers", "2", FETCH_ALLOW_PORTS=str(port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5")
        redis_url = (service.data / "redis-url").read_text()
        settings = Settings(_env_file=None, data_dir=service.data, redis_url=redis_url)
        asyncio.run(asyncio.wait_for(run(service, csv_path, settings), 250))
