"""A workbook through all services: rows, images, output workbook, output CSV, archive."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook
from sqlalchemy import update

from gql_imgproc.csvfile.layout import CsvLayout
from gql_imgproc.database.tables import object_cleanups
from gql_imgproc.database.types import now_plus
from gql_imgproc.enums import CsvProfile, RequestStatus
from gql_imgproc.errors import InvalidCsv
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.maintenance import retention
from gql_imgproc.requests import ingest, lifecycle, time_slice
from gql_imgproc.requests.archive import stream_archive
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.paths import csv_name, input_key, output_key
from tests.support.services import ImageHost, jpeg, upload, work_all

HEADER = ("Handle", "Title", "Image Src", "Price")


def make_workbook(rows: list[tuple[object, ...]], *other_sheets: str) -> bytes:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file) as book:
        sheet = book.add_worksheet("Products")
        for number, row in enumerate((HEADER, *rows)):
            for column, cell in enumerate(row):
                write = sheet.write_string if isinstance(cell, str) else sheet.write_number
                write(number, column, cell)
        for name in other_sheets:
            book.add_worksheet(name)
    return file.getvalue()


def cells_of(data: bytes) -> list[list[Any]]:
    return CalamineWorkbook.from_filelike(io.BytesIO(data)).get_sheet_by_index(0).to_python()


async def find(runtime: Runtime, request: Snapshot) -> Snapshot:
    found = await runtime.db.read(queries.get_request, DEFAULT_TENANT, request.id)
    assert found is not None
    return found


async def test_a_workbook_comes_back_as_a_workbook(runtime: Runtime, image_host: ImageHost) -> None:
    # Given a workbook with two sheets,
    urls = [image_host.add(f"/{number}.jpg", jpeg(number)) for number in range(2)]
    source = make_workbook([("oak", "Oak", urls[0], 19.5), ("pine", "Pine", urls[1], 7)], "Notes")

    # when it is uploaded and processed,
    accepted = (await upload(runtime, source, filename="products.xlsx")).snapshot
    assert (accepted.profile, accepted.total_products) == (CsvProfile.SHOPIFY, 2)
    assert [warning["code"] for warning in accepted.warnings] == ["SHEET"]
    await work_all(runtime)
    final = await find(runtime, accepted)

    # then its output is a workbook whose image cells differ, and a CSV file of the same cells,
    assert (final.status, final.output_name) == (RequestStatus.COMPLETED, "output-1.xlsx")
    book = await runtime.storage.get(output_key(final.id, "output-1.xlsx"))
    (oak, pine) = cells_of(book)[1:]
    assert (oak[:2], oak[3], pine[:2], pine[3]) == (["oak", "Oak"], 19.5, ["pine", "Pine"], 7)
    assert all(row[2].startswith(f"{runtime.settings.public_url}/api/image/") for row in (oak, pine))
    table = (await runtime.storage.get(output_key(final.id, "output-1.csv"))).decode("utf-8-sig")
    assert table.splitlines()[1:] == [f'"oak","Oak","{oak[2]}",19.5', f'"pine","Pine","{pine[2]}",7']

    # its archive has the workbook,
    stored = await runtime.storage.open(output_key(final.id, "output-1.xlsx"))
    assert stored is not None
    archive = b"".join([piece async for piece in stream_archive(runtime, final, stored)])
    assert zipfile.ZipFile(io.BytesIO(archive)).namelist() == ["products-output.xlsx", "oak-1.jpg", "pine-1.jpg"]

    # and uploaded again it has nothing to do, and does not change.
    again = (await upload(runtime, book, filename="products-output.xlsx")).snapshot
    await work_all(runtime)
    final = await find(runtime, again)
    assert (final.status, final.total_images) == (RequestStatus.COMPLETED, 0)
    assert cells_of(await runtime.storage.get(output_key(final.id, "output-1.xlsx"))) == cells_of(book)


async def test_ingestion_of_a_workbook_continues_where_it_was_interrupted(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that dies after the second chunk of 500 rows,
    monkeypatch.setattr(time_slice, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(ingest, "CHUNK_PRODUCTS", 50)
    source = make_workbook([(f"p{n}", "P", f"https://x.example/{n}.jpg", n) for n in range(500)])
    accepted = (await upload(runtime, source)).snapshot
    await lifecycle.advance(runtime, accepted.id)
    before = (await find(runtime, accepted)).ingested_products
    monkeypatch.setattr("gql_imgproc.csvfile.workbook.open_table", lambda *_: pytest.fail("read again"))

    # when others continue,
    while (await find(runtime, accepted)).needs_rows:
        await lifecycle.advance(runtime, accepted.id)

    # then they read the CSV file that was made of it, and insert what is missing.
    assert (before < 500, (await find(runtime, accepted)).ingested_products) == (True, 500)
    assert (await runtime.storage.get(input_key(accepted.id))).startswith(b'\xef\xbb\xbf"Handle"')


async def test_a_refused_workbook_leaves_nothing_behind(runtime: Runtime) -> None:
    with pytest.raises(InvalidCsv):
        await upload(runtime, make_workbook([]), layout=CsvLayout(sheet="Orders"))

    assert await runtime.storage.list_keys("requests/") == []


async def test_a_refused_sheet_is_named_with_the_others(runtime: Runtime) -> None:
    with pytest.raises(InvalidCsv) as caught:
        await upload(runtime, make_workbook([("oak", "Oak", "no URL", 1)], "Articles"))

    assert [issue.code.value for issue in caught.value.issues] == ["SHEET", "IMAGE_URL_INVALID"]
    assert '"Articles"' in caught.value.issues[0].message
    assert caught.value.total == 2


async def test_cleanup_keeps_both_outputs(
    runtime: Runtime, image_host: ImageHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ORPHAN_SECONDS", -60)
    source = make_workbook([("oak", "Oak", image_host.add("/1.jpg", jpeg(1)), 1)])
    accepted = (await upload(runtime, source)).snapshot
    await work_all(runtime)
    stored = await runtime.storage.list_keys("requests/")
    due = update(object_cleanups).values(due_at=now_plus(-1))
    await runtime.db.write(lambda connection: connection.execute(due))

    assert await retention.delete_orphans(runtime) == 0

    assert output_key(accepted.id, csv_name("output-1.xlsx")) in stored
    assert await runtime.storage.list_keys("requests/") == stored
