"""A worker that cannot start says so in one line and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(redis_url: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dramatiq", "worker_main", "--processes", "1", "--threads", "1", "--skip-logging"],
        cwd=ROOT,
        env=os.environ | {"IMGPROC_REDIS_URL": redis_url, "IMGPROC_DATA_DIR": str(folder), **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_what_it_needs_it_does_not_go_on(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = start(redis_url, tmp_path / "file" / "data")

    assert done.returncode == 78
    assert "the worker cannot start: [Errno 20] Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_a_malformed_setting_it_does_not_begin(redis_url: str, tmp_path: Path) -> None:
    done = start(redis_url, tmp_path, IMGPROC_WINDOW="many")

    assert done.returncode == 78
    assert "gql-imgproc: IMGPROC_WINDOW: `many` cannot be used: use a whole number\n" in done.stderr
    assert "Traceback" not in done.stderr
