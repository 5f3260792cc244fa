"""One machine: from the first upload to the last process's end."""

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

from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import AcceptedUpload, Client, Progress
from tests.acceptance.conftest import COMMAND, StartService, environment, refused

pytestmark = pytest.mark.acceptance


def write_manifest(path: Path, urls: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [[number, f"Product {number}", ",".join(row)] for number, row in enumerate(urls, start=1)]
        csv.writer(file).writerows([["S. No.", "Product Name", "Input Image Urls"], *rows])
    return path


async def upload(client: Client, manifest: Path, **given: Any) -> AcceptedUpload:
    with manifest.open("rb") as file:
        answer = await client.upload(file, manifest.name, **given)
    assert isinstance(answer, AcceptedUpload)
    return answer


async def run_through(url: str, manifest: Path, output: Path) -> list[Progress]:
    """Uploads, follows to the end, downloads; every state that was seen."""
    async with Client(url) as client:
        accepted = await upload(client, manifest)
        states = [state async for state in client.progress(accepted.request_id)]
        assert states[-1].output_csv_url is not None
        await client.download(states[-1].output_csv_url, output)
    return states


def test_an_upload_becomes_smaller_pictures_and_every_process_ends(
    start: StartService, pictures: Path, pictures_port: int, tmp_path: Path
) -> None:
    names = ["clock.jpg", "clock-moves.gif", "boots-cutout.webp"]
    for name in names:
        (pictures / name).write_bytes(sample_images.render_sample(name))
    base = f"http://127.0.0.1:{pictures_port}"
    manifest = write_manifest(
        tmp_path / "products.csv",
        [[f"{base}/{names[0]}", f"{base}/{names[1]}"], [f"{base}/gone.jpg", f"{base}/{names[2]}"]],
    )
    service = start()

    states = asyncio.run(run_through(service.url, manifest, tmp_path / "out.csv"))

    last = states[-1]
    assert (last.status, last.total, last.processed, last.failed) == (RequestStatus.COMPLETED_WITH_ERRORS, 4, 3, 1)
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
        fetched = httpx.get(url, trust_env=False)
        assert fetched.status_code == 200
        assert len(fetched.content) <= (pictures / name).stat().st_size
        (tmp_path / "fetched").write_bytes(fetched.content)
        with Image.open(tmp_path / "fetched") as after, Image.open(pictures / name) as before:
            assert (after.format, after.size) == (before.format, before.size)
            assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)

    if sys.platform == "linux":
        assert {worker.rlimit(psutil.RLIMIT_AS)[0] for worker in service.workers()} == {4 * 2**30}
    processes = service.processes()
    started = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - started < 10
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert service.process.stdout is not None
    assert service.process.stdout.read() == ""


def test_whatever_is_killed_comes_back_and_the_request_ends(
    start: StartService, pictures: Path, pictures_port: int, tmp_path: Path
) -> None:
    for number in range(40):
        (pictures / f"{number}.jpg").write_bytes(sample_images.render_sample("espresso-front.jpg"))
    base = f"http://127.0.0.1:{pictures_port}"
    manifest = write_manifest(tmp_path / "products.csv", [[f"{base}/{number}.jpg"] for number in range(40)])
    service = start("--workers", "1", LEASE_SECONDS="1", SWEEP_SECONDS="0.5")
    workers = service.workers()
    assert len(workers) == 1

    async def story() -> Progress:
        async with Client(service.url) as client:
            accepted = await upload(client, manifest)
            progress = client.progress(accepted.request_id)
            async for state in progress:
                if state.ended:
                    break
            workers[0].kill()
            service.redis().kill()
            service.api().kill()
            killed = time.monotonic()
            while not [worker for worker in service.workers() if worker.pid != workers[0].pid]:
                assert time.monotonic() - killed < 10
                await asyncio.sleep(0.05)
            assert time.monotonic() - killed < 2
            return [state async for state in progress][-1]

    last = asyncio.run(asyncio.wait_for(story(), 60))

    assert (last.status, last.processed, last.failed) == (RequestStatus.COMPLETED, 40, 0)
    assert service.stop(signal.SIGINT) == 0


def test_a_killed_up_leaves_no_process_and_the_doctor_sees_both(start: StartService, tmp_path: Path) -> None:
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
    assert (while_up.returncode, "FAULT" in while_up.stdout) == (0, False)
    for command in (["up", "--port", "0"], ["demo"]):
        line = refused(*command, "--data-dir", str(tmp_path / "data"))
        assert f"is in use by a running `gql-imgproc up` (process {service.process.pid})" in line

    service.process.kill()

    _, left = psutil.wait_procs(processes, timeout=5)
    assert left == []
    after = subprocess.run(
        doctor,
        env=environment(DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "none run" in after.stdout


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused("up", "--port", port, "--data-dir", str(tmp_path))
        assert f"port {port}" in refused("api", "--port", port, DATA_DIR=str(tmp_path))


def test_a_data_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    line = refused("up", "--port", "0", "--data-dir", str(tmp_path / "file" / "data"))

    assert str(tmp_path / "file" / "data") in line
    assert "--data-dir" in line


def test_an_unreachable_redis_is_one_line(tmp_path: Path) -> None:
    line = refused("up", "--port", "0", "--data-dir", str(tmp_path), REDIS_URL="redis://:secret@127.0.0.1:1/0")

    assert "127.0.0.1:1" in line
    assert "IMGPROC_REDIS_URL" in line
    assert "secret" not in line


def test_an_unreachable_database_is_one_line(tmp_path: Path) -> None:
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/none"

    line = refused("up", "--port", "0", "--data-dir", str(tmp_path), DATABASE_URL=url)

    assert "IMGPROC_DATABASE_URL" in line
    assert "secret" not in line


def test_a_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("This has never been a database, though it is long enough to be taken for one.")

    for path, reason in (("file", "file is not a database"), ("file/in/x.db", "Not a directory")):
        line = refused("up", "--port", "0", "--data-dir", str(tmp_path), DATABASE_URL=f"sqlite:///{tmp_path}/{path}")
        assert reason in line
        assert "IMGPROC_DATABASE_URL" in line


def test_a_store_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    started = time.monotonic()
    line = refused("up", "--port", "0", "--data-dir", str(tmp_path), STORAGE_URL=f"file://{tmp_path}/file/objects")

    assert time.monotonic() - started < 10
    assert f"The object store file://{tmp_path}/file/objects cannot be used (to write): " in line
    assert "IMGPROC_STORAGE_URL" in line


def test_a_setting_that_is_nonsense_is_one_line(tmp_path: Path) -> None:
    assert "IMGPROC_WINDOW" in refused("up", "--data-dir", str(tmp_path), WINDOW="many")


def test_other_machines_are_not_let_in_unasked(tmp_path: Path) -> None:
    line = refused("up", "--host", "0.0.0.0", "--port", "0", DATA_DIR=str(tmp_path), LOG_LEVEL="warning")

    assert line == (
        "gql-imgproc: Listening on 0.0.0.0 lets other machines in, so callers are asked for an API key, and there is"
        " none yet. Make one with `gql-imgproc keys create`, or add --allow-anonymous to ask nobody\n"
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))
