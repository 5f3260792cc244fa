"""The output of a running request so far."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any
from uuid import UUID

import pytest

from gql_imgproc.enums import Priority
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests import upload
from gql_imgproc.requests.commands import cancel
from tests.graphql.client import Api
from tests.graphql.live_server import finish_image, given_upload
from tests.processing.test_workbooks import cells_of, make_workbook
from tests.support.api_clients import ANYBODY

SOURCE = "https://shop.example/1.jpg"


async def given_file(api: Api, name: str, data: bytes) -> UUID:
    file = upload.CsvUpload(io.BytesIO(data), name, DEFAULT, Priority.NORMAL, None, None)
    return (await upload.accept_upload(api.runtime, ANYBODY, file)).snapshot.id


def path_of(request_id: UUID) -> str:
    return f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"


def read_rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_images_that_are_not_done_have_no_url(api: Api) -> None:
    # Given a request with three images, of which one is done,
    request_id = await given_upload(api.runtime, 3)
    await finish_image(api.runtime, request_id)

    # when its output is downloaded,
    refused = await api.http.get(path_of(request_id))
    got = await api.http.get(path_of(request_id), params={"partial": "true"})
    head = await api.http.head(path_of(request_id), params={"partial": "true"})

    # then this is possible on request only, and the response says that it is partial.
    assert refused.status_code == 409
    rows = read_rows(got.text)
    assert [row["S. No."] for row in rows] == ["1", "2", "3"]
    (url,) = {row["Output Image Urls"] for row in rows} - {""}
    assert url.startswith("https://images.example/api/image/")
    assert {row["Image Errors"] for row in rows} == {""}
    assert (got.headers["x-partial"], got.headers["cache-control"]) == ("true", "no-store")
    assert 'filename="shop-partial.csv"' in got.headers["content-disposition"]
    assert (head.content, head.headers["content-length"]) == (b"", str(len(got.content)))


async def test_rows_that_are_not_inserted_are_in_the_output(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "FIRST_CHUNK_PRODUCTS", 2)
    monkeypatch.setattr(api.runtime.queue, "advance", lambda request_id: None)
    request_id = await given_upload(api.runtime, 5)
    await finish_image(api.runtime, request_id)

    got = await api.http.get(path_of(request_id), params={"partial": "true"})

    assert [bool(row["Output Image Urls"]) for row in read_rows(got.text)].count(True) == 1
    assert len(read_rows(got.text)) == 5


async def test_images_of_a_shop_that_are_not_done_keep_their_source(api: Api) -> None:
    data = f"Handle,Title,Image Src\noak,Oak,{SOURCE}\n".encode()
    request_id = await given_file(api, "products.csv", data)

    got = await api.http.get(path_of(request_id), params={"partial": "true"})

    assert got.content == data


async def test_output_of_a_workbook_is_a_workbook_or_csv(api: Api) -> None:
    request_id = await given_file(api, "products.xlsx", make_workbook([("oak", "Oak", SOURCE, 19.5)]))

    book = await api.http.get(path_of(request_id), params={"partial": "true"})
    table = await api.http.get(path_of(request_id), params={"partial": "true", "format": "csv"})

    assert cells_of(book.content)[1] == ["oak", "Oak", SOURCE, 19.5]
    assert 'filename="products-partial.xlsx"' in book.headers["content-disposition"]
    assert read_rows(table.content.decode("utf-8-sig"))[0]["Image Src"] == SOURCE
    assert 'filename="products-partial.csv"' in table.headers["content-disposition"]


async def test_url_of_the_partial_output_is_null_once_the_status_is_final(api: Api) -> None:
    request_id = await given_upload(api.runtime, 1)
    query = "query($id: ID!) { request(id: $id) { partialCsvUrl outputCsvUrl } }"
    id = encode_global_id(IdPrefix.REQUEST, request_id)
    running = (await api.data(query, id=id))["request"]
    await cancel(api.runtime, ANYBODY, request_id)

    final = (await api.data(query, id=id))["request"]
    got = await api.http.get(path_of(request_id), params={"partial": "true"})

    url = f"https://images.example{path_of(request_id)}"
    assert running == {"partialCsvUrl": f"{url}?partial=true", "outputCsvUrl": None}
    assert final == {"partialCsvUrl": None, "outputCsvUrl": url}
    # After the end, the complete output is served.
    assert "x-partial" not in got.headers
    assert 'filename="shop-output.csv"' in got.headers["content-disposition"]


async def test_outputs_that_are_written_at_once_are_limited(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    request_id = await given_upload(api.runtime, 1)
    monkeypatch.setattr(api.runtime, "outputs", asyncio.Semaphore(0))

    got = await api.http.get(path_of(request_id), params={"partial": "true"})

    assert (got.status_code, got.headers["retry-after"]) == (503, "2")
    assert got.json() == {"error": "Too many output CSVs are being written. Try again in a moment."}
