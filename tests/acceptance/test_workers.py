"""Worker processes that crash, join, stop or wait: what they do to the images of the others."""

from __future__ import annotations

import asyncio
import io
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, READY_S, StartService, environment, show
from tests.acceptance.netns_hosts import host
from tests.acceptance.test_fairness import wait_until_final
from tests.acceptance.test_separate_processes import wait_until_ready
from tests.acceptance.test_up import upload, write_csv
from tests.support.free_port import free_port

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    # Processes start slowly while other tests use the cores.
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux"),
]

IMAGES = "SELECT images.* FROM images JOIN products ON products.id = images.product_id ORDER BY products.position"
#: Size of the image that kills its process, in pixels.
KILLER_SIZE = (61, 67)
#: Python runs this module at its start. The image kills the process that decodes it.
KILL_DECODING_PROCESS = f"""
import os, signal
from PIL import ImageFile
load = ImageFile.ImageFile.load

def load_or_kill(image):
    if image.size == {KILLER_SIZE}:
        with open(os.path.join(os.path.dirname(__file__), "kills"), "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return load(image)

ImageFile.ImageFile.load = load_or_kill
"""


@pytest.fixture(scope="module")
def image() -> bytes:
    return sample_images.render_sample("espresso-front.jpg")


def read_images(database: Path) -> list[dict[str, Any]]:
    """The rows of images, by product and position."""
    with sqlite3.connect(database) as lite:
        lite.row_factory = sqlite3.Row
        return [dict(row) for row in lite.execute(IMAGES)]


async def process(url: str, csv_path: Path) -> Request:
    async with AsyncClient(url) as client:
        return await wait_until_final(client, (await upload(client, csv_path)).id)


def test_image_that_kills_its_process_fails_alone_among_200(
    start: StartService, image: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise P5."""
    (tmp_path / "sitecustomize.py").write_text(KILL_DECODING_PROCESS)
    killer = io.BytesIO()
    Image.radial_gradient("L").resize(KILLER_SIZE).convert("RGB").save(killer, "JPEG")
    with host(lambda path: killer.getvalue() if path == "/100.jpg" else image, delay_s=0.2) as port:
        csv_path = write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(200)])
        with monkeypatch.context() as patch:
            patch.setenv("PYTHONPATH", str(tmp_path))
            service = start("--workers", "2", FETCH_ALLOW_PORTS=str(port), LEASE_SECONDS="3", SWEEP_SECONDS="0.5")

        state = asyncio.run(asyncio.wait_for(process(service.url, csv_path), 250))

    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.COMPLETED_WITH_ERRORS, 199, 1)
    images = read_images(service.data / "imgproc.db")
    assert [(n, row["error_code"]) for n, row in enumerate(images) if row["status"] != "COMPLETED"] == [
        (100, "WORKER_CRASHED")
    ]
    show(f"images by attempts: {Counter(row['attempts'] for row in images)}")
    assert max(row["attempts"] for row in images) <= 2
    # Once among other images, twice alone.
    assert (tmp_path / "kills").read_text() == "xxx"


class Processes:
    """An API, and workers that are started one by one, with one SQLite database."""

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        port = free_port()
        self.url, self.data, self._folder = f"http://127.0.0.1:{port}", folder / "data", folder
        self._environment = environment(
            REDIS_URL=redis_url,
            PUBLIC_URL=self.url,
            DATA_DIR=str(self.data),
            FETCH_ALLOW_NETWORKS="127.0.0.0/8",
            FETCH_ALLOW_PORTS="*",
            **settings,
        )
        self._started: list[subprocess.Popen[bytes]] = []
        subprocess.run([*COMMAND, "migrate"], env=self._environment, capture_output=True, timeout=READY_S, check=True)
        self.start("api", "api", "--port", str(port))
        wait_until_ready(self.url)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Runs a command, which logs to a file with this name."""
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, *command], env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(process)
        return process

    def read_log(self, name: str) -> str:
        return self._log(name).read_text()

    async def wait_for_log(self, name: str, text: str) -> None:
        async with asyncio.timeout(READY_S):
            while text not in self.read_log(name):  # noqa: ASYNC110 - another process writes the file
                await asyncio.sleep(0.02)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def close(self) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.wait(30)


@pytest.fixture
def processes(tmp_path: Path, redis_url: str) -> Iterator[Processes]:
    started = Processes(tmp_path, redis_url, IMAGES_IN_FLIGHT="8")
    yield started
    started.close()


async def wait_for_images(client: AsyncClient, request_id: str, count: int) -> None:
    async with aclosing(client.watch(request_id)) as states:
        async for state in states:
            if state.finished_images >= count:
                return
    raise AssertionError


def test_new_worker_process_takes_part_while_others_are_busy(
    processes: Processes, image: bytes, tmp_path: Path
) -> None:
    with ExitStack() as hosts:
        ports = [hosts.enter_context(host(lambda path: image, delay_s=0.3)) for _ in range(5)]
        urls = [[f"http://127.0.0.1:{ports[n % 5]}/{n}.jpg"] for n in range(12_000)]
        csv_path = write_csv(tmp_path / "products.csv", urls)
        processes.start("workers", "worker", "--processes", "3")

        async def run() -> float:
            async with AsyncClient(processes.url) as client:
                accepted = await upload(client, csv_path)
                await wait_for_images(client, accepted.id, 200)
                processes.start("new", "worker", "--processes", "1")
                await processes.wait_for_log("new", "ready for action")
                ready_at = time.monotonic()
                await processes.wait_for_log("new", "image completed")
                return time.monotonic() - ready_at

        seconds = asyncio.run(asyncio.wait_for(run(), 250))

        show(f"first image after {seconds:.2f} s")
        assert seconds < 5
        # Before the hosts end.
        processes.close()


def test_stop_of_a_worker_charges_no_attempt_and_repeats_nothing_stored(
    processes: Processes, image: bytes, tmp_path: Path
) -> None:
    """An orderly stop in the middle of a request, whose images another worker continues."""
    downloads: Counter[str] = Counter()

    def respond(path: str) -> bytes:
        downloads[path] += 1
        return image

    with host(respond, delay_s=0.5) as port:
        csv_path = write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(200)])
        stopped = processes.start("stopped", "worker", "--processes", "1")
        processes.start("other", "worker", "--processes", "1")

        async def run() -> Request:
            for name in ("stopped", "other"):
                await processes.wait_for_log(name, "ready for action")
            async with AsyncClient(processes.url) as client:
                accepted = await upload(client, csv_path)
                await wait_for_images(client, accepted.id, 60)
                # In the middle of its work.
                await processes.wait_for_log("stopped", "image completed")
                stopped.send_signal(signal.SIGTERM)
                return await wait_until_final(client, accepted.id)

        state = asyncio.run(asyncio.wait_for(run(), 250))

    assert stopped.wait(30) == 0
    assert (state.status, state.processed_images, state.failed_images) == (RequestStatus.COMPLETED, 200, 0)
    images = read_images(processes.data / "imgproc.db")
    show(f"images by number of downloads: {Counter(downloads.values())}")
    assert {row["attempts"] for row in images} == {1}
    # A second download of a stored image would have stored a second object.
    stored = {path.name for path in (processes.data / "objects" / "images").glob("*/*")}
    assert stored == {row["object_name"] for row in images}
    # Images in flight when it stopped.
    assert downloads.total() - 200 <= 8
    log = processes.read_log("stopped")
    assert "error" not in log.lower()
    assert "Traceback" not in log


def test_idle_worker_uses_hardly_any_cpu(start: StartService, image: bytes, tmp_path: Path) -> None:
    with host(lambda path: image) as port:
        csv_path = write_csv(tmp_path / "products.csv", [[f"http://127.0.0.1:{port}/{n}.jpg"] for n in range(20)])
        service = start("--workers", "2", FETCH_ALLOW_PORTS=str(port))
        asyncio.run(asyncio.wait_for(process(service.url, csv_path), 60))
    workers = service.workers()
    assert len(workers) == 2
    time.sleep(3)
    before = [sum(worker.cpu_times()[:2]) for worker in workers]

    time.sleep(20)

    after = [sum(worker.cpu_times()[:2]) for worker in workers]
    shares = [(second - first) / 20 for first, second in zip(before, after, strict=True)]
    show(f"share of a core: {shares}")
    assert max(shares) < 0.01
