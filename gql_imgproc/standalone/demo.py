"""The command `demo`: thirty sample images through an embedded service and its GraphQL API."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from gql_imgproc.client import AsyncClient, Request, ServiceError, UserError
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.data_dir import check_writable, lock_data_dir
from gql_imgproc.standalone.sample_server import serve_images
from gql_imgproc.standalone.server_address import check_port
from gql_imgproc.standalone.supervisor import run_until_stopped
from gql_imgproc.standalone.terminal import FormatTotals, show_csv_issues, show_failures, show_progress, show_totals
from gql_imgproc.standalone.up import READY_S, STOP_REDIS_S, STOP_S
from gql_imgproc.system.process import wrap_die_with_parent

#: Exit status after Ctrl-C before the result.
INTERRUPTED = 130
#: Number of log lines to print when the service does not start.
LOG_LINES = 15

IMAGES = """
query Images($id: ID!) {
  request(id: $id) {
    products(first: 100) { edges { node { images { inputUrl outcome format inputBytes outputBytes } } } }
  }
}
"""


async def run(*, exit_after_result: bool, folder: Path | None) -> int:
    """Runs the demo in a folder and serves until Ctrl-C, unless `exit_after_result`; returns the exit status."""
    status = await run_until_stopped(lambda at_once: _run(at_once, exit_after_result=exit_after_result, folder=folder))
    return INTERRUPTED if status is None else status


async def _run(at_once: asyncio.Event, *, exit_after_result: bool, folder: Path | None) -> int:
    out = Console(highlight=False, soft_wrap=True)
    folder = folder or Path("data") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    images = folder / "images"
    check_writable(images)
    # Fails before a running demo's files are overwritten. The service takes the lock again and keeps it.
    with lock_data_dir(folder):
        pass
    port = check_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    with serve_images(images) as image_port:
        out.print(f"Starting all services in {folder} and creating sample images …", markup=False)
        async with _start_service(folder, port, image_port, at_once) as service_exit:
            count = await asyncio.to_thread(sample_images.create_sample_images, images)
            out.print(f"Serving {count} sample images from a local image host; the service listens on {url}")
            status = await _process_samples(url, f"http://127.0.0.1:{image_port}", folder, out)
            if not exit_after_result:
                out.print("Press Ctrl-C to stop")
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([service_exit])
                    raise ServiceError("The service exited unexpectedly. See service.log in the demo's folder")
    return status


async def _process_samples(url: str, images_url: str, folder: Path, out: Console) -> int:
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows(sample_images.sample_csv(images_url))
    (folder / "products.csv").write_text(rows.getvalue(), encoding="utf-8", newline="")
    async with AsyncClient(url) as client:
        started = time.monotonic()
        try:
            request = await client.upload(folder / "products.csv", refresh=True)
        except UserError as error:
            show_csv_issues(out, error)
            return 1
        request = await show_progress(client, request.id, out)
        seconds = time.monotonic() - started
        output = folder / "products-output.csv"
        await client.download(request, output)
        products = (await client.execute(IMAGES, {"id": request.id}))["request"]["products"]
        _print_result(out, request, [image for edge in products["edges"] for image in edge["node"]["images"]], seconds)
        await show_failures(out, client, request)
    out.print(f"Output CSV: {output.absolute()}\nWeb page:   {url}/", markup=False)
    return 0 if request.status is RequestStatus.COMPLETED else 1


def _print_result(out: Console, request: Request, images: list[dict[str, Any]], seconds: float) -> None:
    formats: dict[str, FormatTotals] = {}
    for image in images:
        name = (image["format"] or "not done").removeprefix("image/").upper()
        sizes = image["inputBytes"] or 0, image["outputBytes"] or 0
        formats.setdefault(name, FormatTotals()).add(image["outcome"] or "FAILED", *sizes)
    count = request.finished_images
    show_totals(out, formats, f"{plural(count, 'image')} in {seconds:.1f} s: {count / seconds:.1f} images/s")


@asynccontextmanager
async def _start_service(
    folder: Path, port: int, image_port: int, at_once: asyncio.Event
) -> AsyncIterator[asyncio.Task[int]]:
    """Runs `gql-imgproc up` with its own database and object store; yields a task that waits for its exit."""
    log = folder / "service.log"
    with log.open("wb") as lines:
        process = await asyncio.create_subprocess_exec(
            *wrap_die_with_parent(os.getpid(), (sys.executable, "-m", "gql_imgproc", "up")),
            *("--port", str(port), "--data-dir", str(folder)),
            env={
                **os.environ,
                # Ignore the configuration: the demo's data stays in its folder. A configured Redis is used.
                **dict.fromkeys(
                    (
                        "IMGPROC_DATABASE_URL",
                        "IMGPROC_DATABASE_URL_FILE",
                        "IMGPROC_STORAGE_URL",
                        "IMGPROC_STORAGE_PUBLIC_ENDPOINT",
                        "IMGPROC_PUBLIC_URL",
                    ),
                    "",
                ),
                "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
                "IMGPROC_FETCH_ALLOW_PORTS": str(image_port),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=lines,
            # Ctrl-C must reach only this process, which then stops the service.
            start_new_session=True,
        )
    service_exit = asyncio.create_task(process.wait())
    try:
        await _wait_until_ready(process, log)
        yield service_exit
    finally:
        interrupt = asyncio.create_task(at_once.wait())
        # The second SIGTERM makes `up` stop at once.
        stop_s = STOP_S + STOP_REDIS_S + 2
        for number, timeout_s in ((signal.SIGTERM, stop_s), (signal.SIGTERM, 2), (signal.SIGKILL, None)):
            if service_exit.done():
                break
            # Not `process.send_signal`, which may take the exit status that asyncio waits for.
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
            ends = [service_exit] if at_once.is_set() else [service_exit, interrupt]
            await asyncio.wait(ends, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        interrupt.cancel()


async def _wait_until_ready(process: asyncio.subprocess.Process, log: Path) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S + 10):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line.startswith(b"ready "):
        Console(stderr=True).print(_tail(log), markup=False, highlight=False)
        raise ConfigurationError(f"The service did not start. The last lines of {log} are above")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
