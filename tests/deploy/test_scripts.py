"""Shell scripts of the repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.installation import ROOT, tool_environment


def scripts() -> list[Path]:
    """Returns files with a shell shebang that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in files if path.is_file() and is_script(path)]


def is_script(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(64)
    return first.startswith(b"#!") and first.rstrip().endswith((b"sh", b"bash", b"dash"))


def test_shell_scripts_pass_shellcheck() -> None:
    found = scripts()
    if not found:
        pytest.skip("git lists no files here")
    assert {ROOT / ".ci/run", ROOT / ".ci/setup"} <= set(found)

    done = subprocess.run(
        ["shellcheck", *map(str, found)], capture_output=True, text=True, timeout=60, env=tool_environment()
    )

    assert (done.returncode, done.stdout) == (0, "")
