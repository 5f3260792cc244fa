"""Memory does not grow with the number of rows: for ingestion, output, retry, cancellation and deletion."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import million_rows

SMALL, LARGE = 2_500, 15_000
#: All rows of the larger request in memory would need more.
MAX_GROWTH_MIB = 12


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows(empty_database_url: str, tmp_path: Path) -> None:
    # In a new process: the peak memory of a process cannot be reset.
    command = [sys.executable, __file__, empty_database_url, str(tmp_path)]
    ran = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True)

    growth = json.loads(ran.stdout.splitlines()[-1])
    assert {"upload", "ingest all rows", "output CSV and finish", "cancel all", "delete"} < growth.keys()
    assert {step: mib for step, mib in growth.items() if mib > MAX_GROWTH_MIB} == {}
    # Three steps have peaks of their own. On a busy machine, more threads run at once, each with memory of its own.
    assert sum(growth.values()) < 3 * MAX_GROWTH_MIB


async def run(database_url: str, folder: Path) -> None:
    small, large = [await million_rows.run_scenario(database_url, rows, folder) for rows in (SMALL, LARGE)]
    assert small.keys() == large.keys()
    sys.stdout.write(json.dumps({name: result.growth_mib for name, result in large.items()}))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
else:
    pytestmark = pytest.mark.timeout(180)
