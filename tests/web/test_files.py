"""Downloads of output CSVs and pictures."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import StorageError
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.settings import Settings
from gql_imgproc.storage.object_store import ObjectHeaders
from gql_imgproc.storage.paths import image_key, output_key
from gql_imgproc.storage.response_headers import content_disposition, image_cache_control, output_filename
from tests.graphql.client import Api, opened
from tests.support.fault_injection import Fault, proxy_to
from tests.support.s3_server import S3
from tests.support.scenarios import given_request

OUTPUT = b"S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\n"


async def given_output(api: Api, **given: Any) -> Any:
    """A request that has ended, and its output CSV."""
    request_id = given_request(api.runtime.db, 1, **given)
    statement = update(requests).where(requests.c.id == request_id)
    ended = statement.values(status=RequestStatus.COMPLETED, output_name="output-1.csv")
    api.runtime.db.write_now(lambda connection: connection.execute(ended))
    await api.runtime.storage.put(output_key(request_id, "output-1.csv"), OUTPUT, "text/csv")
    return request_id


async def test_output_of_an_ended_request(api: Api) -> None:
    request_id = await given_output(api, csv_filename="größe.csv")
    address = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"

    got = await api.http.get(address)
    again = await api.http.get(address, headers={"If-None-Match": f"W/{got.headers['etag']}"})
    head = await api.http.head(address)

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


@pytest.mark.parametrize(
    "name",
    ["nonsense", "req_", encode_global_id(IdPrefix.REQUEST, new_id()), str(new_id()), "a%00b"],
    ids=["nonsense", "prefix", "unknown", "unknown UUID", "control character"],
)
async def test_output_of_an_unknown_request(api: Api, name: str) -> None:
    got = await api.http.get(f"/api/download/{name}")

    assert got.status_code == 404
    assert got.json() == {"error": "Request not found. Check the ID; the request may have been deleted."}


async def test_output_of_a_request_under_way(api: Api) -> None:
    request_id = given_request(api.runtime.db, 1)

    got = await api.http.get(f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}")

    assert got.status_code == 409
    assert got.json() == {"error": "The request is still PENDING. Its output CSV is there when it has ended."}


async def test_picture(api: Api) -> None:
    request_id, name = new_id(), f"{new_id().hex}-1.webp"
    await api.runtime.storage.put(image_key(request_id, name), b"picture", "image/webp")
    address = f"/api/image/{request_id.hex}/{name}"

    got = await api.http.get(address)
    again = await api.http.get(address, headers={"If-None-Match": f'"other", {got.headers["etag"]}'})
    head = await api.http.head(address)

    assert (got.status_code, got.content) == (200, b"picture")
    assert got.headers["content-type"] == "image/webp"
    assert got.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert again.status_code == 304
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "7")


async def test_what_is_no_picture_is_not_served(api: Api) -> None:
    request_id = await given_output(api)
    keys = [
        "x",
        f"{request_id.hex}/{new_id().hex}-1.jpg",
        f"{request_id.hex}/../output.csv",
        f"{request_id.hex}/%2e%2e/output.csv",
        f"requests/{request_id.hex}/output.csv",
        "..%2f..%2fimgproc.db",
    ]

    answers = [await api.http.get(f"/api/image/{key}") for key in keys]

    assert [(answer.status_code, "error" in answer.json()) for answer in answers] == [(404, True)] * len(keys)


def in_bucket(settings: Settings, s3: S3, **more: Any) -> Settings:
    # What is checked when settings are read is not of interest here.
    return settings.model_copy(update={"storage_url": s3.url, "storage_redirects": "on"} | more)


async def given_picture(api: Api) -> tuple[str, str]:
    """Its path and its key."""
    request_id, name = new_id(), f"{new_id().hex}-1.webp"
    key = image_key(request_id, name)
    await api.runtime.storage.put_new(key, b"picture", ObjectHeaders("image/webp", image_cache_control(private=False)))
    return f"/api/image/{request_id.hex}/{name}", key


async def test_objects_of_a_bucket_are_had_from_it(settings: Settings, s3: S3) -> None:
    async with opened(in_bucket(settings, s3)) as api, httpx.AsyncClient() as browser:
        address, key = await given_picture(api)
        request_id = await given_output(api)
        output = f"/api/download/{encode_global_id(IdPrefix.REQUEST, request_id)}"

        redirect, head = await api.http.get(address), await api.http.head(address)
        csv = await api.http.get(output)
        picture = await browser.get(redirect.headers["location"])
        looked = await browser.head(head.headers["location"])

        assert (redirect.status_code, head.status_code, csv.status_code) == (302, 302, 302)
        assert redirect.headers["location"].startswith(f"{s3.endpoint}/{s3.bucket}/{key}?X-Amz-")
        assert "X-Amz-Expires=300&" in redirect.headers["location"]
        assert redirect.headers["cache-control"] == "private, max-age=60"
        assert csv.headers["cache-control"] == "no-store"
        assert (picture.status_code, picture.content) == (200, b"picture")
        assert picture.headers["content-type"] == "image/webp"
        assert picture.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (looked.status_code, looked.headers["content-length"]) == (200, "7")
        assert (await browser.get(csv.headers["location"])).content == OUTPUT

        # What is missing is told by us.
        await api.runtime.storage.delete_all([key, output_key(request_id, "output-1.csv")])
        for path, sentence in (
            (address, "There is no such picture."),
            (output, "The request has no output CSV."),
        ):
            gone = await api.http.get(path)
            assert (gone.status_code, gone.json()) == (404, {"error": sentence})


async def test_objects_of_a_bucket_that_browsers_do_not_reach_are_had_from_us(settings: Settings, s3: S3) -> None:
    # Its endpoint is on loopback.
    async with opened(in_bucket(settings, s3, storage_redirects="auto")) as api:
        address, _ = await given_picture(api)
        output = f"/api/download/{encode_global_id(IdPrefix.REQUEST, await given_output(api))}"

        picture, head, csv = await api.http.get(address), await api.http.head(address), await api.http.get(output)

    assert (picture.status_code, picture.content, picture.headers["content-type"]) == (
        200,
        b"picture",
        "image/webp",
    )
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "7")
    assert (csv.status_code, csv.content) == (200, OUTPUT)


async def test_addresses_are_signed_for_where_browsers_are(settings: Settings, s3: S3) -> None:
    elsewhere = in_bucket(
        settings, s3, storage_redirects="auto", storage_public_endpoint="https://pictures.example:9000"
    )
    async with opened(elsewhere) as api:
        address, key = await given_picture(api)

        redirect, page = (
            await api.http.get(address),
            await api.http.get("/graphql", headers={"Accept": "text/html"}),
        )

    assert redirect.headers["location"].startswith(f"https://pictures.example:9000/{s3.bucket}/{key}?X-Amz-")
    for answer in (redirect, page):
        rules = answer.headers["content-security-policy"].split("; ")
        assert "img-src 'self' data: https://pictures.example:9000" in rules


async def test_a_bucket_that_does_not_answer(settings: Settings, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy_to(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        async with opened(in_bucket(settings, s3)) as api:
            address, _ = await given_picture(api)
            proxy.fail(Fault.DISCONNECT)

            got, ready = await api.http.get(address), await api.http.get("/readyz")

    assert got.status_code == 503
    assert got.json() == {"error": "The object store does not answer. Try again later."}
    assert ready.status_code == 503
    assert "it cannot be reached" in ready.json()["missing"]["storage"]


async def test_store_that_does_not_answer(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(key: str) -> None:
        raise StorageError("The object store did not answer within 60 s.")

    monkeypatch.setattr(api.runtime.storage, "open", broken)

    got = await api.http.get(f"/api/image/{new_id().hex}/{new_id().hex}-1.jpg")

    assert got.status_code == 503
    assert got.json() == {"error": "The object store does not answer. Try again later."}


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
def test_name_of_the_output(uploaded: str, downloaded: str) -> None:
    assert output_filename(uploaded) == downloaded


def test_name_cannot_break_out_of_its_header() -> None:
    assert (
        content_disposition("a\r\nX: y.csv")
        == "attachment; filename=\"a__X: y.csv\"; filename*=UTF-8''a%0D%0AX%3A%20y.csv"
    )
    assert (
        content_disposition('a"; x=\\"%.csv')
        == "attachment; filename=\"a_; x=___.csv\"; filename*=UTF-8''a%22%3B%20x%3D%5C%22%25.csv"
    )
