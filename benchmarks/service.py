"""`gql-imgproc up` with default settings, measured by a client."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from gql_imgproc.client import AsyncClient, Request

HEADER = "S. No.,Product Name,Input Image Urls\n"


def build_csv(urls: list[str]) -> bytes:
    """A CSV with one product per image."""
    return (HEADER + "".join(f"{n},Product {n},{url}\n" for n, url in enumerate(urls, 1))).encode()


def sum_cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds so far, without processes that have ended."""
    total_s = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s


@dataclass(frozen=True, slots=True)
class Run:
    """Measurements of one request. `work_s` is the time from the response to the upload until the final state."""

    upload_s: float
    work_s: float
    cpu_s: float
    final: Request


class Service:
    """`up` in an empty folder. The only changed settings permit images from loopback and reduce the log."""

    def __init__(self, folder: Path, workers: int | None = None, **settings: str) -> None:
        environment = {
            **os.environ,
            "IMGPROC_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
            "IMGPROC_FETCH_ALLOW_PORTS": "*",
            "IMGPROC_LOG_LEVEL": "warning",
            **settings,
        }
        options = ["--port", "0", "--data-dir", str(folder), *(["--workers", str(workers)] if workers else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gql_imgproc", "up", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def api(self) -> psutil.Process:
        """The API process."""
        return next(process for process in self.processes() if "api" in process.cmdline())

    def cpu_s(self) -> float:
        """CPU seconds of all processes so far: workers, API, Redis, supervisor."""
        return sum_cpu_s(self.processes())

    async def run(self, urls: list[str], *, refresh: bool = True) -> Run:
        """With `refresh`, images that an earlier run processed are processed again."""
        async with AsyncClient(self.url) as client:
            cpu_s, started_at = self.cpu_s(), time.perf_counter()
            accepted = await client.upload(io.BytesIO(build_csv(urls)), "benchmark.csv", refresh=refresh)
            uploaded_at = time.perf_counter()
            async with aclosing(client.watch(accepted.id)) as states:
                *_, final = [state async for state in states]
            finished_at = time.perf_counter()
        return Run(uploaded_at - started_at, finished_at - uploaded_at, self.cpu_s() - cpu_s, final)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
