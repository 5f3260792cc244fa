"""A real runtime for service tests, and an image host whose responses can be set."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import select

from gql_imgproc.database.tables import is_not_done, requests
from gql_imgproc.enums import Priority
from gql_imgproc.imaging.options import Options
from gql_imgproc.net.checked_resolver import CheckedResolver
from gql_imgproc.net.image_fetcher import Download
from gql_imgproc.net.validators import NO_VALIDATORS, Validators
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.requests import lifecycle, time_slice
from gql_imgproc.requests.repository.lanes import wake_due_lanes
from gql_imgproc.requests.upload import CsvUpload, UploadResult, accept_upload
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings import Settings
from tests.support.api_clients import ANYBODY


def jpeg(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A small photograph-like image of high quality."""
    noise = Image.effect_noise(size, 60).convert("RGB")
    tint = Image.new("RGB", size, (seed * 37 % 256, seed * 91 % 256, seed * 13 % 256))
    out = io.BytesIO()
    Image.blend(noise, tint, 0.5).save(out, "JPEG", quality=95)
    return out.getvalue()


class ImageHost:
    """Serves `images` by path. Entries of `statuses` are sent first, one per request of that path."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.statuses: dict[str, list[int]] = {}
        self.requests: list[str] = []
        #: Sent as `Retry-After` with every error status.
        self.retry_after = ""
        #: Whether images have an ETag, and requests with it are answered without a body.
        self.has_etags = False
        #: Bytes of all bodies sent.
        self.sent_bytes = 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two packets: with Nagle's algorithm the second one waits 40 ms for the other's receipt.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                host.requests.append(self.path)
                planned = host.statuses.get(self.path)
                status = planned.pop(0) if planned else 200 if self.path in host.images else 404
                body = host.images.get(self.path, b"") if status == 200 else b""
                etag = f'"{hashlib.sha256(body).hexdigest()}"' if host.has_etags and body else ""
                if etag and self.headers["If-None-Match"] == etag:
                    status, body = 304, b""
                host.sent_bytes += len(body)
                self.send_response(status)
                if etag:
                    self.send_header("ETag", etag)
                self.send_header("Content-Length", str(len(body)))
                if status != 200 and host.retry_after:
                    self.send_header("Retry-After", host.retry_after)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def add(self, path: str, image: bytes) -> str:
        """Serves an image from now on; returns its URL."""
        self.images[path] = image
        return self.url + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def image_host() -> Iterator[ImageHost]:
    host = ImageHost()
    yield host
    host.close()


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        database_url=database_url,
        redis_url=redis_url,
        data_dir=tmp_path,
        public_url="https://images.example",
        fetch_allow_networks="127.0.0.0/8",
        fetch_allow_ports="*",
        retry_delays="0,0",
        # A permit does not wait for a lease of that length to expire.
        lease_seconds=60,
    )


def without_validators(fetch: Callable[[str], Awaitable[bytes]]) -> Callable[[str, Validators], Awaitable[Download]]:
    """For `ImageFetcher.fetch_if_changed`: downloads of hosts that send no validators."""

    async def fetch_if_changed(url: str, _: Validators) -> Download:
        return Download(await fetch(url), NO_VALIDATORS)

    return fetch_if_changed


async def resolve_every_name(*_: Any) -> Sequence[str]:
    """Tests that replace downloads need no DNS."""
    return ["127.0.0.1"]


@pytest.fixture
async def runtime(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runtime]:
    """A real runtime, open while the test runs. A message does all steps: no worker receives the one it would send."""
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 600.0)
    monkeypatch.setattr(CheckedResolver, "_resolve_with_dns", resolve_every_name)
    async with Runtime(settings) as opened:
        yield opened


async def upload(runtime: Runtime, csv: str | bytes, caller: Caller = ANYBODY, **overrides: Any) -> UploadResult:
    """Uploads a CSV with default options."""
    data = csv.encode() if isinstance(csv, str) else csv
    values: dict[str, Any] = {
        "filename": "products.csv",
        "options": Options(),
        "priority": Priority.NORMAL,
        "webhook_url": None,
        "idempotency_key": None,
    }
    return await accept_upload(runtime, caller, CsvUpload(file=io.BytesIO(data), **(values | overrides)))


async def work_all(runtime: Runtime) -> None:
    """Does the work of the workers for all unfinished requests, without messages, until nothing is left to do."""
    pool = WorkerPool(runtime)
    try:
        while True:
            before = await _list_unfinished(runtime)
            for request_id, _ in before:
                await lifecycle.advance(runtime, request_id)
            await runtime.db.write(wake_due_lanes)
            await pool.use_permit()
            for request_id, _ in before:
                await lifecycle.advance(runtime, request_id)
            await background_work(runtime)
            if before == await _list_unfinished(runtime):
                return
    finally:
        await pool.aclose()


async def work_on_images(runtime: Runtime) -> None:
    """Processes all due images, without messages."""
    pool = WorkerPool(runtime)
    await runtime.db.write(wake_due_lanes)
    await pool.use_permit()
    await pool.aclose()


async def background_work(runtime: Runtime) -> None:
    """Waits until the process has nothing to do in the background."""
    while runtime.background._tasks:
        await asyncio.gather(*runtime.background._tasks.values(), return_exceptions=True)


async def _list_unfinished(runtime: Runtime) -> list[tuple[UUID, int]]:
    statement = select(requests.c.id, requests.c.sequence).where(is_not_done).order_by(requests.c.id)
    return await runtime.db.read(lambda connection: [(row.id, row.sequence) for row in connection.execute(statement)])


def advance_in_background(runtime: Runtime) -> None:
    """Makes this process a worker for `advance`: a message is handled at once, instead of being sent."""
    loop = asyncio.get_running_loop()

    def handle(request_id: UUID) -> None:
        # A subject of its own: a message is not lost while the last one of its request is about to end.
        step = partial(lifecycle.advance, runtime, request_id)
        loop.call_soon_threadsafe(runtime.background.start, object(), step)

    runtime.queue.advance = handle  # type: ignore[method-assign]


@pytest.fixture
async def control_worker(runtime: Runtime) -> None:
    """A worker in this process that advances requests."""
    advance_in_background(runtime)
