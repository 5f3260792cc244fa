"""CPU time of the most expensive documents within the limits: of the whole process, from request to response.

`python -m benchmarks.documents` prints the best and the median of several rounds, and the best in units of a fixed
piece of work, which is comparable when other processes share the cores.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from graphql import get_introspection_query, parse

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.embedded_redis import prepare
from tests.graphql.client import Api, open_api
from tests.graphql.worst_case_documents import BEFORE_READING, READING, execute, given_rows

#: Limit of a document in units of work: 0.2 s where a unit takes 10 ms, as on two idle cores of 2026.
MAX_WORK_UNITS = 20


@dataclass(frozen=True, slots=True)
class Measurement:
    """The CPU time of one document."""

    cpu_s: float
    #: CPU time of a unit of work, measured just before and after.
    unit_s: float

    @property
    def work_units(self) -> float:
        return self.cpu_s / self.unit_s


@contextmanager
def frozen_heap() -> Iterator[None]:
    """As in the API process, the garbage collector ignores what was loaded before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def measure_unit() -> float:
    """CPU time of a fixed piece of similar work with many small objects: the current speed of the machine."""
    started = time.process_time()
    for _ in range(12):
        parse(get_introspection_query())
    return time.process_time() - started


async def measure(api: Api, document: str, variables: dict[str, Any]) -> Measurement:
    unit_before_s = measure_unit()
    started = time.process_time()
    await execute(api, document, variables)
    cpu_s = time.process_time() - started
    return Measurement(cpu_s, (unit_before_s + measure_unit()) / 2)


async def measure_all(settings: Settings, rounds: int) -> dict[str, list[Measurement]]:
    async with open_api(settings) as api:
        variables = given_rows(api)
        with frozen_heap():
            return {
                name: [await measure(api, document, variables) for _ in range(rounds)]
                for name, document in (BEFORE_READING | READING).items()
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    number_of_rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, prepare() as redis:
        server = subprocess.Popen(redis.program.command)
        try:
            url = f"sqlite:///{folder}/imgproc.db"
            upgrade(url)
            settings = Settings(_env_file=None, database_url=url, redis_url=redis.url, data_dir=Path(folder))
            rows = asyncio.run(measure_all(settings, number_of_rounds))
        finally:
            server.terminate()
            server.wait(10)
    print(f"{'document':36} {'best ms':>8} {'median ms':>10} {'work':>6}")
    for name, rounds in sorted(rows.items(), key=lambda row: -min(each.cpu_s for each in row[1])):
        seconds, least = [each.cpu_s for each in rounds], min(each.work_units for each in rounds)
        exceeded = f"   exceeds {MAX_WORK_UNITS}" if least > MAX_WORK_UNITS else ""
        print(f"{name:36} {min(seconds) * 1000:8.0f} {median(seconds) * 1000:10.0f} {least:6.1f}{exceeded}")


if __name__ == "__main__":
    main()
