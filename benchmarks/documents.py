"""What the worst documents under the limits cost: CPU of the whole process, from the first character to the answer.

`python -m benchmarks.documents` prints the best and the median of some rounds, and the best in `work`: how often a
fixed piece of work could have been done, which says more where other processes share the cores.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path
from statistics import median

from gql_imgproc.database.migrations import upgrade
from gql_imgproc.settings import Settings
from gql_imgproc.standalone.embedded_redis import prepare
from tests.graphql.client import opened
from tests.graphql.worst_case_documents import BEFORE_READING, MAX_WORK, READING, Took, given_all, settled, taken

ROUNDS = 7


async def took(settings: Settings) -> dict[str, list[Took]]:
    async with opened(settings) as api:
        given_all(api.runtime.db)
        with settled():
            return {
                name: [await taken(api, document) for _ in range(ROUNDS)]
                for name, document in (BEFORE_READING | READING).items()
            }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, prepare() as redis:
        server = subprocess.Popen(redis.program.command)
        try:
            url = f"sqlite:///{folder}/imgproc.db"
            upgrade(url)
            settings = Settings(_env_file=None, database_url=url, redis_url=redis.url, data_dir=Path(folder))
            rows = asyncio.run(took(settings))
        finally:
            server.terminate()
            server.wait(10)
    print(f"{'document':30} {'best ms':>8} {'median ms':>10} {'work':>6}")
    for name, rounds in sorted(rows.items(), key=lambda row: -min(each.cpu_s for each in row[1])):
        seconds, least = [each.cpu_s for each in rounds], min(each.in_work for each in rounds)
        over = f"   over {MAX_WORK}" if least > MAX_WORK else ""
        print(f"{name:30} {min(seconds) * 1000:8.0f} {median(seconds) * 1000:10.0f} {least:6.1f}{over}")


if __name__ == "__main__":
    main()
