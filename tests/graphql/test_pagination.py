"""Pages: cursors both ways, what is before and behind them, and what they count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from gql_imgproc.database import text_search
from gql_imgproc.database.tables import products, requests
from gql_imgproc.enums import RequestStatus
from gql_imgproc.graphql import context
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, ids, opened
from tests.support.scenarios import given_request


class Statements:
    """The statements that reach the database while it is open, transactions' begins and ends left out."""

    def __init__(self, api: Api) -> None:
        self._engine = api.runtime.db._reader
        self.texts: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            self.texts.append(statement)


REQUESTS = """query($first: Int, $after: String, $last: Int, $before: String) {
  requests(first: $first, after: $after, last: $last, before: $before) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { id } }
  }
}"""


async def test_connection_goes_both_ways(api: Api) -> None:
    newest_first = [encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1)) for _ in range(5)][::-1]

    first = (await api.data(REQUESTS, first=2))["requests"]
    second = (await api.data(REQUESTS, first=2, after=first["pageInfo"]["endCursor"]))["requests"]
    third = (await api.data(REQUESTS, first=2, after=second["pageInfo"]["endCursor"]))["requests"]
    back = (await api.data(REQUESTS, last=2, before=third["pageInfo"]["startCursor"]))["requests"]
    whole = (await api.data(REQUESTS))["requests"]
    none = (await api.data(REQUESTS, first=0))["requests"]

    assert [ids(page) for page in (first, second, third)] == [
        newest_first[:2],
        newest_first[2:4],
        newest_first[4:],
    ]
    assert ids(back) == newest_first[2:4]
    assert ids(whole) == newest_first
    assert [
        (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"])
        for page in (first, second, third, back, whole, none)
    ] == [(False, True), (True, True), (True, False), (True, True), (False, False), (False, True)]
    assert {page["totalCount"] for page in (first, second, third, back, whole, none)} == {5}
    assert none["pageInfo"]["startCursor"] is None
    assert first["edges"][0]["cursor"] == first["pageInfo"]["startCursor"]


#: How each list is asked for, and the table that its rows are in.
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
async def test_whether_there_are_more_is_true_whatever_has_gone_since(api: Api, name: str) -> None:
    asked, table = LISTS[name]
    fields = "pageInfo { hasPreviousPage hasNextPage } edges { cursor }"

    db = api.runtime.db
    request_id = given_request(db, *[1] * 4)
    if table is requests:
        for _ in range(3):
            given_request(db, 1)

    async def page(arguments: str) -> dict[str, Any]:
        query = "query($id: ID!) { node(id: $id) { id } " + asked.replace("ARGS", arguments) + " }"
        found = await api.data(query.replace("FIELDS", fields), id=encode_global_id(IdPrefix.REQUEST, request_id))
        holder = found.get("request", found)
        page: dict[str, Any] = holder["products" if table is products else "requests"]
        return page

    async def around(arguments: str) -> tuple[bool, bool, int]:
        found = await page(arguments)
        return found["pageInfo"]["hasPreviousPage"], found["pageInfo"]["hasNextPage"], len(found["edges"])

    first, second, _, fourth = [edge["cursor"] for edge in (await page("first: 9"))["edges"]]
    order = {
        "requests": table.c.id.desc(),
        "requests of a status": table.c.id.desc(),
        "products of a request": products.c.position,
        "products of a request and status": products.c.position,
    }.get(name, table.c.id)
    rows = db.read_now(lambda connection: connection.execute(select(table.c.id).order_by(order)).scalars().all())

    def gone(number: int) -> None:
        db.write_now(lambda connection: connection.execute(delete(table).where(table.c.id == rows[number])))

    assert await around(f'first: 2, after: "{first}"') == (True, True, 2)
    assert await around(f'last: 2, before: "{fourth}"') == (True, True, 2)
    assert await around(f'first: 9, after: "{first}", before: "{fourth}"') == (True, True, 2)
    assert await around(f'last: 9, after: "{first}", before: "{fourth}"') == (True, True, 2)
    assert await around(f'first: 1, after: "{first}", before: "{fourth}"') == (True, True, 1)
    gone(0)
    assert await around(f'first: 2, after: "{first}"') == (False, True, 2)
    assert await around(f'first: 2, after: "{second}"') == (True, False, 2)
    gone(3)
    assert await around(f'last: 2, before: "{fourth}"') == (False, False, 2)
    assert await around(f'last: 1, before: "{fourth}"') == (True, False, 1)
    assert await around(f'last: 9, after: "{first}", before: "{fourth}"') == (False, False, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 101", "`first` must be from 0 to 100."),
        ("first: -1", "`first` must be from 0 to 100."),
        ("last: 101", "`last` must be from 0 to 100."),
        ("first: 1, last: 1", "Give `first` or `last`, not both."),
        ('after: "nonsense"', "The cursor in `after` is not one that this list gave out."),
        ('before: "W10="', "The cursor in `before` is not one that this list gave out."),
        # A cursor of another list, and moments that no database has.
        ('after: "WyJvIiwwXQ=="', "The cursor in `after` is not one that this list gave out."),
        ('after: "WyJyIixOYU4sIjAxIl0="', "The cursor in `after` is not one that this list gave out."),
        (f'after: "{"A" * 300}"', "The cursor in `after` is not one that this list gave out."),
        ('after: "é"', "The cursor in `after` is not one that this list gave out."),
        ('after: ""', "The cursor in `after` is not one that this list gave out."),
    ],
)
async def test_bad_page_is_a_coded_error(api: Api, arguments: str, message: str) -> None:
    body = await api.answer(f"{{ requests({arguments}) {{ totalCount }} }}")

    assert body["data"] is None
    assert [(error["message"], error["extensions"]["code"]) for error in body["errors"]] == [
        (message, "BAD_USER_INPUT")
    ]


CURSORS = """query($id: ID!) {
  requests { edges { cursor } } products { edges { cursor } } request(id: $id) { products { edges { cursor } } } }"""


async def test_a_cursor_is_good_for_the_list_that_gave_it_out(api: Api) -> None:
    id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, 1))
    found = await api.data(CURSORS, id=id)
    of_list = {
        "requests": found["requests"]["edges"][0]["cursor"],
        "products": found["products"]["edges"][0]["cursor"],
        "request": found["request"]["products"]["edges"][0]["cursor"],
    }
    asked = {
        "requests": "requests(after: $c) { totalCount }",
        "products": "products(after: $c) { totalCount }",
        "request": "request(id: $id) { products(after: $c) { totalCount } }",
    }

    for name, fields in asked.items():
        query = "query($c: String, $id: ID!) { node(id: $id) { id } " + fields + " }"
        codes = {
            giver: [error["extensions"]["code"] for error in body.get("errors", ())]
            for giver, cursor in of_list.items()
            if (body := await api.answer(query, c=cursor, id=id))
        }
        assert codes == {giver: [] if giver == name else ["BAD_USER_INPUT"] for giver in of_list}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("order", ["CREATED_AT_ASC", "CREATED_AT_DESC"])
async def test_a_walk_misses_and_repeats_nothing_while_rows_come_and_go(api: Api, backward: bool, order: str) -> None:
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
    there = [given_request(db, 1) for _ in range(12)]
    stay = {encode_global_id(IdPrefix.REQUEST, id) for id in there if id != there[5]}
    seen: list[str] = []
    cursor = None
    for step in range(20):
        given = {"last": 2, "before": cursor} if backward else {"first": 2, "after": cursor}
        page = (await api.data(query, **given))["requests"]
        seen += ids(page)
        if not page["pageInfo"][more]:
            break
        cursor = page["pageInfo"][edge]
        # Meanwhile: a new one, one that has another status, one that the cursor points at and is gone.
        given_request(db, 1)
        statement = update(requests).where(requests.c.id == given_request(db, 1))
        db.write_now(lambda connection, s=statement: connection.execute(s.values(status=RequestStatus.FAILED)))
        if step == 2:
            db.write_now(lambda connection: connection.execute(delete(requests).where(requests.c.id == there[5])))

    assert len(seen) == len(set(seen))
    assert stay <= set(seen)


def test_a_page_of_everything_takes_a_fixed_number_of_statements(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the rows take longer to make than keys are left alone, and to look at those is two statements.
    monkeypatch.setattr(context, "WATCH_SECONDS", 3_600.0)
    # 50,405 and more: raised by whoever can spare two seconds of CPU for one answer.
    generous = settings.model_copy(update={"max_query_cost": 10**6})
    nodes: list[Any] = []

    async def count(api: Api) -> int:
        with Statements(api) as statements:
            found = await api.data(
                """{ requests(first: 100) { totalCount edges { node { id webhook { status log { at } } warnings { code }
                  options { crop { x } } failure { code } outputCsvUrl
                  products(first: 100) { totalCount pageInfo { hasNextPage endCursor }
                    edges { node { id outputImageUrls images { id error { code } } } } }
                  failed: products(status: FAILED) { totalCount edges { node { id } } } } } } }"""
            )
        nodes[:] = [edge["node"] for edge in found["requests"]["edges"]]
        return len(statements.texts)

    async def story() -> tuple[int, int]:
        async with opened(generous) as api:
            for _ in range(10):
                given_request(api.runtime.db, 1, 2, 3, *[1] * 97, webhook_url="https://hook.example/")
            few = await count(api)
            for _ in range(90):
                given_request(api.runtime.db, 1, 2, 3, *[1] * 97, webhook_url="https://hook.example/")
            return few, await count(api)

    few, many = asyncio.run(story())

    # Requests; webhooks; products of two kinds; images. Every page is the whole list, so nothing is counted.
    assert (few, many) == (5, 5)
    assert len(nodes) == 100
    assert {len(node["products"]["edges"]) for node in nodes} == {node["products"]["totalCount"] for node in nodes}
    assert all(
        [len(edge["node"]["images"]) for edge in node["products"]["edges"]] == [1, 2, 3, *[1] * 97] for node in nodes
    )


@pytest.mark.parametrize(
    ("arguments", "total", "everywhere", "within"),
    [
        # What is not there, and what one page shows, is read once;
        ("first: 12", 12, 1, 2),
        # a search asks besides how far it is to look;
        ('nameContains: "nothing"', 0, 2, 3),
        ('nameContains: "product 1"', 3, 2, 3),
        # what does not fit a page is counted.
        ('nameContains: "product 1", first: 2', 3, 4, 4),
        ('nameContains: "product 1", last: 0', 3, 4, 4),
        ("first: 11", 12, 2, 3),
    ],
)
async def test_only_what_a_page_does_not_show_is_counted(
    api: Api, arguments: str, total: int, everywhere: int, within: int
) -> None:
    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, *[1] * 12))
    fields = f"products({arguments}) {{ totalCount edges {{ node {{ id }} }} }}"

    with Statements(api) as of_all:
        found = await api.data(f"{{ {fields} }}")
    with Statements(api) as of_one:
        of_request = (await api.data(f"query($id: ID!) {{ request(id: $id) {{ {fields} }} }}", id=request_id))[
            "request"
        ]

    assert (found["products"]["totalCount"], of_request["products"]["totalCount"]) == (total, total)
    # The request itself is read as well.
    assert (len(of_all.texts), len(of_one.texts)) == (everywhere, within)


async def test_total_is_counted_only_when_asked_for(api: Api) -> None:
    given_request(api.runtime.db, 1)
    given_request(api.runtime.db, 1)
    with Statements(api) as without:
        await api.data("{ requests(first: 1) { edges { node { id } } } }")
    with Statements(api) as with_total:
        await api.data("{ requests(first: 1) { totalCount edges { node { id } } } }")

    assert (len(without.texts), len(with_total.texts)) == (1, 2)


async def test_a_search_looks_through_so_many_products_for_a_page(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = """products(nameContains: "product 1", %s) {
      totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { node { productName } } }"""

    request_id = encode_global_id(IdPrefix.REQUEST, given_request(api.runtime.db, *[1] * 13))
    monkeypatch.setattr(text_search, "SEARCH_ROWS", 4)

    async def ask(within: str, window: str) -> Any:
        data = await api.data(f"{{ {within.replace('ID', request_id)} {fields % window} {'}' * within.count('{')} }}")
        return data.get("request", data)["products"]

    for within in ('request(id: "ID") {', ""):
        forward, cursor = [], ""
        while True:
            page = await ask(within, f"first: 2{cursor}")
            forward.append([edge["node"]["productName"] for edge in page["edges"]])
            # Among the first four.
            assert page["totalCount"] == 1 or not within
            if not page["pageInfo"]["hasNextPage"]:
                break
            cursor = f', after: "{page["pageInfo"]["endCursor"]}"'
        backward, cursor = [], ""
        while True:
            page = await ask(within, f"last: 2{cursor}")
            backward.append([edge["node"]["productName"] for edge in page["edges"]])
            if not page["pageInfo"]["hasPreviousPage"]:
                break
            cursor = f', before: "{page["pageInfo"]["startCursor"]}"'

        # Each once, whatever their order.
        for pages in (forward, backward):
            assert sorted(name for page in pages for name in page) == [f"product {n}" for n in (1, 10, 11, 12)]
        if not within:
            continue
        # Products 0 to 3, 4 to 7, 8 to 11 of which a page shows two, and what is left.
        assert forward == [["product 1"], [], ["product 10", "product 11"], ["product 12"]]
        assert backward == [["product 11", "product 12"], ["product 10"], [], ["product 1"]]
