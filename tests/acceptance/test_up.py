"""`up` on one machine, from the first upload to the end of the last process."""

from __future__ import annotations

import asyncio
import csv
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.system.process import REPEAT_S
from tests.acceptance.conftest import COMMAND, StartService, environment, run_refused
from tests.support.unique_images import unique_jpeg

pytestmark = pytest.mark.acceptance


def write_csv(path: Path, urls: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [[number, f"Product {number}", ",".join(row)] for number, row in enumerate(urls, start=1)]
        csv.writer(file).writerows([["S. No.", "Product Name", "Input Image Urls"], *rows])
    return path


async def upload(client: AsyncClient, csv_path: Path, **options: Any) -> Request:
    return await client.upload(csv_path, **options)


async def run_through(url: str, csv_path: Path, output: Path) -> list[Request]:
    """Uploads, watches to the end, downloads. Returns every state that was received."""
    async with AsyncClient(url) as client:
        accepted = await upload(client, csv_path)
        states = [state async for state in client.watch(accepted.id)]
        assert states[-1].output_csv_url is not None
        await client.download(states[-1].output_csv_url, output)
    return states


def test_upload_is_compressed_and_all_processes_exit(
    start: StartService, image_folder: Path, image_port: int, tmp_path: Path
) -> None:
    names = ["clock.jpg", "clock-moves.gif", "boots-cutout.webp"]
    for name in names:
        (image_folder / name).write_bytes(sample_images.render_sample(name))
    base = f"http://127.0.0.1:{image_port}"
    csv_path = write_csv(
        tmp_path / "products.csv",
        [[f"{base}/{names[0]}", f"{base}/{names[1]}"], [f"{base}/gone.jpg", f"{base}/{names[2]}"]],
    )
    service = start()

    states = asyncio.run(run_through(service.url, csv_path, tmp_path / "out.csv"))

    last = states[-1]
    assert last.status is RequestStatus.COMPLETED_WITH_ERRORS
    assert (last.total_images, last.processed_images, last.failed_images) == (4, 3, 1)
    assert [state.sequence for state in states] == sorted({state.sequence for state in states})
    assert [state.status.is_terminal for state in states] == [False] * (len(states) - 1) + [True]
    assert 0 < last.output_bytes < last.input_bytes
    first, second = read(tmp_path / "out.csv")
    assert (first["S. No."], first["Product Name"], first["Image Errors"]) == ("1", "Product 1", "")
    outputs = [url for row in (first, second) for url in row["Output Image Urls"].split(",")]
    assert outputs[2] == ""
    assert second["Image Errors"] != ""
    for name, url in zip(names, [outputs[0], outputs[1], outputs[3]], strict=True):
        assert url.startswith(f"{service.url}/api/image/")
        download = httpx.get(url, trust_env=False)
        assert download.status_code == 200
        assert len(download.content) <= (image_folder / name).stat().st_size
        (tmp_path / "download").write_bytes(download.content)
        with Image.open(tmp_path / "download") as after, Image.open(image_folder / name) as before:
            assert (after.format, after.size) == (before.format, before.size)
            assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)

    if sys.platform == "linux":
        assert {worker.rlimit(psutil.RLIMIT_AS)[0] for worker in service.workers()} == {4 * 2**30}
    processes = service.processes()
    assert service.stop() == 0
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert service.process.stdout is not None
    assert service.process.stdout.read() == ""


@pytest.mark.slow
def test_killed_processes_are_restarted_and_the_request_finishes(
    start: StartService, image_folder: Path, image_port: int, tmp_path: Path
) -> None:
    for number in range(40):
        image = unique_jpeg(sample_images.render_sample("espresso-front.jpg"), str(number))
        (image_folder / f"{number}.jpg").write_bytes(image)
    base = f"http://127.0.0.1:{image_port}"
    csv_path = write_csv(tmp_path / "products.csv", [[f"{base}/{number}.jpg"] for number in range(40)])
    service = start("--workers", "1", LEASE_SECONDS="1", SWEEP_SECONDS="0.5")
    workers = service.workers()
    assert len(workers) == 1

    async def run() -> Request:
        async with AsyncClient(service.url) as client:
            accepted = await upload(client, csv_path)
            progress = client.watch(accepted.id)
            async for state in progress:
                if state.finished_images:
                    break
            workers[0].kill()
            service.redis().kill()
            service.api().kill()
            killed_at = time.monotonic()
            while not [worker for worker in service.workers() if worker.pid != workers[0].pid]:
                assert time.monotonic() - killed_at < 10
                await asyncio.sleep(0.05)
            return [state async for state in progress][-1]

    last = asyncio.run(asyncio.wait_for(run(), 60))

    assert (last.status, last.processed_images, last.failed_images) == (RequestStatus.COMPLETED, 40, 0)
    assert service.stop(signal.SIGINT) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_all_processes_at_once(start: StartService, number: signal.Signals) -> None:
    # Given workers that cannot stop in order, since their Redis does not answer,
    service = start("--workers", "2")
    processes = service.processes()
    service.redis().suspend()

    # when a second signal comes a second after the first one,
    service.process.send_signal(number)
    # A loaded machine handles the first signal late.
    time.sleep(REPEAT_S + 0.5)
    assert service.process.poll() is None
    status = service.stop(number)

    # then nothing is left.
    assert status == 0
    assert psutil.wait_procs(processes, 5)[1] == []
    assert "is killed, as requested; unfinished images continue at the next start" in service.log.read_text()


@pytest.mark.slow
def test_killed_up_leaves_no_process_and_doctor_reports_it(start: StartService, tmp_path: Path) -> None:
    service = start("--workers", "1")
    processes = service.processes()
    assert len(processes) == 4  # Redis, the API, Dramatiq's master and its worker.
    doctor = [*COMMAND, "doctor"]
    while_up = subprocess.run(
        doctor,
        env=environment(DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 alive" in while_up.stdout
    assert (while_up.returncode, "FAIL" in while_up.stdout) == (0, False)
    for command in (["up", "--port", "0"], ["demo"]):
        line = run_refused(*command, "--data-dir", str(tmp_path / "data"))
        assert f"is in use by a running `gql-imgproc up` (process {service.process.pid})" in line

    service.process.kill()

    _, remaining = psutil.wait_procs(processes, timeout=30)
    assert remaining == []
    after = subprocess.run(
        doctor,
        env=environment(DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "none run" in after.stdout


@pytest.mark.slow
def test_port_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        assert f"port {port}" in run_refused("up", "--port", port, "--data-dir", str(tmp_path))
        assert f"port {port}" in run_refused("api", "--port", port, DATA_DIR=str(tmp_path))


@pytest.mark.slow
def test_unwritable_data_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    line = run_refused("up", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))

    assert str(tmp_path / "file" / "data") in line
    assert "--data-dir" in line


def test_unreachable_redis_is_reported_in_one_line(tmp_path: Path) -> None:
    line = run_refused("up", "--port", "0", "--data-dir", str(tmp_path), REDIS_URL="redis://:secret@127.0.0.1:1/0")

    assert "127.0.0.1:1" in line
    assert "IMGPROC_REDIS_URL" in line
    assert "secret" not in line


def test_unreachable_database_is_reported_in_one_line(tmp_path: Path) -> None:
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/none"

    line = run_refused("up", "--port", "0", "--data-dir", str(tmp_path), DATABASE_URL=url)

    assert "IMGPROC_DATABASE_URL" in line
    assert "secret" not in line


@pytest.mark.slow
def test_file_that_is_no_database_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("This has never been a database, though it is long enough to be taken for one.")

    for path, reason in (("file", "file is not a database"), ("file/in/x.db", "Not a directory")):
        line = run_refused(
            "up", "--port", "0", "--data-dir", str(tmp_path), DATABASE_URL=f"sqlite:///{tmp_path}/{path}"
        )
        assert reason in line
        assert "IMGPROC_DATABASE_URL" in line


@pytest.mark.slow
def test_unwritable_store_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    line = run_refused("up", "--port", "0", "--data-dir", str(tmp_path), STORAGE_URL=f"file://{tmp_path}/file/objects")

    assert f"The object store file://{tmp_path}/file/objects cannot be used (write failed): " in line
    assert "IMGPROC_STORAGE_URL" in line


def test_invalid_setting_is_reported_in_one_line(tmp_path: Path) -> None:
    assert "IMGPROC_LEASE_SECONDS" in run_refused("up", "--data-dir", str(tmp_path), LEASE_SECONDS="many")


@pytest.mark.slow
def test_listening_for_other_machines_requires_a_key_or_a_flag(tmp_path: Path) -> None:
    line = run_refused("up", "--host", "0.0.0.0", "--port", "0", DATA_DIR=str(tmp_path), LOG_LEVEL="warning")

    assert line == (
        "gql-imgproc: Listening on 0.0.0.0 admits other machines, so callers need an API key, and there is none yet."
        " Create one with `gql-imgproc keys create --name NAME`, with IMGPROC_DATA_DIR or IMGPROC_DATABASE_URL of this"
        " service, or add --allow-anonymous to require none\n"
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
