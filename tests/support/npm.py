"""Installs npm packages for tests from their lock file, once for all test processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: GraphQL clients, and tools that check the schema.
CLIENTS = Path(__file__).parents[1] / "conformance"
SCHEMA_TOOLS = CLIENTS / "schema"
#: Timeout of the installation.
INSTALL_TIMEOUT_S = 250
#: Oldest version of Node that all packages support.
MIN_NODE = 20


def skip_or_fail(what: str) -> None:
    """Skip a test on a laptop; in CI every tool must be installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def install_packages(folder: Path) -> Path:
    """Install the packages of the project in `folder`, and return its `node_modules`."""
    if not (shutil.which("npm") and _node_version() >= MIN_NODE):
        skip_or_fail(f"Node {MIN_NODE} or newer, with npm")
    modules = folder / "node_modules"
    stamp = modules / ".stamp"
    lock_digest = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == lock_digest):
            # No package needs its install script.
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
            )
            if done.returncode:
                skip_or_fail(f"A package of npm ({done.stderr.strip()[-500:]})")
            stamp.write_text(lock_digest)
    finally:
        os.close(lock)
    return modules


def _node_version() -> int:
    """The major version of Node, 0 if it is not installed."""
    if shutil.which("node") is None:
        return 0
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])
