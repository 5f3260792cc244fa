"""Ten times the rows take no more memory: not to take in, not to write out, not to retry, cancel or delete."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import million_rows

SMALL, LARGE = 2_500, 15_000
#: All rows of the larger one, held at once, would take more.
MOST_MIB = 12


def test_memory_does_not_grow_with_the_number_of_rows(empty_database_url: str, tmp_path: Path) -> None:
    # In a process of its own: what the most is that a process took cannot be asked for again.
    command = [sys.executable, __file__, empty_database_url, str(tmp_path)]
    ran = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True, check=True)

    growth = json.loads(ran.stdout.splitlines()[-1])
    assert {"upload", "ingest all rows", "output CSV and finish", "cancel all", "delete"} < growth.keys()
    assert {step: mib for step, mib in growth.items() if mib > MOST_MIB} == {}
    assert sum(growth.values()) < 2 * MOST_MIB


async def run(database_url: str, folder: Path) -> None:
    small, large = [await million_rows.run_scenario(database_url, rows, folder) for rows in (SMALL, LARGE)]
    assert small.keys() == large.keys()
    sys.stdout.write(json.dumps({name: result.growth_mib for name, result in large.items()}))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
else:
    pytestmark = pytest.mark.timeout(180)
