"""Every shell script of the repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.dockerfile import ROOT
from tests.deploy.test_image import ours


def scripts() -> list[Path]:
    """Files that git knows, or would take, and that say they are for a shell."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in files if path.is_file() and is_script(path)]


def is_script(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(64)
    return first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"bash", b"dash"))


def test_shellcheck_finds_nothing() -> None:
    found = scripts()
    if not found:
        pytest.skip("git does not tell which files there are")
    assert {ROOT / ".ci/run", ROOT / ".ci/setup"} <= set(found)

    done = subprocess.run(["shellcheck", *map(str, found)], capture_output=True, text=True, timeout=60, env=ours())

    assert (done.returncode, done.stdout) == (0, "")
