"""The real commands, run as processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from gql_imgproc.standalone.sample_server import serve_images

#: Timeout until the service prints `ready`, in seconds, on a machine that also runs other tests.
READY_S = 180
COMMAND = (sys.executable, "-m", "gql_imgproc")


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, with these settings of the service and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMGPROC_")}
    return inherited | {f"IMGPROC_{name}": value for name, value in settings.items()}


def run_refused(*arguments: str, **settings: str) -> str:
    """Runs a command that must fail with one line; that line."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=READY_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.endswith("\n")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def show(measured: object) -> None:
    """Prints a measured figure, which pytest shows with `-s` or `-rA`."""
    print(measured)  # noqa: T201 - pytest shows it


class Service:
    """A running `gql-imgproc up`."""

    def __init__(self, folder: Path, arguments: Sequence[str], settings: dict[str, str]) -> None:
        self.log = folder / "service.log"
        self.data = folder / "data"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--port", "0", "--data-dir", str(self.data), *arguments],
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        deadline = threading.Timer(READY_S, self.process.kill)
        deadline.start()
        self.ready_line = self.process.stdout.readline()
        deadline.cancel()
        assert self.ready_line.startswith("ready http://127.0.0.1:"), self.log.read_text()
        self.url = self.ready_line.split()[1]

    def processes(self) -> list[psutil.Process]:
        """All child processes of `up`."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """The worker processes: Dramatiq's forks, without their masters."""
        processes = [process for process in self.processes() if "dramatiq" in _command_line(process)]
        masters = {process.pid for process in processes}
        return [process for process in processes if process.is_running() and process.ppid() in masters]

    def redis(self) -> psutil.Process:
        return self._find(lambda process: process.name() in ("redis-server", "valkey-server"))

    def api(self) -> psutil.Process:
        return self._find(lambda process: "api" in _command_line(process))

    def _find(self, is_wanted: Callable[[psutil.Process], bool]) -> psutil.Process:
        """Finds a process; waits for it if it was killed and is being restarted."""
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in self.processes():
                    if is_wanted(process):
                        return process
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits. Returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


StartService = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path, image_port: int) -> Iterator[StartService]:
    """Starts `up` in the test's folder; it may fetch from the test's image host."""
    started: list[Service] = []

    def start(*arguments: str, **settings: str) -> Service:
        defaults = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": str(image_port)}
        started.append(Service(tmp_path, arguments, defaults | settings))
        return started[-1]

    yield start
    for service in started:
        service.close()


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """The folder that the image host serves."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def image_port(image_folder: Path) -> Iterator[int]:
    with serve_images(image_folder) as port:
        yield port
