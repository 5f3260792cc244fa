"""Queries: single objects, lists, search, limits."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from gql_imgproc.access import key_repository
from gql_imgproc.database import text_search
from gql_imgproc.database.tables import requests
from gql_imgproc.enums import ImageOutcome, RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, ids, open_api
from tests.graphql.test_pagination import Statements
from tests.support.scenarios import DONE, FAILED, given_request, record, stored_names, try_claim


async def test_node_returns_requests_products_and_images(api: Api) -> None:
    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 2))
    listed = await api.data(
        "query($id: ID!) { request(id: $id) { products { edges { node { id images { id } } } } } }", id=request_id
    )
    product = listed["request"]["products"]["edges"][0]["node"]

    found = await api.data(
        """query($request: ID!, $product: ID!, $image: ID!) {
              a: node(id: $request) { __typename id ... on Request { status } }
              b: node(id: $product) { __typename id ... on Product { productName requestId } }
              c: node(id: $image) { __typename id ... on Image { inputUrl outputUrl attempts } }
              d: product(id: $product) { serialNumber }
            }""",
        request=request_id,
        product=product["id"],
        image=product["images"][1]["id"],
    )

    assert found == {
        "a": {"__typename": "Request", "id": request_id, "status": "PENDING"},
        "b": {
            "__typename": "Product",
            "id": product["id"],
            "productName": "product 0",
            "requestId": request_id,
        },
        "c": {
            "__typename": "Image",
            "id": product["images"][1]["id"],
            "inputUrl": "https://x.example/0/1",
            "outputUrl": None,
            "attempts": 0,
        },
        "d": {"serialNumber": "1"},
    }


async def test_nodes_returns_objects_in_the_order_of_their_ids(api: Api) -> None:
    # Given two requests, the first with a product of one image,
    first, second = given_request(api.runtime.db, 1), given_request(api.runtime.db, 2)
    request_ids = [encode_global_id(IdPrefix.REQUEST, id) for id in (first, second)]
    listed = await api.data(
        "query($id: ID!) { request(id: $id) { products { nodes { id images { id } } } } }", id=request_ids[0]
    )
    (product,) = listed["request"]["products"]["nodes"]
    found_ids = [request_ids[1], product["images"][0]["id"], product["id"], request_ids[0]]

    # when they are fetched with unknown and malformed IDs between, and one twice,
    unknown = encode_global_id(IdPrefix.PRODUCT, new_id())
    asked = [found_ids[0], unknown, *found_ids[1:], "nonsense", found_ids[0]]
    data = await api.data("query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=asked)

    # then each is in its place, and null in place of an ID that names nothing.
    assert data["nodes"] == [
        {"__typename": "Request", "id": found_ids[0]},
        None,
        {"__typename": "Image", "id": found_ids[1]},
        {"__typename": "Product", "id": found_ids[2]},
        {"__typename": "Request", "id": found_ids[3]},
        None,
        {"__typename": "Request", "id": found_ids[0]},
    ]


@pytest.mark.parametrize(("number", "statements"), [(0, 0), (1, 1), (100, 100)])
async def test_nodes_are_read_in_one_transaction(
    api: Api, monkeypatch: pytest.MonkeyPatch, number: int, statements: int
) -> None:
    id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1))
    reads: list[Any] = []
    read = api.runtime.db.read

    async def record_read(query: Any, *args: Any, **kwargs: Any) -> Any:
        if query is not key_repository.has_keys:
            reads.append(query)
        return await read(query, *args, **kwargs)

    monkeypatch.setattr(api.runtime.db, "read", record_read)

    with Statements(api) as executed:
        data = await api.data("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[id] * number)

    assert data["nodes"] == [{"id": id}] * number
    assert (len(reads), len(executed.texts)) == (min(number, 1), statements)


async def test_too_many_ids_are_refused(api: Api) -> None:
    body = await api.execute("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["req_1"] * 101)

    assert body["data"] is None
    assert [(error["message"], error["extensions"]["code"]) for error in body["errors"]] == [
        ("`ids` may have at most 100 identifiers.", "BAD_USER_INPUT")
    ]


async def test_unknown_and_malformed_ids_return_null(api: Api) -> None:
    request_id = given_request(api.runtime.db, 1)
    ids_not_found = [
        "",
        "x",
        "req_",
        str(request_id),
        encode_global_id(IdPrefix.REQUEST, new_id()),
        "req_" + "G" * 32,
        "\u0000",
    ]
    as_product = encode_global_id(IdPrefix.PRODUCT, request_id)

    for id in [*ids_not_found, as_product, encode_global_id(IdPrefix.IMAGE, request_id)]:
        found = await api.data(
            "query($id: ID!) { node(id: $id) { id } request(id: $id) { id } product(id: $id) { id } }", id=id
        )
        assert found == {"node": None, "request": None, "product": None}


REQUEST_FIELDS = """query($id: ID!) { request(id: $id) {
  status priority csvFilename totalProducts processedProducts failedProducts totalImages processedImages
  failedImages cancelledImages keptImages progressPercent inputBytes outputBytes outputCsvUrl archiveUrl
  outputCsvExpiresAt completedAt failure { code }
  options { quality scale maxWidth crop { x y width height } filters format keepMetadata fileName }
  warnings { code message row column }
  webhook { url status attempts lastHttpStatus nextAttemptAt log { at } }
  products { edges { node { status outputImageUrls images {
    status outcome outputUrl inputBytes outputBytes format width height
    error { code message httpStatus }
  } } } }
} }"""
PROCESSING_REQUEST = {
    "status": "PROCESSING",
    "priority": "NORMAL",
    "csvFilename": "products.csv",
    "totalProducts": 2,
    "processedProducts": 1,
    "failedProducts": 0,
    "totalImages": 3,
    "processedImages": 1,
    "failedImages": 1,
    "cancelledImages": 0,
    "keptImages": 0,
    "progressPercent": 66.6,
    "inputBytes": 1000,
    "outputBytes": 400,
    "outputCsvUrl": None,
    "archiveUrl": None,
    "outputCsvExpiresAt": None,
    "completedAt": None,
    "failure": None,
    "options": {
        "quality": 70,
        "scale": 1.0,
        "maxWidth": None,
        "crop": {"x": 1, "y": 2, "width": 3, "height": 4},
        "filters": ["BLUR"],
        "format": "ORIGINAL",
        "keepMetadata": False,
        "fileName": "{handle}-{n}",
    },
    "warnings": [{"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}],
    "webhook": {
        "status": "PENDING",
        "attempts": 0,
        "lastHttpStatus": None,
        "nextAttemptAt": None,
        "log": [],
    },
}


async def test_request_shows_its_fields(api: Api) -> None:
    db = api.runtime.db
    request_id = given_request(
        db,
        1,
        2,
        webhook_url="https://user:secret@hook.example/in?a=b",
        options={"quality": 70, "crop": [1, 2, 3, 4], "filters": ["BLUR"]},
        warnings=[{"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}],
    )
    first, _, third = try_claim(db, request_id, 3)
    record(db, first, DONE)
    record(db, third, FAILED)

    found = await api.data(
        REQUEST_FIELDS,
        id=encode_global_id(IdPrefix.REQUEST, request_id),
    )

    products = [edge["node"] for edge in found["request"].pop("products")["edges"]]
    assert "secret" not in found["request"]["webhook"].pop("url")
    assert found["request"] == PROCESSING_REQUEST
    (name,) = db.read_now(stored_names, request_id)
    url = f"https://images.example/api/image/{request_id.hex}/{name}"
    done = products[0]["images"][0]
    failed = products[1]["images"][1]
    assert [product["status"] for product in products] == ["COMPLETED", "PROCESSING"]
    assert [product["outputImageUrls"] for product in products] == [[url], []]
    assert done == {
        "status": "COMPLETED",
        "outcome": "COMPRESSED",
        "outputUrl": url,
        "inputBytes": 1000,
        "outputBytes": 400,
        "format": "image/jpeg",
        "width": 8,
        "height": 6,
        "error": None,
    }
    assert failed["error"] == {"code": "HTTP_STATUS", "message": "The host answered 404.", "httpStatus": 404}


async def test_message_of_a_completed_image_is_a_warning_and_no_error(api: Api) -> None:
    db = api.runtime.db
    request_id = given_request(db, 1)
    (image,) = try_claim(db, request_id, 1)
    record(db, image, replace(DONE, error_message="The image has an HDR gain map."))

    found = await api.data(
        "query($id: ID!) { request(id: $id) { products { edges { node { images { warning error { code } } } } } } }",
        id=encode_global_id(IdPrefix.REQUEST, request_id),
    )

    [edge] = found["request"]["products"]["edges"]
    assert edge["node"]["images"] == [{"warning": "The image has an HDR gain map.", "error": None}]


async def test_metadata_option_replaces_keep_metadata(api: Api) -> None:
    db = api.runtime.db
    ids = [given_request(db, 1, options=options) for options in ({}, {"metadata": "NONE"}, {"keep_metadata": True})]

    found = [
        await api.data(
            "query($id: ID!) { request(id: $id) { options { metadata keepMetadata } } }",
            id=encode_global_id(IdPrefix.REQUEST, request_id),
        )
        for request_id in ids
    ]

    assert [data["request"]["options"] for data in found] == [
        {"metadata": "COPYRIGHT", "keepMetadata": False},
        {"metadata": "NONE", "keepMetadata": False},
        {"metadata": "ALL", "keepMetadata": True},
    ]


async def test_final_request_has_output_and_failure(api: Api) -> None:
    db = api.runtime.db
    request_id = given_request(db, 1)
    final = {
        "status": RequestStatus.FAILED,
        "phase": RequestPhase.DONE,
        "termination_reason": TerminationReason.DEADLINE,
        "failure_code": RequestFailureCode.DEADLINE,
        "output_name": "output-1.csv",
        "images_per_second": 3.0,
    }
    statement = update(requests).where(requests.c.id == request_id).values(final)
    db.write_now(lambda connection: connection.execute(statement))
    id = encode_global_id(IdPrefix.REQUEST, request_id)

    found = await api.data(
        "query($id: ID!) { request(id: $id) {"
        " outputCsvUrl archiveUrl imagesPerSecond estimatedCompletionAt failure { code message } } }",
        id=id,
    )

    assert found["request"] == {
        "outputCsvUrl": f"https://images.example/api/download/{id}",
        "archiveUrl": f"https://images.example/api/archive/{id}",
        "imagesPerSecond": None,
        "estimatedCompletionAt": None,
        "failure": {
            "code": "DEADLINE",
            "message": "The deadline of the request passed before all its images were processed.",
        },
    }


async def test_requests_are_filtered_and_ordered(api: Api) -> None:
    old, new = (encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1)) for _ in range(2))

    found = await api.data(
        """{ a: requests(orderBy: CREATED_AT_ASC, status: PENDING) { edges { node { id } } }
                 b: requests(status: COMPLETED) { totalCount edges { node { id } } } }"""
    )

    assert ids(found["a"]) == [old, new]
    assert found["b"] == {"totalCount": 0, "edges": []}


async def test_products_are_searched_by_name(api: Api) -> None:
    given_request(api.runtime.db, *[1] * 12)

    found = await api.data(
        """{ products(nameContains: "PRODUCT 1", first: 2, status: PENDING) {
              totalCount edges { node { productName } } pageInfo { hasNextPage } } }"""
    )

    assert found["products"]["totalCount"] == 3
    assert len(found["products"]["edges"]) == 2
    assert found["products"]["pageInfo"]["hasNextPage"] is True


async def test_products_of_a_request_are_searched_by_name(api: Api) -> None:
    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, *[1] * 12))
    given_request(api.runtime.db, *[1] * 12)
    query = """query($id: ID!, $text: String, $after: String) { request(id: $id) {
          products(nameContains: $text, first: 2, after: $after) {
            totalCount edges { node { productName } } pageInfo { hasNextPage endCursor } } } }"""

    first = (await api.data(query, id=request_id, text="PRODUCT 1"))["request"]["products"]
    end = first["pageInfo"]["endCursor"]
    second = (await api.data(query, id=request_id, text="PRODUCT 1", after=end))["request"]["products"]
    everything = (await api.data(query, id=request_id, text=""))["request"]["products"]

    names = [edge["node"]["productName"] for page in (first, second) for edge in page["edges"]]
    assert names == ["product 1", "product 10", "product 11"]
    assert [page["totalCount"] for page in (first, second, everything)] == [3, 3, 12]
    assert [page["pageInfo"]["hasNextPage"] for page in (first, second)] == [True, False]


@pytest.mark.parametrize("text", ["x" * 201, "a\u0000b"])
async def test_invalid_search_is_an_error(api: Api, text: str) -> None:
    given_request(api.runtime.db, 1)
    all_products = await api.execute("query($t: String) { products(nameContains: $t) { totalCount } }", t=text)
    products_of_request = await api.execute(
        "query($t: String) { requests(first: 1) { edges { node { products(nameContains: $t) { totalCount } } } } }",
        t=text,
    )

    for body in (all_products, products_of_request):
        assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]


async def test_limits_come_from_the_settings(api: Api) -> None:
    found = await api.data(
        "{ limits { maxUploadBytes maxProducts maxImages maxPageSize maxQueryCost"
        " maxDepth maxAliases maxDirectives maxRepeats maxTokens maxDocumentChars } }"
    )

    assert found["limits"] == {
        "maxUploadBytes": 10_000,
        "maxProducts": api.runtime.settings.max_products,
        "maxImages": api.runtime.settings.max_images,
        "maxPageSize": 100,
        "maxQueryCost": api.runtime.settings.max_query_cost,
        "maxDepth": 20,
        "maxAliases": 50,
        "maxDirectives": 50,
        "maxRepeats": 75,
        "maxTokens": 1_000,
        "maxDocumentChars": 50_000,
    }


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        # 5, and 3 per product with its list; 10 images per product are read and have one field.
        ("{ products(first: 12) { edges { node { images { id } } } } }", 5 + 12 * 5 + 120 * (1 + 0.1)),
        ("{ products(first: 12) { edges { node { a: images { id } b: images { id } } } } }", 5 + 12 * 8 + 240 * 1.1),
        # Until a product is finished, its output URLs are read from its images.
        ("{ products(first: 12) { edges { node { outputImageUrls } } } }", 5 + 12 * 3 + 120 * 0.5),
        ("{ products(first: 12) { edges { node { inputImageUrls } } } }", 5 + 12 * 3 + 120 * 0.1),
        ("{ requests { edges { node { warnings { row } } } } }", 5 + 20 * 4 + 30 * (1 + 0.1)),
    ],
)
async def test_lists_without_pages_count_against_the_cost_limit(settings: Settings, query: str, cost: float) -> None:
    async def execute(max_query_cost: int) -> Any:
        async with open_api(settings.model_copy(update={"max_query_cost": max_query_cost})) as api:
            return await api.execute(query)

    async with open_api(settings) as api:
        warning = {"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}
        given_request(api.runtime.db, *[10] * 12, warnings=[warning] * 30)

    accepted, refused = await execute(math.ceil(cost + 0.001)), await execute(math.ceil(cost) - 1)

    assert "errors" not in accepted
    assert refused["data"] is None
    assert {(error["message"], error["extensions"]["code"]) for error in refused["errors"]} == {
        ("The response is too large. Request smaller pages, or fewer fields of each image.", "BAD_USER_INPUT")
    }


async def test_statistics_of_a_request(api: Api) -> None:
    # Given a request with a completed and a failed image,
    request_id = given_request(api.runtime.db, 2)
    for image, result in zip(try_claim(api.runtime.db, request_id, 2), (DONE, FAILED), strict=True):
        record(api.runtime.db, image, result)

    # when its statistics are read,
    found = await api.data(
        """query($id: ID!) { request(id: $id) {
              statistics {
                byFormat { format images bytesBefore bytesAfter }
                byError { code images }
                byHost { host images completed failed throttled nextDueAt }
              }
              products { nodes { images { sha256 } } }
            } }""",
        id=encode_global_id(IdPrefix.REQUEST, request_id),
    )

    # then they count both, and the completed image has the hash of its bytes.
    assert found["request"]["statistics"] == {
        "byFormat": [{"format": "image/jpeg", "images": 1, "bytesBefore": 1000, "bytesAfter": 400}],
        "byError": [{"code": "HTTP_STATUS", "images": 1}],
        "byHost": [
            {"host": "x.example:443", "images": 2, "completed": 1, "failed": 1, "throttled": 0, "nextDueAt": None}
        ],
    }
    (product,) = found["request"]["products"]["nodes"]
    assert [image["sha256"] for image in product["images"]] == ["0" * 64, None]


async def test_images_of_a_request_are_filtered_and_paged(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given three products with two images each, of which three are completed, one of them kept, and two failed,
    request_id = given_request(api.runtime.db, 2, 2, 2)
    kept = replace(DONE, outcome=ImageOutcome.KEPT)
    timeout = replace(FAILED, error_code=ImageErrorCode.TIMEOUT)
    claimed = sorted(try_claim(api.runtime.db, request_id, 5), key=lambda image: image.id)
    for image, result in zip(claimed, (DONE, FAILED, kept, timeout, DONE), strict=True):
        record(api.runtime.db, image, result)
    document = """query($id: ID!, $status: ImageStatus, $outcome: ImageOutcome, $code: ImageErrorCode,
              $first: Int, $after: String, $last: Int, $before: String) { request(id: $id) {
                images(status: $status, outcome: $outcome, errorCode: $code,
                       first: $first, after: $after, last: $last, before: $before) {
                  nodes { inputUrl status } totalCount
                  pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
                } } }"""
    global_id = encode_global_id(IdPrefix.REQUEST, request_id)

    async def read(**arguments: Any) -> tuple[list[str], dict[str, Any]]:
        images = (await api.data(document, id=global_id, **arguments))["request"]["images"]
        return [image["inputUrl"].removeprefix("https://x.example/") for image in images["nodes"]], images

    # when they are filtered, then exactly the matching ones are listed in the order of the file.
    for arguments, expected in (
        ({}, ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]),
        ({"status": "COMPLETED"}, ["0/0", "1/0", "2/0"]),
        ({"status": "FAILED"}, ["0/1", "1/1"]),
        ({"status": "PENDING"}, ["2/1"]),
        ({"outcome": "KEPT"}, ["1/0"]),
        ({"code": "TIMEOUT"}, ["1/1"]),
        ({"code": "TIMEOUT", "status": "COMPLETED"}, []),
    ):
        found, images = await read(**arguments)
        assert (found, images["totalCount"]) == (expected, len(expected))

    # And pages have all of them once, in both directions, even if one page searches a single product.
    for limit in (100_000, 1):
        monkeypatch.setattr(text_search, "SEARCH_ROWS", limit)
        forward, backward = list[str](), list[str]()
        _, images = await read(first=0)
        while images["pageInfo"]["hasNextPage"]:
            found, images = await read(first=2, after=images["pageInfo"]["endCursor"])
            forward += found
            assert images["totalCount"] == 6
        found, images = await read(last=2)
        while True:
            backward = found + backward
            if not images["pageInfo"]["hasPreviousPage"]:
                break
            found, images = await read(last=2, before=images["pageInfo"]["startCursor"])
        assert forward == backward == ["0/0", "0/1", "1/0", "1/1", "2/0", "2/1"]


async def test_least_similar_images_are_listed_first(api: Api) -> None:
    # Given images with a similarity, two of them equal, one whose result an earlier version stored, and a failed one,
    request_id = given_request(api.runtime.db, 3, 3)
    claimed = sorted(try_claim(api.runtime.db, request_id, 6), key=lambda image: image.id)
    for image, similarity in zip(claimed, (90.5, 71.0, None, 71.0, 100.0), strict=False):
        record(api.runtime.db, image, replace(DONE, similarity=similarity))
    record(api.runtime.db, claimed[5], FAILED)
    document = """query($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { request(id: $id) {
                    imagesBySimilarity(first: $first, after: $after, last: $last, before: $before) {
                      nodes { inputUrl similarity } totalCount
                      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
                    } } }"""
    global_id = encode_global_id(IdPrefix.REQUEST, request_id)

    async def read(**arguments: Any) -> tuple[list[tuple[str, float]], dict[str, Any]]:
        found = (await api.data(document, id=global_id, **arguments))["request"]["imagesBySimilarity"]
        assert found["totalCount"] == 4
        names = [(node["inputUrl"].removeprefix("https://x.example/"), node["similarity"]) for node in found["nodes"]]
        return names, found["pageInfo"]

    # when they are read, then all that have one are listed once, the least similar ones first.
    everything, _ = await read()
    assert everything == [("0/1", 71.0), ("1/0", 71.0), ("0/0", 90.5), ("1/1", 100.0)]
    first, page = await read(first=1)
    rest, last_page = await read(first=5, after=page["endCursor"])
    assert (first + rest, last_page["hasNextPage"], last_page["hasPreviousPage"]) == (everything, False, True)
    assert (await read(last=2, before=last_page["endCursor"]))[0] == everything[1:3]


async def test_requests_are_filtered(api: Api) -> None:
    # Given three requests, accepted a minute apart, one of them with another name,
    names = ("spring.csv", "Autumn.csv", "spring 2.csv")
    ids_in_order = []
    for minute, name in enumerate(names):
        request_id = given_request(api.runtime.db, 1, csv_filename=name)
        moment = datetime(2026, 1, 1, 12, minute, tzinfo=UTC)
        statement = update(requests).where(requests.c.id == request_id).values(created_at=moment)
        api.runtime.db.write_now(lambda connection, statement=statement: connection.execute(statement))
        ids_in_order.append(request_id)
    record(api.runtime.db, try_claim(api.runtime.db, ids_in_order[0])[0], DONE)

    # when they are filtered, then exactly the matching ones are listed.
    for filter, expected in (
        ({}, ["spring.csv", "Autumn.csv", "spring 2.csv"]),
        ({"fileName": "SPRING"}, ["spring.csv", "spring 2.csv"]),
        ({"createdAfter": "2026-01-01T12:01:00Z"}, ["Autumn.csv", "spring 2.csv"]),
        ({"createdBefore": "2026-01-01T13:01:00+01:00"}, ["spring.csv", "Autumn.csv"]),
        ({"status": "PROCESSING"}, ["spring.csv"]),
        ({"status": "PROCESSING", "fileName": "autumn"}, []),
    ):
        listed = await api.data(
            "query($filter: RequestFilterInput) {"
            " requests(filter: $filter, orderBy: CREATED_AT_ASC) { totalCount nodes { csvFilename } } }",
            filter=filter,
        )
        assert [node["csvFilename"] for node in listed["requests"]["nodes"]] == expected
        assert listed["requests"]["totalCount"] == len(expected)
