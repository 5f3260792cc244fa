"""Mutations: each outcome has a type, and a refused upload leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update
from strawberry.utils.str_converters import to_camel_case

from gql_imgproc.database.tables import audit_events, images, products, requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.graphql.types.inputs import UploadCsvInput, clean_filename
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id, new_id, parse_global_id
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.image_statistics import read_statistics
from tests.csvfile.test_workbook import make_workbook
from tests.graphql.client import Api
from tests.support.scenarios import FAILED, claim_image, finish, given_request, record

CSV = b"S. No.,Product Name,Input Image Urls\n1,Shirt,https://shop.example/a.jpg\n"
UPLOADED = (
    "__typename ... on UploadCsvSuccess { replayed request { id status priority csvFilename } warnings { code } }"
)
USER_ERROR = "... on UserError { message path }"
NOT_FOUND = {
    "__typename": "RequestNotFound",
    "message": "Request not found. Check the ID; the request may have been deleted.",
    "path": ["input", "id"],
}


def count_rows(api: Api) -> list[int]:
    """Number of requests, products and images."""
    counts = [select(func.count()).select_from(table) for table in (requests, products, images)]
    return api.runtime.db.read_now(
        lambda connection: [connection.execute(statement).scalar_one() for statement in counts]
    )


async def mutate(api: Api, name: str, id: str, fields: str = "") -> dict[str, Any]:
    """The result of a mutation whose input is the ID of a request."""
    type_name = f"{name[0].upper()}{name[1:]}Input"
    query = f"mutation($input: {type_name}!) {{ {name}(input: $input) {{ __typename {USER_ERROR} {fields} }} }}"
    result: dict[str, Any] = (await api.data(query, input={"id": id}))[name]
    return result


async def test_upload_creates_a_request(api: Api) -> None:
    uploaded = await api.upload(CSV, UPLOADED, filename="C:\\lists\\shop.csv", priority="HIGH", options={"quality": 80})

    snapshot = await api.runtime.db.read(
        queries.get_request, DEFAULT_TENANT, parse_global_id(uploaded["request"]["id"], IdPrefix.REQUEST)
    )
    assert uploaded == {
        "__typename": "UploadCsvSuccess",
        "replayed": False,
        "request": {
            "id": uploaded["request"]["id"],
            "status": "PENDING",
            "priority": "HIGH",
            "csvFilename": "shop.csv",
        },
        "warnings": [],
    }
    assert snapshot.options == {"quality": 80}
    assert count_rows(api) == [1, 1, 1]
    assert await api.runtime.storage.get(f"requests/{snapshot.id.hex}/input.csv") == CSV


SHOPIFY = b"Handle,Title,Image Src\na,Lamp,https://shop.example/a.jpg\nb,Desk,ftp://shop.example/b.jpg\n"
READ_AS = (
    "__typename ... on UploadCsvSuccess { request { profile skippedRows totalProducts warnings { row code } } }"
    " ... on CsvInvalid { errors { row column code } }"
)


async def test_shop_file_is_recognized_and_its_invalid_rows_are_skipped(api: Api) -> None:
    uploaded = await api.upload(SHOPIFY, READ_AS)

    assert uploaded["request"] == {
        "profile": "SHOPIFY",
        "skippedRows": 1,
        "totalProducts": 1,
        "warnings": [{"row": 3, "code": "IMAGE_URL_INVALID"}],
    }


async def test_upload_decides_how_its_file_is_read(api: Api) -> None:
    columns = {"images": ["Image Src"], "name": "Title", "id": "Handle"}

    refused = await api.upload(SHOPIFY, READ_AS, onInvalidRow="REFUSE_FILE")
    custom = await api.upload(SHOPIFY, READ_AS, columns=columns)
    other = await api.upload(SHOPIFY, READ_AS, profile="MAGENTO")
    unknown = await api.upload(SHOPIFY, READ_AS, profile="CUSTOM", columns={"images": ["Photo"]})

    assert refused["errors"] == [{"row": 3, "column": "Image Src", "code": "IMAGE_URL_INVALID"}]
    assert (custom["request"]["profile"], custom["request"]["skippedRows"]) == ("CUSTOM", 1)
    assert other["errors"] == [{"row": 1, "column": None, "code": "HEADER"}]
    assert unknown["errors"] == [{"row": 1, "column": "Photo", "code": "HEADER"}]
    assert count_rows(api)[0] == 1


async def test_preview_shows_how_an_upload_would_be_read_and_stores_nothing(api: Api) -> None:
    async def preview(content: bytes, **input: Any) -> Any:
        query = """query($input: UploadCsvInput!) { previewCsv(input: $input) { __typename
          ... on CsvPreview { profile columns rows sheet sheets } ... on CsvInvalid { errors { code } } } }"""
        response = await api.send_upload(content, "", document=query, **input)
        return response.json()["data"]["previewCsv"]

    assert await preview(SHOPIFY) == {
        "__typename": "CsvPreview",
        "profile": "SHOPIFY",
        "columns": ["Handle", "Title", "Image Src"],
        "rows": [["a", "Lamp", "https://shop.example/a.jpg"], ["b", "Desk", "ftp://shop.example/b.jpg"]],
        "sheet": None,
        "sheets": [],
    }
    assert (await preview(SHOPIFY, columns={"images": ["Image Src"]}))["profile"] == "CUSTOM"
    assert (await preview(b"Photo\nhttps://shop.example/a.jpg\n"))["profile"] is None
    assert await preview(b"%PDF-1.7") == {"__typename": "CsvInvalid", "errors": [{"code": "NOT_CSV"}]}
    book = make_workbook(("Notes", []), ("Products", [["Handle", "Image Src", "Title"]]))
    found = await preview(book, sheet="Products")
    assert (found["profile"], found["sheet"], found["sheets"]) == ("SHOPIFY", "Products", ["Notes", "Products"])
    assert count_rows(api) == [0, 0, 0]
    assert await api.runtime.storage.list_keys("requests/") == []


@pytest.mark.parametrize(
    "input",
    [
        {"profile": "CUSTOM"},
        {"profile": "SHOPIFY", "columns": {"images": ["Image Src"]}},
        {"columns": {"images": []}},
        {"columns": {"images": ["a"] * 101}},
        {"columns": {"images": ["Image Src"], "name": " "}},
        {"columns": {"images": ["a" * 256]}},
    ],
)
async def test_invalid_columns_are_an_error(api: Api, input: dict[str, Any]) -> None:
    response = await api.send_upload(SHOPIFY, "__typename", **input)

    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["inputPath"][:2] == ["input", "columns"]


async def test_an_unknown_encoding_is_an_error(api: Api) -> None:
    response = await api.send_upload(SHOPIFY, "__typename", encoding="utf-99")

    (error,) = response.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["inputPath"] == ["input", "encoding"]
    assert count_rows(api) == [0, 0, 0]


async def test_repeated_idempotency_key_returns_the_first_request(api: Api) -> None:
    first = await api.upload(CSV, UPLOADED, idempotencyKey="order 7")

    second = await api.upload(CSV, UPLOADED, idempotencyKey="order 7")

    assert (first["replayed"], second["replayed"]) == (False, True)
    assert second["request"]["id"] == first["request"]["id"]
    assert count_rows(api) == [1, 1, 1]


REUSED = f"__typename {USER_ERROR} ... on IdempotencyKeyReused {{ requestId }}"
#: Another value of each field of the input that an idempotency key stands for.
OTHER_INPUTS: dict[str, Any] = {
    "webhookUrl": "http://127.0.0.1/",
    "priority": "LOW",
    "options": {"quality": 51},
    "profile": "GENERIC",
    "columns": {"images": ["Input Image Urls"]},
    "onInvalidRow": "SKIP_ROW",
    "encoding": "utf-8",
    "sheet": "Sheet 2",
    "refresh": True,
}


def test_every_field_of_an_upload_is_compared() -> None:
    names = {field.name for field in UploadCsvInput.__strawberry_definition__.fields}  # type: ignore[attr-defined]

    assert {to_camel_case(name) for name in names} == {*OTHER_INPUTS, "file", "idempotencyKey"}


async def test_idempotency_key_of_another_upload_is_refused(api: Api) -> None:
    # Given an upload with a key,
    first = await api.upload(CSV, UPLOADED, idempotencyKey="order 7")

    # when the key is repeated with other options, with a file that is no CSV, and with one that is too large,
    reused = [
        await api.upload(CSV, REUSED, idempotencyKey="order 7", **{name: OTHER_INPUTS[name]}) for name in OTHER_INPUTS
    ]
    reused += [await api.upload(csv, REUSED, idempotencyKey="order 7") for csv in (b"x", b" " * 20_000)]

    # then each error names the first request, and nothing is stored.
    id = first["request"]["id"]
    message = f"The idempotency key belongs to the request {id}, which has another file or other options. "
    assert reused == [
        {
            "__typename": "IdempotencyKeyReused",
            "message": f"{message}Use a new key for each upload.",
            "path": ["input", "idempotencyKey"],
            "requestId": id,
        }
    ] * (len(OTHER_INPUTS) + 2)
    assert count_rows(api) == [1, 1, 1]
    assert len(await api.runtime.storage.list_keys("requests/")) == 1


async def test_repeated_idempotency_key_ignores_names_and_defaults(api: Api) -> None:
    first = await api.upload(CSV, UPLOADED, idempotencyKey="order 7")

    # When the file has another name, and the options are the defaults,
    again = await api.upload(
        CSV, UPLOADED, "other.csv", idempotencyKey="order 7", priority="NORMAL", options={"quality": 50}
    )
    # or when an earlier version has stored no fingerprint,
    api.runtime.db.write_now(
        lambda connection: connection.execute(update(requests).values(idempotency_fingerprint=None))
    )
    old = await api.upload(b"x", UPLOADED, idempotencyKey="order 7")

    # then the first request is returned.
    assert again == old == first | {"replayed": True}
    assert count_rows(api) == [1, 1, 1]


async def test_invalid_csv_lists_every_error(api: Api) -> None:
    broken = b"S. No.,Product Name,Input Image Urls\n0,,https://shop.example/a.jpg\n2,Sock,ftp://x/y\n"

    result = await api.upload(
        broken, f"__typename {USER_ERROR} ... on CsvInvalid {{ totalErrors errors {{ row column code message }} }}"
    )

    assert result["__typename"] == "CsvInvalid"
    assert result["message"] == "The CSV file has 3 problems."
    assert result["path"] == ["input", "file"]
    assert result["totalErrors"] == 3
    assert [(issue["row"], issue["column"], issue["code"]) for issue in result["errors"]] == [
        (2, "S. No.", "SERIAL_NUMBER_INVALID"),
        (2, "Product Name", "PRODUCT_NAME_EMPTY"),
        (3, "Input Image Urls", "IMAGE_URL_INVALID"),
    ]
    assert count_rows(api) == [0, 0, 0]
    assert await api.runtime.storage.list_keys("requests/") == []


async def test_forbidden_image_urls_are_listed_with_row_and_setting(api: Api) -> None:
    cells = {
        "http://169.254.169.254/x": "NETWORKS",
        '"https://shop.example/a.jpg, http://0x7f.1/b.jpg"': "NETWORKS",
        "http://2130706433/a.jpg": "NETWORKS",
        "http://１２７.0.0.1/a.jpg": "NETWORKS",  # noqa: RUF001
        "http://[64:ff9b::a9fe:a9fe]/a.jpg": "NETWORKS",
        "https://shop.example:8443/a.jpg": "PORTS",
    }
    lines = [f"{number},Shirt,{cell}\n" for number, cell in enumerate(cells, start=1)]

    result = await api.upload(
        ("S. No.,Product Name,Input Image Urls\n" + "".join(lines)).encode(),
        "__typename ... on CsvInvalid { totalErrors errors { row column code message } }",
    )

    assert result["totalErrors"] == len(cells)
    for row, (issue, setting) in enumerate(zip(result["errors"], cells.values(), strict=True), start=2):
        assert (issue["row"], issue["column"]) == (row, "Input Image Urls")
        assert issue["code"] == "IMAGE_URL_FORBIDDEN"
        assert f"IMGPROC_FETCH_ALLOW_{setting}" in issue["message"]
    assert count_rows(api) == [0, 0, 0]


async def test_upload_above_the_size_limit_is_a_typed_error(api: Api) -> None:
    result = await api.upload(CSV + b" " * 10_000, f"__typename {USER_ERROR} ... on UploadTooLarge {{ limitBytes }}")

    assert result == {
        "__typename": "UploadTooLarge",
        "message": "The file is larger than the limit of 10,000 bytes. Split it into smaller files.",
        "path": ["input", "file"],
        "limitBytes": 10_000,
    }
    assert count_rows(api) == [0, 0, 0]


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "empty"),
        ("nonsense", "https://"),
        ("ftp://hook.example/", "https://"),
        ("https://user:secret@hook.example/", "Remove"),
        ("http://127.0.0.1/", "IMGPROC_FETCH_ALLOW_NETWORKS"),
        ("http://0177.1/", "IMGPROC_FETCH_ALLOW_NETWORKS"),
        ("http://[::1]/", "IMGPROC_FETCH_ALLOW_NETWORKS"),
        ("http://hook.example:8080/", "IMGPROC_FETCH_ALLOW_PORTS"),
    ],
)
async def test_forbidden_webhook_url_is_a_typed_error(api: Api, url: str, hint: str) -> None:
    result = await api.upload(CSV, f"__typename {USER_ERROR}", webhookUrl=url)

    assert result["__typename"] == "WebhookUrlInvalid"
    assert result["path"] == ["input", "webhookUrl"]
    assert hint in result["message"]
    assert count_rows(api) == [0, 0, 0]


@pytest.mark.parametrize(
    ("input", "field", "message"),
    [
        ({"options": {"quality": 0}}, ["options", "quality"], "quality: must be from 1 to 100."),
        ({"options": {"scale": 1.5}}, ["options", "scale"], "scale: must be from 0.05 to 1."),
        ({"options": {"maxWidth": 0}}, ["options", "maxWidth"], "maxWidth: must be 1 or more."),
        (
            {"options": {"maxWidth": 9, "fit": "COVER"}},
            ["options", "fit"],
            "fit: must be INSIDE unless there are a largest width and height, and no pad.",
        ),
        (
            {"options": {"pad": {"color": "#FFFFFF"}}},
            ["options", "pad"],
            "pad: must have a `ratio`, a `width` or a `height`.",
        ),
        ({"options": {"maxBytes": 0}}, ["options", "maxBytes"], "maxBytes: must be 1 or more."),
        ({"options": {"maxHeight": -7}}, ["options", "maxHeight"], "maxHeight: must be 1 or more."),
        (
            {"options": {"crop": {"x": -1, "y": 0, "width": 1, "height": 1}}},
            ["options", "crop"],
            "crop: `x` and `y` must be 0 or more.",
        ),
        (
            {"options": {"crop": {"x": 0, "y": 0, "width": 0, "height": 1}}},
            ["options", "crop"],
            "crop: `width` and `height` must be 1 or more.",
        ),
        ({"options": {"filters": ["BLUR"] * 5}}, ["options", "filters"], "filters: must have at most 4 entries."),
        (
            {"options": {"outputs": [{"name": f"w{n}", "maxWidth": n} for n in range(1, 12)]}},
            ["options", "outputs"],
            "outputs: must have at most 10 entries.",
        ),
        (
            {"options": {"outputs": [{"name": "full"}, {"name": "thumb", "maxWidth": 0}]}},
            ["options", "outputs"],
            "outputs: `maxWidth` of the output `thumb` must be 1 or more.",
        ),
        (
            {"options": {"quality": 60, "outputs": [{"name": "full"}, {"name": "same", "quality": 60}]}},
            ["options", "outputs"],
            "outputs: must differ, but `full` and `same` have the same options.",
        ),
        ({"idempotencyKey": ""}, ["idempotencyKey"], "`idempotencyKey` must have 1 to 255 printable characters."),
        (
            {"options": {"negotiate": True, "outputs": [{"name": "only"}]}},
            ["options", "negotiate"],
            "negotiate: needs at least two outputs to choose from.",
        ),
        (
            {"idempotencyKey": "x" * 256},
            ["idempotencyKey"],
            "`idempotencyKey` must have 1 to 255 printable characters.",
        ),
        (
            {"idempotencyKey": "a\u0000b"},
            ["idempotencyKey"],
            "`idempotencyKey` must have 1 to 255 printable characters.",
        ),
    ],
)
async def test_value_out_of_range_is_an_error_with_its_input_path(
    api: Api, input: dict[str, Any], field: list[str], message: str
) -> None:
    response = await api.send_upload(CSV, UPLOADED, **input)

    (error,) = response.json()["errors"]
    assert error["message"] == message
    # `path` is a path in the response; the path in the input is an extension.
    assert error["path"] == ["uploadCsv"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "inputPath": ["input", *field]}
    assert count_rows(api) == [0, 0, 0]


@pytest.mark.parametrize(
    ("sent", "cleaned"),
    [
        ("shop.csv", "shop.csv"),
        ("/home/me/shop.csv", "shop.csv"),
        ("C:\\lists\\shop.csv", "shop.csv"),
        ("../../etc/passwd", "passwd"),
        ("größe & ☃.csv", "größe & ☃.csv"),
        ("a\x00b\r\n.csv", "ab.csv"),
        ("", "upload.csv"),
        ("..", "upload.csv"),
        ("../../etc/x", "x"),
        ("..\\..\\x.csv", "x.csv"),
        ("/", "upload.csv"),
        ("\u202efdp.csv", "fdp.csv"),
        ("C:CON", "C:CON"),
        ("x" * 10_000, "x" * 255),
        ("x" * 300 + ".csv", "x" * 251 + ".csv"),
    ],
)
def test_file_name_is_stored_without_path(sent: str, cleaned: str) -> None:
    assert clean_filename(sent) == cleaned


async def test_request_is_cancelled_once(api: Api) -> None:
    uploaded = await api.upload(CSV, UPLOADED)
    id = uploaded["request"]["id"]

    cancelled = await mutate(api, "cancelRequest", id, "... on CancelRequestSuccess { request { status } }")
    again = await mutate(api, "cancelRequest", id, "... on RequestAlreadyFinal { status }")

    assert cancelled == {"__typename": "CancelRequestSuccess", "request": {"status": "CANCELLED"}}
    assert again == {
        "__typename": "RequestAlreadyFinal",
        "message": "The request is already CANCELLED and cannot be cancelled.",
        "path": ["input", "id"],
        "status": "CANCELLED",
    }


async def test_retry_queues_failed_images_again(api: Api) -> None:
    db = api.runtime.db
    request_id = given_request(db, 1)
    record(db, claim_image(db, request_id), FAILED)
    id = encode_global_id(IdPrefix.REQUEST, request_id)
    early = await mutate(api, "retryFailedImages", id)
    finish(db, request_id, RequestStatus.FAILED)

    retried = await mutate(
        api, "retryFailedImages", id, "... on RetryFailedImagesSuccess { request { status failedImages } }"
    )

    assert early["__typename"] == "NothingToRetry"
    assert early["path"] == ["input", "id"]
    assert retried == {
        "__typename": "RetryFailedImagesSuccess",
        "request": {"status": "PROCESSING", "failedImages": 0},
    }


async def test_retry_of_one_cause_and_one_host(api: Api) -> None:
    # Given a request whose two images failed for two reasons,
    db = api.runtime.db
    request_id = given_request(db, 2)
    record(db, claim_image(db, request_id), FAILED)
    record(db, claim_image(db, request_id), replace(FAILED, error_code=ImageErrorCode.TIMEOUT))
    finish(db, request_id, RequestStatus.FAILED)
    (host,) = db.read_now(read_statistics, DEFAULT_TENANT, request_id).by_host
    input = {"id": encode_global_id(IdPrefix.REQUEST, request_id)}
    query = """
    mutation($input: RetryFailedImagesInput!) {
      retryFailedImages(input: $input) {
        __typename
        ... on UserError { message path }
        ... on RetryFailedImagesSuccess { request { status failedImages } }
      }
    }"""

    # when others are retried, then nothing happens;
    for other in ({"errorCode": "CORRUPT"}, {"host": "other.example:443"}, {"errorCode": "CORRUPT", "host": host.host}):
        assert (await api.data(query, input=input | other))["retryFailedImages"] == {
            "__typename": "NothingToRetry",
            "message": "No such image of the request failed, or the request has not finished yet.",
            "path": ["input", "id"],
        }
    # when those of one cause and its host are retried, then the other image stays.
    retried = await api.data(query, input=input | {"errorCode": "TIMEOUT", "host": host.host})
    assert retried["retryFailedImages"] == {
        "__typename": "RetryFailedImagesSuccess",
        "request": {"status": "PROCESSING", "failedImages": 1},
    }
    # The audit log says which were retried.
    details = db.read_now(lambda c, /: c.execute(select(audit_events.c.action, audit_events.c.details)).all())
    assert [tuple(row) for row in details] == [("REQUEST_RETRIED", {"errorCode": "TIMEOUT", "host": host.host})]


async def test_resend_needs_a_webhook(api: Api) -> None:
    id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1))

    result = await mutate(api, "resendWebhook", id)

    assert result["__typename"] == "NoWebhook"
    assert result["path"] == ["input", "id"]


async def test_only_a_final_request_is_deleted(api: Api) -> None:
    id = (await api.upload(CSV, UPLOADED))["request"]["id"]

    early = await mutate(api, "deleteRequest", id, "... on RequestNotFinal { status }")
    await mutate(api, "cancelRequest", id)
    deleted = await mutate(api, "deleteRequest", id, "... on DeleteRequestSuccess { deletedId }")

    assert (early["__typename"], early["status"]) == ("RequestNotFinal", "PENDING")
    assert deleted == {"__typename": "DeleteRequestSuccess", "deletedId": id}
    assert count_rows(api) == [0, 0, 0]
    # Its objects are deleted in the background.
    async with asyncio.timeout(30):
        while await api.runtime.storage.list_keys("requests/"):  # noqa: ASYNC110 - the tests set no event for it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["cancelRequest", "retryFailedImages", "resendWebhook", "deleteRequest"])
async def test_unknown_request_is_a_typed_error(api: Api, name: str) -> None:
    for id in (
        "nonsense",
        encode_global_id(IdPrefix.REQUEST, new_id()),
        encode_global_id(IdPrefix.PRODUCT, new_id()),
    ):
        assert await mutate(api, name, id) == NOT_FOUND


@pytest.mark.parametrize(
    "selection",
    [
        "a: uploadCsv(input: $input) { __typename } b: uploadCsv(input: $input) { __typename }",
        "a: uploadCsv(input: $input) { __typename } ...f",
    ],
)
async def test_one_upload_per_operation(api: Api, selection: str) -> None:
    query = f"mutation($input: UploadCsvInput!) {{ {selection} }}"
    if "...f" in selection:
        query += " fragment f on Mutation { b: uploadCsv(input: $input) { __typename } }"

    response = await api.http.post(
        "/graphql",
        headers={"GraphQL-Preflight": "1"},
        data={
            "operations": json.dumps({"query": query, "variables": {"input": {"file": None}}}),
            "map": json.dumps({"0": ["variables.input.file"]}),
        },
        files={"0": ("shop.csv", b"S. No.,Product Name,Input Image Urls\n1,a,https://x.example/1\n", "text/csv")},
    )

    assert response.json() == {
        "errors": [
            {
                "message": "The operation has `uploadCsv` 2 times. Upload one file per request.",
                "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
            }
        ]
    }
    assert (await api.data("{ requests { totalCount } }"))["requests"]["totalCount"] == 0
