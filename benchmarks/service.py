"""`gql-imgproc up` as it comes, and what a client sees of it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import psutil

from gql_imgproc.standalone.client import AcceptedUpload, Client, Progress

HEADER = "S. No.,Product Name,Input Image Urls\n"


def manifest(addresses: list[str]) -> bytes:
    """A CSV with one product for each picture."""
    return (HEADER + "".join(f"{n},Product {n},{address}\n" for n, address in enumerate(addresses, 1))).encode()


@dataclass(frozen=True, slots=True)
class Run:
    """One request: seconds from the answer to its upload until its final status was seen, and the end."""

    upload_s: float
    work_s: float
    cpu_s: float
    end: Progress


class Service:
    """`up` with default settings in an empty folder; only the loopback host of pictures is opened to it."""

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
        """The process that answers."""
        return next(process for process in self.processes() if "api" in process.cmdline())

    def cpu_s(self) -> float:
        """CPU seconds of everything so far: workers, API, Redis, supervisor."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(time.user + time.system for time in times))

    async def run(self, addresses: list[str]) -> Run:
        async with Client(self.url) as client:
            cpu_s, started = self.cpu_s(), time.perf_counter()
            accepted = await client.upload(io.BytesIO(manifest(addresses)), "benchmark.csv")
            assert isinstance(accepted, AcceptedUpload), accepted
            uploaded = time.perf_counter()
            async with aclosing(client.progress(accepted.request_id)) as states:
                *_, end = [state async for state in states]
            ended = time.perf_counter()
        return Run(uploaded - started, ended - uploaded, self.cpu_s() - cpu_s, end)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)
