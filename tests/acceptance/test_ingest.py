"""The API answers quickly while a large upload is ingested (promise P12)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

import httpx
import pytest

from gql_imgproc.client import AsyncClient
from tests.acceptance.conftest import StartService
from tests.acceptance.test_up import upload, write_csv

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

ROWS = 100_000
QUERY = {"query": "{ requests(first: 5) { edges { node { id status totalImages } } } limits { maxUploadBytes } }"}


def test_queries_are_answered_while_a_hundred_thousand_rows_are_ingested(start: StartService, tmp_path: Path) -> None:
    # No image host listens on this port: only the ingestion is tested.
    csv_path = write_csv(tmp_path / "large.csv", [[f"http://127.0.0.1:9/{n}.jpg"] for n in range(ROWS)])
    service = start("--workers", "1", FETCH_ALLOW_PORTS="9")

    async def run() -> tuple[float, list[float]]:
        is_done, latencies_s = asyncio.Event(), []

        async def query_repeatedly() -> None:
            async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
                while not is_done.is_set():
                    began = time.monotonic()
                    answer = await http.post(f"{service.url}/graphql", json=QUERY)
                    latencies_s.append(time.monotonic() - began)
                    assert "errors" not in answer.json()
                    await asyncio.sleep(0.02)

        async with AsyncClient(service.url) as client:
            querying = asyncio.create_task(query_repeatedly())
            began = time.monotonic()
            accepted = await upload(client, csv_path)
            answered_s = time.monotonic() - began
            assert accepted.total_products == ROWS
            # The rows are now ingested in chunks.
            await asyncio.sleep(3)
            is_done.set()
            await querying
        return answered_s, latencies_s

    answered_s, latencies_s = asyncio.run(asyncio.wait_for(run(), 60))

    assert answered_s < 20
    assert len(latencies_s) > 50
    assert median(latencies_s) < 0.1
