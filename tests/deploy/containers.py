"""A container engine, and the documented installation with Compose on it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.deploy.installation import ROOT, documented_commands

#: The engine's own packages are downloaded, and the base images built.
START_S = 420
#: Space that the engine, its images and their layers need.
DISK_BYTES = 8 * 1024**3

#: What a clone of the repository does not have, or the commands do not need.
NOT_COPIED = (".git", ".venv*", ".env", "node_modules", "static", "data", "__pycache__", ".*_cache")


def docker(*arguments: str, stdin: str = "", timeout: float = 60) -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


def wait_for(condition: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        states = docker("ps", "--all", "--format", "{{.Names}} {{.Status}}")
        assert time.monotonic() < deadline, f"{condition}\n{states}"
        time.sleep(0.25)


@contextmanager
def running_engine() -> Iterator[None]:
    """The engine of this machine. Without one, CI starts its own; elsewhere the test is skipped."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0:
        yield
        return
    if os.environ.get("CI") != "true":
        pytest.skip("needs a Docker engine; with CI=true and as root, tests/deploy/docker/start starts one")
    with (
        tempfile.TemporaryDirectory(prefix="engine", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert shutil.disk_usage(folder).free > DISK_BYTES, f"the engine needs {DISK_BYTES:,} free bytes in {folder}"
        try:
            started = subprocess.run(
                [str(ROOT / "tests/deploy/docker/start"), folder], capture_output=True, text=True, timeout=START_S
            )
            assert started.returncode == 0, started.stderr[-4000:]
            for name in ("DOCKER_HOST", "DOCKER_CONFIG"):
                patch.setenv(name, re.findall(rf'{name}="(.*?)"', (Path(folder) / "environment").read_text())[0])
            patch.setenv("PATH", f"{folder}/bin{os.pathsep}{os.environ['PATH']}")
            yield
        finally:
            stop_engine(Path(folder) / "dockerd.pid")


def stop_engine(pid_file: Path) -> None:
    if pid_file.exists():
        process = psutil.Process(int(pid_file.read_text()))
        process.terminate()
        process.wait(60)


class Checkout:
    """A copy of the repository, in which the commands of docs/OPERATIONS.md are run unchanged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))

    def set_values(self, **values: str) -> None:
        """Fills in the file .env."""
        path = self.folder / ".env"
        text = path.read_text(encoding="utf-8")
        for name, value in values.items():
            text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
            assert count == 1, name
        path.write_text(text, encoding="utf-8")

    def run(self, command: str, *, timeout: float = 120, **variables: str) -> str:
        """Runs a shell command, and returns its standard output."""
        done = subprocess.run(
            ["sh", "-euc", command],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def run_documented(self, title: str, *, timeout: float = 120, **variables: str) -> str:
        return self.run(documented_commands(title), timeout=timeout, **variables)
