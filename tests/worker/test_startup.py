"""A worker that cannot start logs one line and exits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
