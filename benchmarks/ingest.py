"""Upload of a large CSV: response time, memory growth of the API, and latency of other queries during the upload.

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

#: Sent repeatedly during the upload and the ingestion.
QUERIES = ("{ limits { maxUploadBytes } }", "{ requests(first: 5) { edges { node { id status progressPercent } } } }")
UPLOAD = """mutation ($input: UploadCsvInput!) { uploadCsv(input: $input) {
  __typename ... on UploadCsvSuccess { request { id } } ... on UserError { message } } }"""
PRODUCT_COUNT = "query ($id: ID!) { request(id: $id) { products(last: 1) { totalCount } } }"
#: Pause between two queries, and between two readings of the memory.
PAUSE_SECONDS = 0.02
MAX_RESPONSE_SECONDS, MAX_GROWTH_MIB, MAX_LATENCY_SECONDS = 5, 100, 0.1


async def repeat(action: Callable[[], Awaitable[None]]) -> None:
    while True:
        await action()
        await asyncio.sleep(PAUSE_SECONDS)


def build_upload(client: httpx.AsyncClient, rows: int) -> httpx.Request:
    # Nothing listens on the port of the images: this measures the ingestion, not the downloads.
    csv = HEADER + "".join(
        f"{n},Product number {n} of the shop,http://127.0.0.1:9/images/of/the/shop/{n}.jpg\n"
        for n in range(1, rows + 1)
    )
    print(f"{rows} rows, {len(csv) / 2**20:.1f} MiB")
    variables = {"input": {"file": None, "priority": "LOW"}}
    return client.build_request(
        "POST",
        "/graphql",
        headers={"GraphQL-Preflight": "1"},
        data={
            "operations": json.dumps({"query": UPLOAD, "variables": variables}),
            "map": json.dumps({"0": ["variables.input.file"]}),
        },
        files={"0": ("products.csv", csv.encode())},
    )


async def wait_until_ingested(client: httpx.AsyncClient, request_id: str, rows: int) -> None:
    while True:
        body = {"query": PRODUCT_COUNT, "variables": {"id": request_id}}
        response = await client.post("/graphql", json=body)
        if response.json()["data"]["request"]["products"]["totalCount"] == rows:
            return
        await asyncio.sleep(0.2)


async def measure(service: Service, rows: int) -> None:
    api = psutil.Process(service.api().pid)
    latencies: list[float] = []
    memory: list[int] = []
    async with (
        httpx.AsyncClient(base_url=service.url, timeout=300) as client,
        httpx.AsyncClient(base_url=service.url, timeout=30) as other,
    ):

        async def send_queries() -> None:
            for query in QUERIES:
                started = time.perf_counter()
                (await other.post("/graphql", json={"query": query})).raise_for_status()
                latencies.append(time.perf_counter() - started)

        async def read_memory() -> None:
            memory.append(api.memory_info().rss)

        await send_queries()
        latencies.clear()
        base = api.memory_info().rss
        # Encode the body first, so that this does not delay the other queries.
        upload = build_upload(client, rows)
        await upload.aread()
        tasks = [asyncio.create_task(repeat(action)) for action in (send_queries, read_memory)]
        started = time.perf_counter()
        response = await client.send(upload)
        response_s = time.perf_counter() - started
        result = response.json()["data"]["uploadCsv"]
        assert result["__typename"] == "UploadCsvSuccess", result
        upload_latencies = sorted(latencies)
        latencies.clear()
        await wait_until_ingested(client, result["request"]["id"], rows)
        ingested_s = time.perf_counter() - started
        ingest_latencies = sorted(latencies)
        for task in tasks:
            task.cancel()

    report(
        "response after", f"{response_s:.2f} s", f"< {MAX_RESPONSE_SECONDS} s", is_met=response_s < MAX_RESPONSE_SECONDS
    )
    growth_mib = (max(memory) - base) / 2**20
    report(
        "memory growth of the API",
        f"{growth_mib:.0f} MiB",
        f"< {MAX_GROWTH_MIB} MiB",
        is_met=growth_mib < MAX_GROWTH_MIB,
    )
    report_latencies("other queries during the upload, median / longest", upload_latencies)
    report("all rows ingested after", f"{ingested_s:.1f} s")
    report_latencies("other queries during ingestion, median / longest", ingest_latencies)


def report(name: str, value: str, target: str = "", *, is_met: bool = True) -> None:
    print(f"{name:52} {value:>12}   {target:10} {('met' if is_met else 'MISSED') if target else ''}")


def report_latencies(name: str, times: list[float]) -> None:
    if not times:
        # It ended before a query was sent.
        report(name, "-")
        return
    value = f"{1000 * times[len(times) // 2]:.0f} / {1000 * times[-1]:.0f} ms"
    report(name, value, f"< {1000 * MAX_LATENCY_SECONDS:.0f} ms", is_met=times[-1] < MAX_LATENCY_SECONDS)


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
