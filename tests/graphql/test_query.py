"""Queries: single objects, lists, search, limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy import update

from gql_imgproc.database.tables import requests
from gql_imgproc.enums import RequestFailureCode, RequestPhase, RequestStatus, TerminationReason
from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, ids, open_api
from tests.graphql.test_pagination import Statements
from tests.support.scenarios import DONE, FAILED, given_request, record, try_claim


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
  failedImages cancelledImages keptImages progressPercent inputBytes outputBytes outputCsvUrl
  outputCsvExpiresAt completedAt failure { code }
  options { quality scale maxWidth crop { x y width height } filters format keepMetadata }
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
    url = f"https://images.example/api/image/{request_id.hex}/0-1.jpg"
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
        " outputCsvUrl imagesPerSecond estimatedCompletionAt failure { code message } } }",
        id=id,
    )

    assert found["request"] == {
        "outputCsvUrl": f"https://images.example/api/download/{id}",
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
