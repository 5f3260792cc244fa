"""Runs `gql-imgproc` as a process, with only the settings that a test gives it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path


async def start_command(
    folder: Path, *arguments: str, stdin: int = subprocess.PIPE, **environment: str
) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGPROC_")}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gql_imgproc", *arguments),
        cwd=folder,
        env=clean | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120", **environment},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # As from a terminal: a shell in whose background the tests run ignores it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


async def run_command(folder: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Returns exit status, standard output and standard error."""
    process = await start_command(folder, *arguments, **environment)
    stdout, stderr = await asyncio.wait_for(process.communicate(stdin), 60)
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()
