"""`Request.changes` over HTTP."""

from __future__ import annotations

from typing import Any

from gql_imgproc.ids import IdPrefix, encode_global_id, new_id
from tests.graphql.client import Api
from tests.requests.repository.test_changes import TODAY, YESTERDAY, Stored, given_finished
from tests.support.api_keys import given_tenant
from tests.support.scenarios import given_request

COUNTS = """query($id: ID!, $since: ID) { request(id: $id) { changes(since: $since) {
  sinceId
  productCounts { added changed gone unchanged }
  imageCounts { added changed gone unchanged }
} } }"""
LISTS = """query($id: ID!, $kind: ChangeKind!, $after: String) { request(id: $id) { changes {
  products(kind: $kind) { totalCount nodes { serialNumber requestId } }
  images(kind: $kind, first: 1, after: $after) { totalCount nodes { inputUrl } pageInfo { hasNextPage endCursor } }
} } }"""


async def read_lists(api: Api, id: str, kind: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Serial numbers and requests of products, and ends of the source URLs of images, which are read one by one."""
    images, after = list[str](), None
    while True:
        found = (await api.data(LISTS, id=id, kind=kind, after=after))["request"]["changes"]
        images += [image["inputUrl"].removeprefix("https://x.example/") for image in found["images"]["nodes"]]
        after = found["images"]["pageInfo"]["endCursor"]
        if not found["images"]["pageInfo"]["hasNextPage"]:
            break
    products = [(product["serialNumber"], product["requestId"]) for product in found["products"]["nodes"]]
    assert (found["products"]["totalCount"], found["images"]["totalCount"]) == (len(products), len(images))
    return products, images


async def test_changes_since_the_earlier_request(api: Api) -> None:
    # Given a catalogue that was uploaded yesterday, and again today with changes,
    stored: Stored = {}
    yesterday, today = (
        encode_global_id(IdPrefix.REQUEST, given_finished(api.runtime.db, rows, stored)) for rows in (YESTERDAY, TODAY)
    )

    # when the changes are counted, then they are those since yesterday,
    expected = {
        "sinceId": yesterday,
        "productCounts": {"added": 1, "changed": 2, "gone": 1, "unchanged": 1},
        "imageCounts": {"added": 2, "changed": 1, "gone": 1, "unchanged": 4},
    }
    for since in (None, yesterday):
        found = await api.data(COUNTS, id=today, since=since)
        assert found["request"]["changes"] == expected
    # and each kind can be listed; what is gone belongs to yesterday's request.
    assert await read_lists(api, today, "ADDED") == ([("5", today)], ["shelf", "lamp-off"])
    assert await read_lists(api, today, "CHANGED") == ([("2", today), ("3", today)], ["lamp"])
    assert await read_lists(api, today, "GONE") == ([("4", yesterday)], ["sofa"])
    assert await read_lists(api, today, "UNCHANGED") == (
        [("1", today)],
        ["chair-back", "chair", "table", "lamp-on"],
    )


async def test_no_changes_without_two_finished_requests(api: Api) -> None:
    # Given a finished request, one that is open, and one of another tenant,
    database = api.runtime.db
    first = encode_global_id(IdPrefix.REQUEST, given_finished(database, YESTERDAY, {}))
    opened = encode_global_id(IdPrefix.REQUEST, given_request(database, 1))
    other = given_finished(database, YESTERDAY, {}, tenant_id=given_tenant(database, "other"))
    unknown = encode_global_id(IdPrefix.REQUEST, new_id())

    # when any of these is compared, or named, then there are no changes, and nothing tells them apart.
    arguments: list[dict[str, Any]] = [
        {"id": first},
        {"id": opened, "since": first},
        *({"id": first, "since": since} for since in (opened, unknown, encode_global_id(IdPrefix.REQUEST, other))),
        *({"id": first, "since": since} for since in ("", "req_x", encode_global_id(IdPrefix.PRODUCT, other))),
    ]
    for each in arguments:
        assert await api.data(COUNTS, **each) == {"request": {"changes": None}}


async def test_comparisons_of_many_requests_are_too_expensive(api: Api) -> None:
    query = "{ requests(first: 11) { nodes { changes { productCounts { changed } } } } }"

    (error,) = (await api.execute(query))["errors"]

    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
