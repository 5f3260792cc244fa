"""The sample run: everything embedded, thirty pictures, the whole way through GraphQL."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gql_imgproc.csvfile.messages import plural
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.client import Client, CsvRejected, Progress, ServiceError
from gql_imgproc.standalone.preflight import check_port, check_writable, lock_data_dir
from gql_imgproc.standalone.sample_server import image_host
from gql_imgproc.standalone.terminal import format_saving, format_size, show_csv_issues, show_failures, show_progress
from gql_imgproc.standalone.up import READY_S, STOP_REDIS_S, STOP_S
from gql_imgproc.system.process import wrap_die_with_parent

#: Lines of the service's log that are shown when it does not start.
LOG_LINES = 15

PICTURES = """
query Pictures($id: ID!) {
  request(id: $id) {
    products(first: 100) { edges { node { images { inputUrl outcome format inputBytes outputBytes } } } }
  }
}
"""


@dataclass(slots=True)
class FormatTotals:
    """What became of the pictures of one format."""

    pictures: int = 0
    before: int = 0
    after: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, image: dict[str, Any]) -> None:
        self.pictures += 1
        self.before += image["inputBytes"] or 0
        self.after += image["outputBytes"] or 0
        self.outcomes[image["outcome"] or "FAILED"] += 1


async def run(*, leave: bool, folder: Path | None) -> int:
    """Runs the demo in a folder, to its end or, unless `leave`, until Ctrl-C; returns the exit status."""
    out = Console(highlight=False, soft_wrap=True)
    folder = folder or Path("data") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    pictures = folder / "pictures"
    check_writable(pictures)
    # Before anything of a running demo is written over; the service takes the lock again and holds it.
    with lock_data_dir(folder):
        pass
    port = check_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}"
    with image_host(pictures) as pictures_port:
        out.print(f"Starting everything in {folder} and drawing sample pictures …", markup=False)
        drawing = asyncio.create_task(asyncio.to_thread(sample_images.create_sample_images, pictures))
        async with _service(folder, port, pictures_port) as ended:
            out.print(f"{await drawing} pictures on a local image host, the service on {url}")
            status = await _process(url, f"http://127.0.0.1:{pictures_port}", folder, out)
            if not leave:
                out.print("Serving until Ctrl-C")
                await _until_interrupted(ended)
    return status


async def _process(url: str, pictures_url: str, folder: Path, out: Console) -> int:
    rows = io.StringIO(newline="")
    csv.writer(rows).writerows(sample_images.sample_csv(pictures_url))
    (folder / "products.csv").write_text(rows.getvalue(), encoding="utf-8", newline="")
    async with Client(url) as client:
        started = time.monotonic()
        with (folder / "products.csv").open("rb") as file:
            answer = await client.upload(file, "products.csv")
        if isinstance(answer, CsvRejected):
            show_csv_issues(out, answer)
            return 1
        state = await show_progress(client, answer.request_id, out)
        seconds = time.monotonic() - started
        if state.output_csv_url is None:
            raise ServiceError(f"The request ended {state.status.value}: {state.failure or 'no reason was given'}")
        output = folder / "products-output.csv"
        await client.download(state.output_csv_url, output)
        request = (await client.query(PICTURES, {"id": answer.request_id}))["request"]
    _result(out, state, request, seconds)
    show_failures(out, output)
    out.print(f"Output CSV: {output.absolute()}\nWeb page:   {url}/", markup=False)
    return 0 if state.status is RequestStatus.COMPLETED else 1


def _result(out: Console, state: Progress, request: dict[str, Any], seconds: float) -> None:
    tallies: dict[str, FormatTotals] = {}
    for edge in request["products"]["edges"]:
        for image in edge["node"]["images"]:
            name = (image["format"] or "not done").removeprefix("image/").upper()
            tallies.setdefault(name, FormatTotals()).add(image)
    rate = f"{plural(state.ended, 'picture')} in {seconds:.1f} s: {state.ended / seconds:.1f} pictures/s"
    table = Table("Format", caption=rate)
    for title in ("Pictures", "Kept", "Failed", "Before", "After", "Saved"):
        table.add_column(title, justify="right")
    for name, tally in sorted(tallies.items(), key=lambda item: -item[1].before):
        kept, failed = tally.outcomes["KEPT"], tally.outcomes["FAILED"]
        table.add_row(name, *_cells(tally.pictures, kept, failed, tally.before, tally.after))
    table.add_section()
    table.add_row(
        "All",
        *_cells(state.total, state.kept, state.failed, state.input_bytes, state.output_bytes),
        style="bold",
    )
    out.print(table)
    if state.kept:
        out.print("Kept: the picture's own bytes, since compressing it would not have helped")


def _cells(pictures: int, kept: int, failed: int, before: int, after: int) -> tuple[str, ...]:
    return (
        str(pictures),
        str(kept),
        str(failed),
        format_size(before),
        format_size(after),
        format_saving(before, after),
    )


@asynccontextmanager
async def _service(folder: Path, port: int, pictures_port: int) -> AsyncIterator[asyncio.Task[int]]:
    """`gql-imgproc up` with a database and a store of its own; hands out the wait for its end."""
    log = folder / "service.log"
    with log.open("wb") as lines:
        process = await asyncio.create_subprocess_exec(
            *wrap_die_with_parent(os.getpid(), (sys.executable, "-m", "gql_imgproc", "up")),
            *("--port", str(port), "--data-dir", str(folder)),
            env={
                **os.environ,
                # Whatever is configured here: the demo's data is in the demo's folder. A Redis is made use of.
                **dict.fromkeys(
                    (
                        "IMGPROC_DATABASE_URL",
                        "IMGPROC_STORAGE_URL",
                        "IMGPROC_STORAGE_PUBLIC_ENDPOINT",
                        "IMGPROC_PUBLIC_URL",
                    ),
                    "",
                ),
                "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
                "IMGPROC_FETCH_ALLOW_PORTS": str(pictures_port),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=lines,
            # Ctrl-C is for us; we stop the service.
            start_new_session=True,
        )
    ended = asyncio.create_task(process.wait())
    try:
        await _until_ready(process, log)
        yield ended
    finally:
        if not ended.done():
            process.send_signal(signal.SIGTERM)
            await asyncio.wait([ended], timeout=STOP_S + STOP_REDIS_S + 2)
        if not ended.done():
            process.kill()
        await ended


async def _until_ready(process: asyncio.subprocess.Process, log: Path) -> None:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_S + 10):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line.startswith(b"ready "):
        Console(stderr=True).print(_tail(log), markup=False, highlight=False)
        raise ConfigurationError(f"The service did not start; the end of {log} stands above")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


async def _until_interrupted(ended: asyncio.Task[int]) -> None:
    """Waits for Ctrl-C or SIGTERM, or for the service to end by itself."""
    interrupted = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted.set)
    waiting = asyncio.create_task(interrupted.wait())
    await asyncio.wait([waiting, ended], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if ended.done():
        raise ServiceError("The service ended by itself; its log stands in the demo's folder")
