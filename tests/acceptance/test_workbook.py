"""Workers are killed while a workbook is ingested: nothing is lost, and nothing is doubled (P1, P2, P14)."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook

from gql_imgproc.client import AsyncClient, Request
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service, StartService
from tests.acceptance.netns_hosts import host

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="process names of Linux"),
]

ROWS = 12_000
#: Rows that share an image, so that few are downloaded.
ROWS_PER_IMAGE = 500
#: Numbers of ingested rows from which on all workers are killed.
POINTS = (1, 4_000, 8_000)


def write_workbook(path: Path, port: int) -> None:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Products")
        sheet.write_row(0, 0, ["Handle", "Title", "Image Src", "Price"])
        for n in range(ROWS):
            sheet.write_string(n + 1, 0, f"p{n}")
            sheet.write_string(n + 1, 1, f"Product {n}")
            sheet.write_string(n + 1, 2, f"http://127.0.0.1:{port}/{n // ROWS_PER_IMAGE}.jpg")
            sheet.write_number(n + 1, 3, n / 4)


def query(service: Service, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(f"file:{service.data}/imgproc.db?mode=ro", uri=True, timeout=30) as connection:
        return connection.execute(statement).fetchall()


async def kill_workers(service: Service) -> list[int]:
    """Kills all workers (SIGKILL) each time that more rows are ingested. Returns the numbers of rows."""
    killed_at: list[int] = []
    for point in POINTS:
        while True:
            ((rows,),) = query(service, "SELECT ingested_products FROM requests") or [(0,)]
            if rows >= max(point, *killed_at, 0) and (workers := service.workers()):
                break
            await asyncio.sleep(0.005)
        for worker in workers:
            worker.kill()
        killed_at.append(rows)
    return killed_at


def test_workbook_is_ingested_once_although_workers_are_killed(start: StartService, tmp_path: Path) -> None:
    image = sample_images.render_sample("espresso-front.jpg")
    with host(lambda path: image) as port:
        write_workbook(tmp_path / "products.xlsx", port)
        service = start(FETCH_ALLOW_PORTS=str(port), LEASE_SECONDS="1", SWEEP_SECONDS="0.5")

        async def run() -> tuple[list[int], Request]:
            async with AsyncClient(service.url) as client, asyncio.timeout(240):
                killing = asyncio.create_task(kill_workers(service))
                accepted = await client.upload(tmp_path / "products.xlsx")
                *_, last = [state async for state in client.watch(accepted.id)]
                await client.download(last, tmp_path / "out.xlsx")
                return await killing, last

        killed_at, last = asyncio.run(run())

    # The last kill was in the middle of the ingestion too.
    assert killed_at[-1] < ROWS
    assert (last.status, last.total_products, last.processed_images) == (RequestStatus.COMPLETED, ROWS, ROWS)
    (products,) = query(service, "SELECT count(*), count(DISTINCT position), max(position) FROM products")
    assert products == (ROWS, ROWS, ROWS - 1)
    assert query(service, "SELECT count(*), count(DISTINCT product_id), max(status) FROM images") == [
        (ROWS, ROWS, "COMPLETED")
    ]

    # The workbook that comes back has every row in its place, with the image that it had.
    before, after = (
        CalamineWorkbook.from_path(str(tmp_path / name)).get_sheet_by_index(0).to_python()
        for name in ("products.xlsx", "out.xlsx")
    )
    assert [[row[0], row[1], row[3]] for row in after] == [[row[0], row[1], row[3]] for row in before]
    urls = [str(row[2]) for row in after[1:]]
    assert all(url.startswith(f"{service.url}/api/image/") for url in urls)
    assert len({url.split("/")[-2] for url in urls}) >= ROWS // ROWS_PER_IMAGE
    assert service.stop() == 0
