"""Every benchmark runs at its smallest size, so that none breaks unseen."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
#: Seconds after which a script is stopped. The slowest takes under a minute on two idle cores.
TIMEOUT_S = 240

#: The smallest arguments of each benchmark, and a line of its results.
BENCHMARKS = {
    "compression": ("--images 2 --rounds 1", r"JPEG, 4:2:0 +1 +\d+% +[\d.]+"),
    "corpus": ("docs", r"\d+ files, .* saved, 0 broken promises"),
    "documents": ("--rounds 1", r"[\w ,]+ +\d+ +\d+ +[\d.]+.*"),
    "equivalence": ("--images 3", r" +90 \d\.\d{4}( +\d+ +\d+-\d+ +\d+ +\d+\.\d+){2}"),
    "ingest": ("--rows 100", r"all rows ingested after +[\d.]+ s +"),
    "million_rows": ("--rows 2000", r"delete +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms +\d+ MiB"),
    "rerun": ("--images 20", r"images encoded, few changes +1\.000 +1 +met"),
    "scaling": (
        "--processes 1 2 --images 4 --slow-images 2 --tiny-images 10",
        r"2 processes / 2 times 1, slow hosts +[\d.]+ +>= 0\.9 +(met|MISSED)",
    ),
    "similarity_score": ("--images 1", r"\| all \| \d+ \| .*"),
    "size": ("--images 2", r"\| ours, lossless \| 0\.\d+ \| .*"),
    "subscriptions": ("--subscribers 5 10 --events 2", r"events lost by 10 subscribers +0\.000 +0 +met"),
    "throughput": ("--images 4 --rounds 1 --latency-ms 1 --long 8 --small", r"8 images: [\d.]+ /s"),
}
#: Programs that a benchmark starts.
PROGRAMS = {
    "baseline": "throughput",
    "image_host": "throughput",
    "peak_memory": "compression",
    "stock_strawberry": "subscriptions",
}


def run(name: str, arguments: str) -> str:
    """Runs a module and returns what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments.split()]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        finally:
            # Also what it started, if it did not end.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    # A log line of a worker that is stopped may contain a traceback, which is indented.
    assert not re.search("^Traceback", errors, re.MULTILINE), errors
    return output


def test_every_script_is_listed() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text()}

    assert scripts == BENCHMARKS.keys() | PROGRAMS.keys()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S + 10)
@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmark_runs_at_its_smallest_size(name: str) -> None:
    arguments, result = BENCHMARKS[name]

    printed = run(name, arguments)

    assert [line for line in printed.splitlines() if re.fullmatch(result, line)], printed


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS | PROGRAMS)
def test_script_has_help(name: str) -> None:
    assert run(name, "--help").startswith("usage: ")
