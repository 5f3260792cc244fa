"""Taking in a large CSV: how long the answer takes, how much memory it costs, and what other callers notice.

`python -m benchmarks.ingest` uploads 100,000 rows; `--rows 1000000` raises the limits for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psutil

from benchmarks.service import HEADER, Service

#: Asked again and again while the upload is on its way.
QUERIES = ("{ limits { maxUploadBytes } }", "{ requests(first: 5) { edges { node { id status progressPercent } } } }")
UPLOAD = """mutation ($input: UploadCsvInput!) { uploadCsv(input: $input) {
  __typename ... on UploadCsvSuccess { request { id } } ... on UserError { message } } }"""
#: Between two questions, and between two looks at the memory, in seconds.
PAUSE = 0.02


async def repeat(deed: Callable[[], Awaitable[None]]) -> None:
    while True:
        await deed()
        await asyncio.sleep(PAUSE)


async def measure(service: Service, rows: int) -> None:
    # The pictures are on a port where nobody listens: what is measured is the intake.
    csv = HEADER + "".join(
        f"{n},Product number {n} of the shop,http://127.0.0.1:9/pictures/of/the/shop/{n}.jpg\n"
        for n in range(1, rows + 1)
    )
    print(f"{rows} rows, {len(csv) / 2**20:.1f} MiB")
    api = psutil.Process(service.api().pid)
    latencies: list[float] = []
    memory: list[int] = []
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=300) as client,
        httpx.AsyncClient(base_url=service.url, timeout=30) as other,
    ):

        async def ask() -> None:
            for query in QUERIES:
                started = time.perf_counter()
                (await other.post("/graphql", json={"query": query})).raise_for_status()
                latencies.append(time.perf_counter() - started)

        async def look() -> None:
            memory.append(api.memory_info().rss)

        await ask()
        latencies.clear()
        base = api.memory_info().rss
        # Encoded before, so that the other callers here do not wait for that.
        upload = client.build_request(
            "POST",
            "/graphql",
            headers={"GraphQL-Preflight": "1"},
            data={
                "operations": json.dumps({"query": UPLOAD, "variables": {"input": {"file": None, "priority": "LOW"}}}),
                "map": json.dumps({"0": ["variables.input.file"]}),
            },
            files={"0": ("products.csv", csv.encode())},
        )
        await upload.aread()
        beside = [asyncio.create_task(repeat(deed)) for deed in (ask, look)]
        started = time.perf_counter()
        answer = await client.send(upload)
        answered = time.perf_counter() - started
        result = answer.json()["data"]["uploadCsv"]
        assert result["__typename"] == "UploadCsvSuccess", result
        during = sorted(latencies)
        latencies.clear()
        query = "query ($id: ID!) { request(id: $id) { products(last: 1) { totalCount } } }"
        while True:
            response = await client.post(
                "/graphql", json={"query": query, "variables": {"id": result["request"]["id"]}}
            )
            if response.json()["data"]["request"]["products"]["totalCount"] == rows:
                break
            await asyncio.sleep(0.2)
        ingested = time.perf_counter() - started
        after = sorted(latencies)
        for task in beside:
            task.cancel()

    def tell(what: str, figure: str, goal: str = "", met: bool = True) -> None:
        print(f"{what:52} {figure:>12}   {goal:10} {('met' if met else 'MISSED') if goal else ''}")

    def shown(times: list[float]) -> str:
        return f"{1000 * times[len(times) // 2]:.0f} / {1000 * times[-1]:.0f} ms"

    tell("answered after", f"{answered:.2f} s", "< 5 s", answered < 5)
    growth = (max(memory) - base) / 2**20
    tell("growth of the API process", f"{growth:.0f} MiB", "< 100 MiB", growth < 100)
    tell("other queries meanwhile, median / longest", shown(during), "< 100 ms", during[-1] < 0.1)
    tell("all rows taken in after", f"{ingested:.1f} s")
    tell("other queries during ingestion, median / longest", shown(after), "< 100 ms", after[-1] < 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    rows: int = parser.parse_args().rows
    raised = {"IMGPROC_MAX_PRODUCTS": str(rows), "IMGPROC_MAX_IMAGES": str(rows), "IMGPROC_MAX_UPLOAD_BYTES": "1GiB"}
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder) / "data", **(raised if rows > 100_000 else {}))
        try:
            asyncio.run(measure(service, rows))
        finally:
            service.close()


if __name__ == "__main__":
    main()
