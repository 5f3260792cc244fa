"""Connections: cursors in both directions, page info, total counts, and the number of statements."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from gql_imgproc.database import text_search
from gql_imgproc.database.tables import products, requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.graphql import context
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, ids, open_api
from tests.support.scenarios import given_request


class Statements:
    """Records the statements sent to the database, without BEGIN and COMMIT.

    The check whether a caller without a key is accepted is left out: it is the same for every operation.
    """

    def __init__(self, api: Api) -> None:
        self._engine = api.runtime.db._reader
        self.texts: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._record)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._record)

    def _record(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN") and "FROM api_keys" not in statement:
            self.texts.append(statement)


REQUESTS = """query($first: Int, $after: String, $last: Int, $before: String) {
  requests(first: $first, after: $after, last: $last, before: $before) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { id } }
  }
}"""


async def test_nodes_are_the_entries_of_the_edges(api: Api) -> None:
    for _ in range(3):
        given_request(api.runtime.db, 1)

    data = await api.data(
        "{ requests(first: 2) { nodes { id } edges { node { id } } } products(last: 2) { nodes { id } } }"
    )

    assert [node["id"] for node in data["requests"]["nodes"]] == ids(data["requests"])
    assert (len(data["requests"]["nodes"]), len(data["products"]["nodes"])) == (2, 2)


async def test_connection_pages_forward_and_backward(api: Api) -> None:
    newest_first = [encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1)) for _ in range(5)][::-1]

    first = (await api.data(REQUESTS, first=2))["requests"]
    second = (await api.data(REQUESTS, first=2, after=first["pageInfo"]["endCursor"]))["requests"]
    third = (await api.data(REQUESTS, first=2, after=second["pageInfo"]["endCursor"]))["requests"]
    back = (await api.data(REQUESTS, last=2, before=third["pageInfo"]["startCursor"]))["requests"]
    whole = (await api.data(REQUESTS))["requests"]
    empty = (await api.data(REQUESTS, first=0))["requests"]

    assert [ids(page) for page in (first, second, third)] == [
        newest_first[:2],
        newest_first[2:4],
        newest_first[4:],
    ]
    assert ids(back) == newest_first[2:4]
    assert ids(whole) == newest_first
    assert [
        (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"])
        for page in (first, second, third, back, whole, empty)
    ] == [(False, True), (True, True), (True, False), (True, True), (False, False), (False, True)]
    assert {page["totalCount"] for page in (first, second, third, back, whole, empty)} == {5}
    assert empty["pageInfo"]["startCursor"] is None
    assert first["edges"][0]["cursor"] == first["pageInfo"]["startCursor"]


#: Query and table of each list.
LISTS = {
    "requests": ("requests(ARGS) { FIELDS }", requests),
    "requests of a status": ("requests(ARGS, status: PENDING) { FIELDS }", requests),
    "oldest requests first": ("requests(ARGS, orderBy: CREATED_AT_ASC) { FIELDS }", requests),
    "products": ("products(ARGS) { FIELDS }", products),
    "products by name": ('products(ARGS, nameContains: "product") { FIELDS }', products),
    "products of a request": ("request(id: $id) { products(ARGS) { FIELDS } }", products),
    "products of a request and status": ("request(id: $id) { products(ARGS, status: PENDING) { FIELDS } }", products),
}


@pytest.mark.parametrize("name", LISTS)
async def test_page_info_is_correct_after_rows_are_deleted(api: Api, name: str) -> None:
    selection, table = LISTS[name]
    fields = "pageInfo { hasPreviousPage hasNextPage } edges { cursor }"

    db = api.runtime.db
    request_id = given_request(db, *[1] * 4)
    if table is requests:
        for _ in range(3):
            given_request(db, 1)

    async def page(arguments: str) -> dict[str, Any]:
        query = "query($id: ID!) { node(id: $id) { id } " + selection.replace("ARGS", arguments) + " }"
        data = await api.data(query.replace("FIELDS", fields), id=encode_global_id(IdPrefix.REQUEST, request_id))
        page: dict[str, Any] = data.get("request", data)["products" if table is products else "requests"]
        return page

    async def page_info(arguments: str) -> tuple[bool, bool, int]:
        result = await page(arguments)
        return result["pageInfo"]["hasPreviousPage"], result["pageInfo"]["hasNextPage"], len(result["edges"])

    first, second, _, fourth = [edge["cursor"] for edge in (await page("first: 9"))["edges"]]
    order = {
        "requests": table.c.id.desc(),
        "requests of a status": table.c.id.desc(),
        "products of a request": products.c.position,
        "products of a request and status": products.c.position,
    }.get(name, table.c.id)
    rows = db.read_now(lambda connection: connection.execute(select(table.c.id).order_by(order)).scalars().all())

    def delete_row(number: int) -> None:
        db.write_now(lambda connection: connection.execute(delete(table).where(table.c.id == rows[number])))

    assert await page_info(f'first: 2, after: "{first}"') == (True, True, 2)
    assert await page_info(f'last: 2, before: "{fourth}"') == (True, True, 2)
    assert await page_info(f'first: 9, after: "{first}", before: "{fourth}"') == (True, True, 2)
    assert await page_info(f'last: 9, after: "{first}", before: "{fourth}"') == (True, True, 2)
    assert await page_info(f'first: 1, after: "{first}", before: "{fourth}"') == (True, True, 1)
    delete_row(0)
    assert await page_info(f'first: 2, after: "{first}"') == (False, True, 2)
    assert await page_info(f'first: 2, after: "{second}"') == (True, False, 2)
    delete_row(3)
    assert await page_info(f'last: 2, before: "{fourth}"') == (False, False, 2)
    assert await page_info(f'last: 1, before: "{fourth}"') == (True, False, 1)
    assert await page_info(f'last: 9, after: "{first}", before: "{fourth}"') == (False, False, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 101", "`first` must be from 0 to 100."),
        ("first: -1", "`first` must be from 0 to 100."),
        ("last: 101", "`last` must be from 0 to 100."),
        ("first: 1, last: 1", "`first` and `last` cannot be combined."),
        ('after: "nonsense"', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
        ('before: "W10="', "The cursor in `before` is invalid. Pass back a cursor from the same list."),
        # A cursor of another list, and times that no database can store.
        ('after: "WyJvIiwwXQ=="', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
        ('after: "WyJyIixOYU4sIjAxIl0="', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
        (f'after: "{"A" * 300}"', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
        ('after: "é"', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
        ('after: ""', "The cursor in `after` is invalid. Pass back a cursor from the same list."),
    ],
)
async def test_invalid_page_arguments_are_an_error(api: Api, arguments: str, message: str) -> None:
    body = await api.execute(f"{{ requests({arguments}) {{ totalCount }} }}")

    assert body["data"] is None
    assert [(error["message"], error["extensions"]["code"]) for error in body["errors"]] == [
        (message, "BAD_USER_INPUT")
    ]


CURSORS = """query($id: ID!) {
  requests { edges { cursor } } products { edges { cursor } } request(id: $id) { products { edges { cursor } } } }"""


async def test_cursor_is_valid_only_for_its_list(api: Api) -> None:
    id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1))
    found = await api.data(CURSORS, id=id)
    cursors = {
        "requests": found["requests"]["edges"][0]["cursor"],
        "products": found["products"]["edges"][0]["cursor"],
        "request": found["request"]["products"]["edges"][0]["cursor"],
    }
    selections = {
        "requests": "requests(after: $c) { totalCount }",
        "products": "products(after: $c) { totalCount }",
        "request": "request(id: $id) { products(after: $c) { totalCount } }",
    }

    for name, fields in selections.items():
        query = "query($c: String, $id: ID!) { node(id: $id) { id } " + fields + " }"
        codes = {
            source: [error["extensions"]["code"] for error in body.get("errors", ())]
            for source, cursor in cursors.items()
            if (body := await api.execute(query, c=cursor, id=id))
        }
        assert codes == {source: [] if source == name else ["BAD_USER_INPUT"] for source in cursors}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("order", ["CREATED_AT_ASC", "CREATED_AT_DESC"])
async def test_paging_misses_and_repeats_nothing_while_rows_change(api: Api, backward: bool, order: str) -> None:
    size, bound = (
        ("$last: Int, $before: String", "last: $last, before: $before")
        if backward
        else (
            "$first: Int, $after: String",
            "first: $first, after: $after",
        )
    )
    query = f"""query({size}) {{ requests({bound}, status: PENDING, orderBy: {order}) {{
      pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} edges {{ node {{ id }} }} }} }}"""
    more, edge = ("hasPreviousPage", "startCursor") if backward else ("hasNextPage", "endCursor")

    db = api.runtime.db
    request_ids = [given_request(db, 1) for _ in range(12)]
    unchanged = {encode_global_id(IdPrefix.REQUEST, id) for id in request_ids if id != request_ids[5]}
    seen: list[str] = []
    cursor = None
    for step in range(20):
        variables = {"last": 2, "before": cursor} if backward else {"first": 2, "after": cursor}
        page = (await api.data(query, **variables))["requests"]
        seen += ids(page)
        if not page["pageInfo"][more]:
            break
        cursor = page["pageInfo"][edge]
        # Between pages: a new row, a row that changes its status, and a deleted row that the cursor points to.
        given_request(db, 1)
        statement = update(requests).where(requests.c.id == given_request(db, 1))
        db.write_now(lambda connection, s=statement: connection.execute(s.values(status=RequestStatus.FAILED)))
        if step == 2:
            db.write_now(lambda connection: connection.execute(delete(requests).where(requests.c.id == request_ids[5])))

    assert len(seen) == len(set(seen))
    assert unchanged <= set(seen)


FULL_PAGE = """{ requests(first: 100) { totalCount edges { node { id webhook { status log { at } } warnings { code }
  options { crop { x } } failure { code } outputCsvUrl
  products(first: 100) { totalCount pageInfo { hasNextPage endCursor }
    edges { node { id outputImageUrls images { id error { code } } } } }
  failed: products(status: FAILED) { totalCount edges { node { id } } } } } } }"""


@pytest.mark.parametrize(("requests", "products"), [(12, 10), pytest.param(100, 100, marks=pytest.mark.slow)])
async def test_page_takes_a_fixed_number_of_statements(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, requests: int, products: int
) -> None:
    # Given an API whose periodic check of keys adds no statements, and whose cost limit admits the page,
    monkeypatch.setattr(context, "WATCH_SECONDS", 3_600.0)
    images = [1, 2, 3, *[1] * (products - 3)]
    async with open_api(settings.model_copy(update={"max_query_cost": 10**6})) as api:

        async def read_page(new_requests: int) -> tuple[int, list[Any]]:
            for _ in range(new_requests):
                given_request(api.runtime.db, *images, webhook_url="https://hook.example/")
            with Statements(api) as statements:
                data = await api.data(FULL_PAGE)
            return len(statements.texts), [edge["node"] for edge in data["requests"]["edges"]]

        # when the page has a few requests, and when it has all of them,
        few, _ = await read_page(requests // 10)
        many, nodes = await read_page(requests - requests // 10)

    # then both take five: requests, webhooks, products of two kinds, images. Complete pages need no count.
    assert (few, many) == (5, 5)
    assert len(nodes) == requests
    assert {len(node["products"]["edges"]) for node in nodes} == {node["products"]["totalCount"] for node in nodes}
    assert all([len(edge["node"]["images"]) for edge in node["products"]["edges"]] == images for node in nodes)


@pytest.mark.parametrize(
    ("arguments", "total", "all_statements", "request_statements"),
    [
        # A complete page needs no count;
        ("first: 12", 12, 1, 2),
        # a search also reads how far to search;
        ('nameContains: "nothing"', 0, 2, 3),
        ('nameContains: "product 1"', 3, 2, 3),
        # an incomplete page needs a count.
        ('nameContains: "product 1", first: 2', 3, 4, 4),
        ('nameContains: "product 1", last: 0', 3, 4, 4),
        ("first: 11", 12, 2, 3),
    ],
)
async def test_total_count_reads_nothing_when_the_page_is_complete(
    api: Api, arguments: str, total: int, all_statements: int, request_statements: int
) -> None:
    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, *[1] * 12))
    fields = f"products({arguments}) {{ totalCount edges {{ node {{ id }} }} }}"

    with Statements(api) as all_products:
        found = await api.data(f"{{ {fields} }}")
    with Statements(api) as request_products:
        of_request = (await api.data(f"query($id: ID!) {{ request(id: $id) {{ {fields} }} }}", id=request_id))[
            "request"
        ]

    assert (found["products"]["totalCount"], of_request["products"]["totalCount"]) == (total, total)
    # The second also reads the request.
    assert (len(all_products.texts), len(request_products.texts)) == (all_statements, request_statements)


async def test_total_count_is_read_only_on_request(api: Api) -> None:
    given_request(api.runtime.db, 1)
    given_request(api.runtime.db, 1)
    with Statements(api) as without:
        await api.data("{ requests(first: 1) { edges { node { id } } } }")
    with Statements(api) as with_total:
        await api.data("{ requests(first: 1) { totalCount edges { node { id } } } }")

    assert (len(without.texts), len(with_total.texts)) == (1, 2)


async def test_search_reads_a_limited_number_of_products_per_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = """products(nameContains: "product 1", %s) {
      totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { node { productName } } }"""

    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, *[1] * 13))
    monkeypatch.setattr(text_search, "SEARCH_ROWS", 4)

    async def search(within: str, window: str) -> Any:
        data = await api.data(f"{{ {within.replace('ID', request_id)} {fields % window} {'}' * within.count('{')} }}")
        return data.get("request", data)["products"]

    for within in ('request(id: "ID") {', ""):
        forward, cursor = [], ""
        while True:
            page = await search(within, f"first: 2{cursor}")
            forward.append([edge["node"]["productName"] for edge in page["edges"]])
            # Counted among the first four.
            assert page["totalCount"] == 1 or not within
            if not page["pageInfo"]["hasNextPage"]:
                break
            cursor = f', after: "{page["pageInfo"]["endCursor"]}"'
        backward, cursor = [], ""
        while True:
            page = await search(within, f"last: 2{cursor}")
            backward.append([edge["node"]["productName"] for edge in page["edges"]])
            if not page["pageInfo"]["hasPreviousPage"]:
                break
            cursor = f', before: "{page["pageInfo"]["startCursor"]}"'

        # Each product once, in any order.
        for pages in (forward, backward):
            assert sorted(name for page in pages for name in page) == [f"product {n}" for n in (1, 10, 11, 12)]
        if not within:
            continue
        # Products 0 to 3, 4 to 7, two of 8 to 11, and the rest.
        assert forward == [["product 1"], [], ["product 10", "product 11"], ["product 12"]]
        assert backward == [["product 11", "product 12"], ["product 10"], [], ["product 1"]]
