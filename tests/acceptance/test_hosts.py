"""Image hosts that throttle, are slow, silent or dead: none of them fails or delays the images of other hosts.

Promises P11 and P13.
Real worker processes and real hosts. Bounds are generous, since other tests may use the cores.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service, StartService, show
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_up import upload, write_csv
from tests.support.throttled_host import ThrottledHost, throttled_host

# Processes start slowly while other tests use the cores.
pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(300)]

#: Within which images are completed, in seconds, after images of 1,000 dead names, 1,000 dead hosts or a silent one.
MAX_DELAY_S = 5
#: Python runs this module at its start. Lookups of dead names hang.
HANG_LOOKUPS = """
import asyncio
import aiodns
find = aiodns.DNSResolver.getaddrinfo

def find_or_hang(resolver, host, **options):
    return asyncio.get_running_loop().create_future() if host.endswith(".invalid") else find(resolver, host, **options)

aiodns.DNSResolver.getaddrinfo = find_or_hang
"""
SETTINGS = {"FETCH_ALLOW_PORTS": "*", "AUTO_RETRIES": "0"}
UNAVAILABLE = "503 Service Unavailable"
REFUSED = "429 Too Many Requests"
IMAGES = """
SELECT json_extract(products.input_image_urls, '$[' || images.position || ']'), images.status, images.error_code,
  images.attempts
FROM images JOIN products ON products.id = images.product_id
"""


@pytest.fixture(scope="module")
def image() -> bytes:
    return sample_images.render_sample("espresso-front.jpg")


@pytest.fixture
def good_port(image: bytes) -> Iterator[int]:
    with host(lambda path: image) as port:
        yield port


@pytest.fixture
def service(start: StartService) -> Service:
    """`up` with two worker processes, which may fetch from every port of loopback. No automatic retries."""
    return start("--workers", "2", **SETTINGS)


@dataclass(frozen=True, slots=True)
class ImageRow:
    """The state of an image in the database."""

    url: str
    status: str
    error_code: str | None
    attempts: int


def read_images(service: Service) -> list[ImageRow]:
    with sqlite3.connect(service.data / "imgproc.db") as database:
        rows = database.execute(IMAGES).fetchall()
    return [ImageRow(*row) for row in rows]


def count_completed(service: Service, port: int) -> int:
    return sum(row.status == "COMPLETED" and urlsplit(row.url).port == port for row in read_images(service))


def list_urls(port: int, count: int, host: str = "127.0.0.1") -> list[list[str]]:
    return [[f"http://{host}:{port}/{number}.jpg"] for number in range(count)]


async def process(service: Service, csv_path: Path, disturb: Callable[[Request], None] | None = None) -> Request:
    """Uploads and watches to the end; `disturb` is called with every state. Shows the duration."""
    async with AsyncClient(service.url) as client:
        began = time.monotonic()
        accepted = await upload(client, csv_path)
        async for state in client.watch(accepted.id):
            if disturb is not None:
                disturb(state)
    show(f"{state.total_images} images: {time.monotonic() - began:.2f} s")
    return state


def finish(service: Service, csv_path: Path, within_s: float) -> Request:
    return asyncio.run(asyncio.wait_for(process(service, csv_path), within_s))


async def wait_for_completed(service: Service, csv_path: Path, port: int, count: int) -> None:
    """Uploads, and waits until so many images of the host at this port are completed. Shows the duration."""
    async with AsyncClient(service.url) as client:
        await upload(client, csv_path)
        began = time.monotonic()
        while count_completed(service, port) < count:  # noqa: ASYNC110 - other processes make progress
            await asyncio.sleep(0.05)
    show(f"{count} images: {time.monotonic() - began:.2f} s")


def assert_all_completed(state: Request, throttled: ThrottledHost, count: int) -> None:
    show(f"refused: {throttled.refused.total()} of {throttled.served.total() + throttled.refused.total()}")
    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.COMPLETED, count, 0)
    assert throttled.refused_share < 0.05


@pytest.mark.parametrize(
    ("refusal_status", "retry_after"),
    [(REFUSED, "1"), (REFUSED, ""), (UNAVAILABLE, "1")],
    ids=["retry-after", "no-retry-after", "503"],
)
def test_throttled_host_serves_all_images_with_few_refusals(
    service: Service, image: bytes, tmp_path: Path, refusal_status: str, retry_after: str
) -> None:
    with throttled_host(image, refusal_status=refusal_status, retry_after=retry_after) as throttled:
        csv_path = write_csv(tmp_path / "products.csv", list_urls(throttled.port, 200))

        state = finish(service, csv_path, within_s=25)

    assert_all_completed(state, throttled, 200)
    assert service.stop() == 0


def test_lost_redis_data_fails_no_image_of_a_throttled_host(service: Service, image: bytes, tmp_path: Path) -> None:
    flushed: list[int] = []

    def flush_once(state: Request) -> None:
        if not flushed and state.finished_images >= 80:
            flushed.append(state.finished_images)
            with redis.Redis.from_url((service.data / "redis-url").read_text()) as client:
                client.flushall()

    with throttled_host(image) as throttled:
        csv_path = write_csv(tmp_path / "products.csv", list_urls(throttled.port, 200))

        state = asyncio.run(asyncio.wait_for(process(service, csv_path, flush_once), 60))

    assert len(flushed) == 1
    assert 80 <= flushed[0] < 200
    # The host's pace is learned twice.
    show(f"refused: {throttled.refused.total()}")
    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.COMPLETED, 200, 0)


def test_silent_host_does_not_delay_later_images(service: Service, good_port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        urls = list_urls(silent.getsockname()[1], 64) + list_urls(good_port, 8)
        csv_path = write_csv(tmp_path / "products.csv", urls)

        asyncio.run(asyncio.wait_for(wait_for_completed(service, csv_path, good_port, 8), MAX_DELAY_S))


def test_dead_hosts_do_not_delay_later_images(service: Service, good_port: int, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    closed = [[f"http://127.0.{1 + number // 250}.{1 + number % 250}:{port}/a.jpg"] for number in range(1_000)]
    csv_path = write_csv(tmp_path / "products.csv", closed + list_urls(good_port, 8))

    asyncio.run(asyncio.wait_for(wait_for_completed(service, csv_path, good_port, 8), MAX_DELAY_S))


def test_names_without_an_answer_do_not_delay_later_images(
    start: StartService, good_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a DNS server that does not answer for 1,000 names, and a host whose name is resolved,
    (tmp_path / "sitecustomize.py").write_text(HANG_LOOKUPS)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        service = start("--workers", "2", **SETTINGS, FETCH_ALLOW_NETWORKS="127.0.0.0/8,::1/128")
    dead = [[f"http://shop-{number}.invalid/a.jpg"] for number in range(1_000)]
    urls = dead + list_urls(good_port, 8, "localhost")
    csv_path = write_csv(tmp_path / "products.csv", urls)

    # when all are in one request, then the host's images do not wait for the lookups.
    asyncio.run(asyncio.wait_for(wait_for_completed(service, csv_path, good_port, 8), MAX_DELAY_S))


def test_slow_host_does_not_delay_another_host_in_the_same_request(
    service: Service, good_port: int, image: bytes, tmp_path: Path
) -> None:
    with host(lambda path: image, delay_s=10) as slow_port:
        csv_path = write_csv(tmp_path / "products.csv", list_urls(slow_port, 50) + list_urls(good_port, 50))

        asyncio.run(asyncio.wait_for(wait_for_completed(service, csv_path, good_port, 50), 10))

        assert count_completed(service, slow_port) == 0


@pytest.mark.parametrize(
    ("status", "expected"), [(REFUSED, "HOST_OVERLOADED"), (UNAVAILABLE, "HTTP_STATUS")], ids=["429", "503"]
)
def test_url_that_is_always_refused_ends_with_its_error(
    start: StartService, image: bytes, tmp_path: Path, status: str, expected: str
) -> None:
    """The only URL of its host: the host's patience ends for a refusal, the attempts for a 503."""
    service = start("--workers", "2", **SETTINGS, HOST_PATIENCE_SECONDS="3", RETRY_DELAYS="0.1,0.1")
    with throttled_host(image, retry_after="") as throttled:
        throttled.statuses["/0.jpg"] = status
        csv_path = write_csv(tmp_path / "products.csv", list_urls(throttled.port, 1))

        state = finish(service, csv_path, within_s=30)

    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.FAILED, 0, 1)
    assert [row.error_code for row in read_images(service)] == [expected]
    show(f"requests: {throttled.refused.total()}")


@pytest.mark.parametrize("retry_after", ["", "86400"])
def test_one_refused_url_does_not_stop_its_host(
    start: StartService, image: bytes, tmp_path: Path, retry_after: str
) -> None:
    service = start("--workers", "2", **SETTINGS)
    with throttled_host(image, capacity=1_000, rate=1_000, retry_after=retry_after) as throttled:
        throttled.statuses["/0.jpg"] = REFUSED
        csv_path = write_csv(tmp_path / "products.csv", list_urls(throttled.port, 101))

        asyncio.run(asyncio.wait_for(wait_for_completed(service, csv_path, throttled.port, 100), 30))

    show(f"requests of the refused URL: {throttled.refused['/0.jpg']}")
    (refused,) = (row for row in read_images(service) if row.status != "COMPLETED")
    assert urlsplit(refused.url).path == "/0.jpg"
