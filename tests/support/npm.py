"""Packages of npm that tests need: installed as a lock says, once, however many test processes there are."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

#: The clients that people have, and the tools that judge the schema.
CLIENTS = Path(__file__).parents[1] / "conformance"
SCHEMA_TOOLS = CLIENTS / "schema"
#: How long the packages may take to arrive, in seconds.
INSTALL_S = 100
#: Oldest node that all the packages run on.
NODE = 20


def lacking(what: str) -> None:
    """A laptop may do without; CI must not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def installed(folder: Path) -> Path:
    """The modules of the project in `folder`."""
    if not (shutil.which("npm") and _node_version() >= NODE):
        lacking(f"Node {NODE} or newer, with npm")
    modules = folder / "node_modules"
    stamp = modules / ".stamp"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    turn = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text() == wanted):
            # No package needs its install script, so none gets to run one.
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            if done.returncode:
                lacking(f"What npm installs ({done.stderr.strip()[-500:]})")
            stamp.write_text(wanted)
    finally:
        os.close(turn)
    return modules


def _node_version() -> int:
    """The major version of this machine's node, 0 when there is none."""
    if shutil.which("node") is None:
        return 0
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return int(said.removeprefix("v").partition(".")[0])
