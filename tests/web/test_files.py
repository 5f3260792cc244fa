"""Downloads of output CSVs and images."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import requests
from gql_imgproc.enums import CsvProfile, RequestPhase, RequestStatus
from gql_imgproc.errors import StorageError
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_key, output_key, report_key
from gql_imgproc.storage.response_headers import content_disposition, image_cache_control, output_download
from tests.graphql.client import Api, open_api
from tests.support.fault_injection import Fault, proxy_to
from tests.support.s3_server import S3
from tests.support.scenarios import given_request

OUTPUT = b"S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\n"


async def given_output(api: Api, **columns: Any) -> Any:
    """Creates a finished request with an output CSV; returns its ID."""
    request_id = given_request(api.runtime.db, 1, **columns)
    statement = update(requests).where(requests.c.id == request_id)
    finish = statement.values(status=RequestStatus.COMPLETED, phase=RequestPhase.DONE, output_name="output-1.csv")
    api.runtime.db.write_now(lambda connection: connection.execute(finish))
    await api.runtime.storage.put(output_key(request_id, "output-1.csv"), OUTPUT, "text/csv")
    return request_id


async def test_output_csv_of_a_finished_request(api: Api) -> None:
    request_id = await given_output(api, csv_filename="größe.csv")
    path = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"

    got = await api.http.get(path)
    again = await api.http.get(path, headers={"If-None-Match": f"W/{got.headers['etag']}"})
    head = await api.http.head(path)

    assert got.status_code == 200
    assert got.content == OUTPUT
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    assert got.headers["content-length"] == str(len(OUTPUT))
    assert got.headers["content-disposition"] == (
        "attachment; filename=\"gr__e-output.csv\"; filename*=UTF-8''gr%C3%B6%C3%9Fe-output.csv"
    )
    assert got.headers["x-content-type-options"] == "nosniff"
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", got.headers["etag"])


async def test_output_of_a_workbook_is_a_workbook_or_csv(api: Api) -> None:
    # Given a request whose output is a workbook, and is stored as CSV too,
    request_id = await given_output(api, csv_filename="products.ods", profile=CsvProfile.SHOPIFY)
    renamed = update(requests).where(requests.c.id == request_id).values(output_name="output-1.xlsx")
    api.runtime.db.write_now(lambda connection: connection.execute(renamed))
    await api.runtime.storage.put(output_key(request_id, "output-1.xlsx"), b"PK", "application/zip")
    path = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"

    book, table = await api.http.get(path), await api.http.get(path, params={"format": "csv"})

    assert (book.content, table.content) == (b"PK", OUTPUT)
    assert book.headers["content-type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert 'filename="products-output.xlsx"' in book.headers["content-disposition"]
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="products-output.csv"' in table.headers["content-disposition"]


async def test_report_of_a_finished_request(api: Api) -> None:
    # Given a finished request with a report, one of an earlier version without, and one that runs,
    reported = await given_output(api, csv_filename="feed.tsv", profile=CsvProfile.GOOGLE_MERCHANT)
    await api.runtime.storage.put(report_key(reported, "output-1.csv"), b"Row,Product\n", "text/csv")
    without = await given_output(api)
    unset = update(requests).where(requests.c.id == without).values(profile=None)
    api.runtime.db.write_now(lambda connection: connection.execute(unset))
    running = given_request(api.runtime.db, 1)

    # when their reports are downloaded,
    paths = [
        f"/api/report/{encode_global_id(IdPrefix.REQUEST, request_id)}" for request_id in (reported, without, running)
    ]
    responses = [await api.http.get(path) for path in (*paths, "/api/report/nonsense")]

    # then only the first one has one, and the output of a shop keeps its extension.
    assert [response.status_code for response in responses] == [200, 404, 409, 404]
    assert responses[0].content == b"Row,Product\n"
    assert 'filename="feed-report.csv"' in responses[0].headers["content-disposition"]
    assert responses[1].json() == {"error": "The request has no report."}
    output = await api.http.get(paths[0].replace("report", "download"))
    assert 'filename="feed-output.tsv"' in output.headers["content-disposition"]
    # The encoding is that of the upload, which the name of the object tells.
    assert output.headers["content-type"] == "text/csv; charset=utf-8"
    fields = "request(id: $id) { reportCsvUrl outputCsvUrl profile skippedRows }"
    for request_id, report in ((reported, True), (without, False)):
        global_id = encode_global_id(IdPrefix.REQUEST, request_id)
        found = (await api.data(f"query($id: ID!) {{ {fields} }}", id=global_id))["request"]
        assert found["outputCsvUrl"].endswith(f"/api/download/{global_id}")
        assert (found["reportCsvUrl"] or "").endswith(f"/api/report/{global_id}" if report else "")
        assert (found["reportCsvUrl"] is not None) is report
        assert (found["profile"], found["skippedRows"]) == ("GOOGLE_MERCHANT" if report else "GENERIC", 0)


@pytest.mark.parametrize(
    "name",
    ["nonsense", "req_", encode_global_id(IdPrefix.REQUEST, new_id()), str(new_id()), "a%00b"],
    ids=["nonsense", "prefix", "unknown", "unknown UUID", "control character"],
)
async def test_output_csv_of_an_unknown_request(api: Api, name: str) -> None:
    got = await api.http.get(f"/api/download/{name}")

    assert got.status_code == 404
    assert got.json() == {"error": "Request not found. Check the ID; the request may have been deleted."}


async def test_output_csv_of_a_running_request(api: Api) -> None:
    request_id = given_request(api.runtime.db, 1)

    got = await api.http.get(f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}")

    assert got.status_code == 409
    assert got.json() == {"error": "The request is still PENDING. Its output CSV is available after it finishes."}


async def test_image_is_served(api: Api) -> None:
    request_id, name = new_id(), f"{new_id().hex}-1.webp"
    await api.runtime.storage.put(image_key(request_id, name), b"image", "image/webp")
    path = f"/api/image/{request_id.hex}/{name}"

    got = await api.http.get(path)
    again = await api.http.get(path, headers={"If-None-Match": f'"other", {got.headers["etag"]}'})
    head = await api.http.head(path)

    assert (got.status_code, got.content) == (200, b"image")
    assert got.headers["content-type"] == "image/webp"
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert again.status_code == 304
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "5")


@pytest.mark.parametrize("file_name", ["oak-chair-2.jpg", "any name", "stuhl-%C3%BC.webp"])
async def test_any_file_name_serves_the_image(api: Api, file_name: str) -> None:
    # Given a stored image,
    path, _ = await given_image(api)

    # when it is requested under a readable name,
    got, plain = await api.http.get(f"{path}/{file_name}"), await api.http.get(path)

    # then the object key decides what is served.
    assert (got.status_code, got.content) == (200, b"image")
    assert (got.headers["content-type"], got.headers["etag"]) == ("image/webp", plain.headers["etag"])


async def test_other_objects_are_not_served_as_images(api: Api) -> None:
    request_id = await given_output(api)
    keys = [
        "x",
        f"{request_id.hex}/{new_id().hex}-1.jpg",
        f"{request_id.hex}/../output.csv",
        f"{request_id.hex}/%2e%2e/output.csv",
        f"{request_id.hex}/{new_id().hex}-1.jpg/chair.jpg/../../output.csv",
        f"{request_id.hex}/output.csv/chair.jpg",
        f"requests/{request_id.hex}/output.csv",
        "..%2f..%2fimgproc.db",
    ]

    responses = [await api.http.get(f"/api/image/{key}") for key in keys]

    assert [(response.status_code, "error" in response.json()) for response in responses] == [(404, True)] * len(keys)


def in_bucket(settings: Settings, s3: S3, **more: Any) -> Settings:
    # Without the validation of Settings, which is tested elsewhere.
    return settings.model_copy(update={"storage_url": s3.url, "storage_redirects": "on"} | more)


async def given_image(api: Api) -> tuple[str, str]:
    """Stores an image; returns its path and its object key."""
    request_id, name = new_id(), f"{new_id().hex}-1.webp"
    key = image_key(request_id, name)
    await api.runtime.storage.put_new(key, b"image", ObjectHeaders("image/webp", image_cache_control(is_private=False)))
    return f"/api/image/{request_id.hex}/{name}", key


async def test_objects_in_a_bucket_redirect_to_it(settings: Settings, s3: S3) -> None:
    async with open_api(in_bucket(settings, s3)) as api, httpx.AsyncClient() as browser:
        path, key = await given_image(api)
        request_id = await given_output(api)
        output = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"

        redirect, head = await api.http.get(path), await api.http.head(path)
        csv = await api.http.get(output)
        image = await browser.get(redirect.headers["location"])
        image_head = await browser.head(head.headers["location"])

        assert (redirect.status_code, head.status_code, csv.status_code) == (302, 302, 302)
        assert redirect.headers["location"].startswith(f"{s3.endpoint}/{s3.bucket}/{key}?X-Amz-")
        assert "X-Amz-Expires=300&" in redirect.headers["location"]
        assert redirect.headers["cache-control"] == "private, max-age=60"
        assert csv.headers["cache-control"] == "no-store"
        assert (image.status_code, image.content) == (200, b"image")
        assert image.headers["content-type"] == "image/webp"
        assert image.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (image_head.status_code, image_head.headers["content-length"]) == (200, "5")
        assert (await browser.get(csv.headers["location"])).content == OUTPUT

        # The service itself reports missing objects.
        await api.runtime.storage.delete_all([key, output_key(request_id, "output-1.csv")])
        for url, message in (
            (path, "Image not found."),
            (output, "The request has no output CSV."),
        ):
            gone = await api.http.get(url)
            assert (gone.status_code, gone.json()) == (404, {"error": message})


async def test_objects_in_a_private_bucket_are_served_by_the_api(settings: Settings, s3: S3) -> None:
    # The endpoint of the bucket is on loopback.
    async with open_api(in_bucket(settings, s3, storage_redirects="auto")) as api:
        path, _ = await given_image(api)
        output = f"/api/download/{encode_global_id(IdPrefix.REQUEST, await given_output(api))}"

        image, head, csv = await api.http.get(path), await api.http.head(path), await api.http.get(output)

    assert (image.status_code, image.content, image.headers["content-type"]) == (
        200,
        b"image",
        "image/webp",
    )
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "5")
    assert (csv.status_code, csv.content) == (200, OUTPUT)


async def test_urls_are_signed_for_the_public_endpoint(settings: Settings, s3: S3) -> None:
    public = in_bucket(settings, s3, storage_redirects="auto", storage_public_endpoint="https://images.example:9000")
    async with open_api(public) as api:
        path, key = await given_image(api)

        redirect, page = (
            await api.http.get(path),
            await api.http.get("/graphql", headers={"Accept": "text/html"}),
        )

    assert redirect.headers["location"].startswith(f"https://images.example:9000/{s3.bucket}/{key}?X-Amz-")
    for response in (redirect, page):
        rules = response.headers["content-security-policy"].split("; ")
        assert "img-src 'self' data: https://images.example:9000" in rules


async def test_unreachable_bucket_returns_503(settings: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_to(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        async with open_api(in_bucket(settings, s3)) as api:
            path, _ = await given_image(api)
            proxy.fail(Fault.DISCONNECT)

            got, ready = await api.http.get(path), await api.http.get("/readyz")

    assert got.status_code == 503
    assert got.json() == {"error": "The object store is unavailable. Retry in 5 s."}
    assert ready.status_code == 503
    assert "it cannot be reached" in ready.json()["missing"]["storage"]


async def test_storage_error_returns_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(key: str) -> None:
        raise StorageError("The object store did not response within 60 s.")

    monkeypatch.setattr(api.runtime.storage, "open", broken)

    got = await api.http.get(f"/api/image/{new_id().hex}/{new_id().hex}-1.jpg")

    assert got.status_code == 503
    assert got.json() == {"error": "The object store is unavailable. Retry in 5 s."}


@pytest.mark.parametrize(
    ("uploaded", "downloaded"),
    [
        ("shop.csv", "shop-output.csv"),
        ("shop", "shop-output.csv"),
        ("shop.2030.csv", "shop.2030-output.csv"),
        ("v1. final", "v1. final-output.csv"),
        (".csv", "-output.csv"),
    ],
)
def test_output_filename(uploaded: str, downloaded: str) -> None:
    assert output_download(uploaded, None, "output-1.csv").filename == downloaded


def test_filename_cannot_break_out_of_its_header() -> None:
    assert (
        content_disposition("a\r\nX: y.csv")
        == "attachment; filename=\"a__X: y.csv\"; filename*=UTF-8''a%0D%0AX%3A%20y.csv"
    )
    assert (
        content_disposition('a"; x=\\"%.csv')
        == "attachment; filename=\"a_; x=___.csv\"; filename*=UTF-8''a%22%3B%20x%3D%5C%22%25.csv"
    )
