"""A large upload and everybody else (promise P12)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median

import httpx
import pytest

from gql_imgproc.standalone.client import Client
from tests.acceptance.conftest import StartService
from tests.acceptance.test_up import upload, write_manifest

pytestmark = pytest.mark.acceptance

ROWS = 100_000
QUERY = {"query": "{ requests(first: 5) { edges { node { id status totalImages } } } limits { maxUploadBytes } }"}


def test_others_are_answered_while_a_hundred_thousand_rows_are_taken_in(start: StartService, tmp_path: Path) -> None:
    # Nobody listens there: what is looked at is the intake.
    manifest = write_manifest(tmp_path / "large.csv", [[f"http://127.0.0.1:9/{n}.jpg"] for n in range(ROWS)])
    service = start("--workers", "1", FETCH_ALLOW_PORTS="9")

    async def story() -> tuple[float, list[float]]:
        taken_in, waits = asyncio.Event(), []

        async def ask() -> None:
            async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
                while not taken_in.is_set():
                    began = time.monotonic()
                    answer = await http.post(f"{service.url}/graphql", json=QUERY)
                    waits.append(time.monotonic() - began)
                    assert "errors" not in answer.json()
                    await asyncio.sleep(0.02)

        async with Client(service.url) as client:
            asking = asyncio.create_task(ask())
            began = time.monotonic()
            accepted = await upload(client, manifest)
            answered_s = time.monotonic() - began
            assert accepted.products == ROWS
            # Rows come in by chunks now.
            await asyncio.sleep(3)
            taken_in.set()
            await asking
        return answered_s, waits

    answered_s, waits = asyncio.run(asyncio.wait_for(story(), 60))

    assert answered_s < 5
    assert len(waits) > 50
    assert median(waits) < 0.1
