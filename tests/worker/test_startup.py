"""A worker that cannot start logs one line and exits; a second stop signal ends one that cannot stop in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis
from dramatiq.cli import RET_KILLED

from gql_imgproc.system.process import REPEAT_S

ROOT = Path(__file__).parents[2]


def run_worker(redis_url: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dramatiq", "worker_main", "--processes", "1", "--threads", "1", "--skip-logging"],
        cwd=ROOT,
        env=os.environ | {"IMGPROC_REDIS_URL": redis_url, "IMGPROC_DATA_DIR": str(folder), **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_worker_exits_when_its_data_folder_cannot_be_created(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = run_worker(redis_url, tmp_path / "file" / "data")

    assert done.returncode == 78
    assert "the worker cannot start: [Errno 20] Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_exits_on_an_invalid_setting(redis_url: str, tmp_path: Path) -> None:
    done = run_worker(redis_url, tmp_path, IMGPROC_IMAGES_IN_FLIGHT="many")

    assert done.returncode == 78
    assert "gql-imgproc: IMGPROC_IMAGES_IN_FLIGHT: `many` cannot be used: use a whole number\n" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_to_the_group_ends_all_processes(number: int, redis_url: str, tmp_path: Path) -> None:
    # Given two worker processes that cannot stop in order, since their Redis does not answer,
    with redis.Redis.from_url(redis_url) as client:
        server = psutil.Process(client.info("server")["process_id"])
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        master = subprocess.Popen(
            [sys.executable, "-m", "dramatiq", "worker_main", "--processes", "2", "--skip-logging"],
            cwd=ROOT,
            env=os.environ | {"IMGPROC_REDIS_URL": redis_url, "IMGPROC_DATA_DIR": str(tmp_path)},
            stderr=stderr,
            start_new_session=True,
        )
    try:
        wait_for(log, "ready for action", 2)
        workers = psutil.Process(master.pid).children(recursive=True)
        server.suspend()

        # when the group receives a signal, which Dramatiq's master passes on, and then another one,
        os.killpg(master.pid, number)
        wait_for(log, "Stopping worker process", 2)
        # A loaded machine handles the first signal late.
        time.sleep(REPEAT_S + 0.5)
        assert master.poll() is None
        os.killpg(master.pid, number)

        # then all processes end.
        assert master.wait(5) == RET_KILLED
        assert psutil.wait_procs(workers, 5)[1] == []
        assert log.read_text().count("ended at once by a second signal") == 2
    finally:
        server.resume()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(master.pid, signal.SIGKILL)
        master.wait()


def wait_for(log: Path, text: str, count: int) -> None:
    deadline = time.monotonic() + 60
    while log.read_text().count(text) < count:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
