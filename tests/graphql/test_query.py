"""Reading: single things, connections both ways, and how many statements it takes."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update

from gql_imgproc.db.models import products, requests
from gql_imgproc.identifiers import Kind, new_id, to_global
from gql_imgproc.settings import Settings
from gql_imgproc.states import RequestFailureCode, RequestStatus, StopReason
from tests.db.stories import DONE, FAILED, claimed, given_request, record
from tests.graphql.api import Api, opened

REQUESTS = """query($first: Int, $after: String, $last: Int, $before: String) {
  requests(first: $first, after: $after, last: $last, before: $before) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } edges { cursor node { id } }
  }
}"""


def ids(connection: dict[str, Any]) -> list[str]:
    return [edge["node"]["id"] for edge in connection["edges"]]


def test_node_gives_requests_products_and_images(run: Any) -> None:
    async def story(api: Api) -> None:
        request_id = to_global(Kind.REQUEST, given_request(api.resources.db, 2))
        known = await api.data(
            "query($id: ID!) { request(id: $id) { products { edges { node { id images { id } } } } } }", id=request_id
        )
        product = known["request"]["products"]["edges"][0]["node"]

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

    run(story)


def test_unknown_and_foreign_identifiers_give_null(run: Any) -> None:
    async def story(api: Api) -> None:
        request_id = given_request(api.resources.db, 1)
        foreign = ["", "x", "req_", str(request_id), to_global(Kind.REQUEST, new_id()), "req_" + "G" * 32, "\u0000"]
        as_product = to_global(Kind.PRODUCT, request_id)

        for id in [*foreign, as_product, to_global(Kind.IMAGE, request_id)]:
            found = await api.data(
                "query($id: ID!) { node(id: $id) { id } request(id: $id) { id } product(id: $id) { id } }", id=id
            )
            assert found == {"node": None, "request": None, "product": None}

    run(story)


def test_request_shows_what_is_known_of_it(run: Any) -> None:
    async def story(api: Api) -> None:
        db = api.resources.db
        request_id = given_request(
            db,
            1,
            2,
            webhook_url="https://user:secret@hook.example/in?a=b",
            options={"quality": 70, "crop": [1, 2, 3, 4], "filters": ["BLUR"]},
            warnings=[{"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}],
        )
        first, second = claimed(db, request_id), claimed(db, request_id)
        record(db, first, 0, DONE)
        record(db, second, 1, FAILED)

        found = await api.data(
            """query($id: ID!) { request(id: $id) {
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
            } }""",
            id=to_global(Kind.REQUEST, request_id),
        )

        products = [edge["node"] for edge in found["request"].pop("products")["edges"]]
        assert found["request"] == {
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
                "url": found["request"]["webhook"]["url"],
                "status": "PENDING",
                "attempts": 0,
                "lastHttpStatus": None,
                "nextAttemptAt": None,
                "log": [],
            },
        }
        assert "secret" not in found["request"]["webhook"]["url"]
        address = f"https://pictures.example/api/image/{request_id.hex}/0-1.jpg"
        done = products[0]["images"][0]
        failed = products[1]["images"][1]
        assert [product["status"] for product in products] == ["COMPLETED", "PROCESSING"]
        assert [product["outputImageUrls"] for product in products] == [[address], []]
        assert done == {
            "status": "COMPLETED",
            "outcome": "COMPRESSED",
            "outputUrl": address,
            "inputBytes": 1000,
            "outputBytes": 400,
            "format": "image/jpeg",
            "width": 8,
            "height": 6,
            "error": None,
        }
        assert failed["error"] == {"code": "HTTP_STATUS", "message": "The host answered 404.", "httpStatus": 404}

    run(story)


def test_final_request_has_its_output_and_its_failure(run: Any) -> None:
    async def story(api: Api) -> None:
        db = api.resources.db
        request_id = given_request(db, 1)
        ended = {
            "status": RequestStatus.FAILED,
            "stop_reason": StopReason.DEADLINE,
            "failure_code": RequestFailureCode.DEADLINE,
            "output_name": "output-1.csv",
            "images_per_second": 3.0,
        }
        statement = update(requests).where(requests.c.id == request_id).values(ended)
        db.write_now(lambda connection: connection.execute(statement))
        id = to_global(Kind.REQUEST, request_id)

        found = await api.data(
            "query($id: ID!) { request(id: $id) {"
            " outputCsvUrl imagesPerSecond estimatedCompletionAt failure { code message } } }",
            id=id,
        )

        assert found["request"] == {
            "outputCsvUrl": f"https://pictures.example/api/download/{id}",
            "imagesPerSecond": None,
            "estimatedCompletionAt": None,
            "failure": {
                "code": "DEADLINE",
                "message": "The deadline of the request passed before all its images were done.",
            },
        }

    run(story)


def test_connection_goes_both_ways(run: Any) -> None:
    async def story(api: Api) -> None:
        newest_first = [to_global(Kind.REQUEST, given_request(api.resources.db, 1)) for _ in range(5)][::-1]

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

    run(story)


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
def test_whether_there_are_more_is_true_whatever_has_gone_since(run: Any, name: str) -> None:
    asked, table = LISTS[name]
    fields = "pageInfo { hasPreviousPage hasNextPage } edges { cursor }"

    async def story(api: Api) -> None:
        db = api.resources.db
        request_id = given_request(db, *[1] * 4)
        if table is requests:
            for _ in range(3):
                given_request(db, 1)

        async def page(arguments: str) -> dict[str, Any]:
            query = "query($id: ID!) { node(id: $id) { id } " + asked.replace("ARGS", arguments) + " }"
            found = await api.data(query.replace("FIELDS", fields), id=to_global(Kind.REQUEST, request_id))
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

    run(story)


def test_requests_by_status_and_order(run: Any) -> None:
    async def story(api: Api) -> None:
        old, new = (to_global(Kind.REQUEST, given_request(api.resources.db, 1)) for _ in range(2))

        found = await api.data(
            """{ a: requests(orderBy: CREATED_AT_ASC, status: PENDING) { edges { node { id } } }
                 b: requests(status: COMPLETED) { totalCount edges { node { id } } } }"""
        )

        assert ids(found["a"]) == [old, new]
        assert found["b"] == {"totalCount": 0, "edges": []}

    run(story)


def test_products_are_searched_by_name(run: Any) -> None:
    async def story(api: Api) -> None:
        given_request(api.resources.db, *[1] * 12)

        found = await api.data(
            """{ products(nameContains: "PRODUCT 1", first: 2, status: PENDING) {
              totalCount edges { node { productName } } pageInfo { hasNextPage } } }"""
        )

        assert found["products"]["totalCount"] == 3
        assert len(found["products"]["edges"]) == 2
        assert found["products"]["pageInfo"]["hasNextPage"] is True

    run(story)


def test_products_of_a_request_are_searched_by_name(run: Any) -> None:
    async def story(api: Api) -> None:
        request_id = to_global(Kind.REQUEST, given_request(api.resources.db, *[1] * 12))
        given_request(api.resources.db, *[1] * 12)
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

    run(story)


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
def test_bad_page_is_a_coded_error(run: Any, arguments: str, message: str) -> None:
    async def story(api: Api) -> None:
        body = await api.answer(f"{{ requests({arguments}) {{ totalCount }} }}")

        assert body["data"] is None
        assert [(error["message"], error["extensions"]["code"]) for error in body["errors"]] == [
            (message, "BAD_USER_INPUT")
        ]

    run(story)


CURSORS = """query($id: ID!) {
  requests { edges { cursor } } products { edges { cursor } } request(id: $id) { products { edges { cursor } } } }"""


def test_a_cursor_is_good_for_the_list_that_gave_it_out(run: Any) -> None:
    async def story(api: Api) -> None:
        id = to_global(Kind.REQUEST, given_request(api.resources.db, 1))
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

    run(story)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("order", ["CREATED_AT_ASC", "CREATED_AT_DESC"])
def test_a_walk_misses_and_repeats_nothing_while_rows_come_and_go(run: Any, backward: bool, order: str) -> None:
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

    async def story(api: Api) -> None:
        db = api.resources.db
        there = [given_request(db, 1) for _ in range(12)]
        stay = {to_global(Kind.REQUEST, id) for id in there if id != there[5]}
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

    run(story)


@pytest.mark.parametrize("text", ["x" * 201, "a\u0000b"])
def test_bad_search_is_a_coded_error(run: Any, text: str) -> None:
    async def story(api: Api) -> None:
        given_request(api.resources.db, 1)
        everywhere = await api.answer("query($t: String) { products(nameContains: $t) { totalCount } }", t=text)
        within = await api.answer(
            "query($t: String) { requests(first: 1) { edges { node { products(nameContains: $t) { totalCount } } } } }",
            t=text,
        )

        for body in (everywhere, within):
            assert [error["extensions"]["code"] for error in body["errors"]] == ["BAD_USER_INPUT"]

    run(story)


def test_limits_are_those_in_force(run: Any) -> None:
    async def story(api: Api) -> None:
        found = await api.data(
            "{ limits { maxUploadBytes maxProducts maxImages maxPageSize maxQueryCost"
            " maxDepth maxAliases maxDirectives maxRepeats maxTokens maxDocumentChars } }"
        )

        assert found["limits"] == {
            "maxUploadBytes": 10_000,
            "maxProducts": api.resources.settings.max_products,
            "maxImages": api.resources.settings.max_images,
            "maxPageSize": 100,
            "maxQueryCost": api.resources.settings.max_query_cost,
            "maxDepth": 20,
            "maxAliases": 50,
            "maxDirectives": 50,
            "maxRepeats": 75,
            "maxTokens": 1_000,
            "maxDocumentChars": 50_000,
        }

    run(story)


class Statements:
    """The statements that reach the database while it is open, transactions' begins and ends left out."""

    def __init__(self, api: Api) -> None:
        self._engine = api.resources.db._reader
        self.texts: list[str] = []

    def __enter__(self) -> Statements:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            self.texts.append(statement)


def test_a_page_of_everything_takes_a_fixed_number_of_statements(settings: Settings) -> None:
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
                given_request(api.resources.db, 1, 2, 3, *[1] * 97, webhook_url="https://hook.example/")
            few = await count(api)
            for _ in range(90):
                given_request(api.resources.db, 1, 2, 3, *[1] * 97, webhook_url="https://hook.example/")
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
    ("arguments", "total", "statements"),
    [
        # What is not there, and what one page shows, is read once;
        ('nameContains: "nothing"', 0, 1),
        ('nameContains: "product 1"', 3, 1),
        ("first: 12", 12, 1),
        # what does not fit a page is counted.
        ('nameContains: "product 1", first: 2', 3, 2),
        ('nameContains: "product 1", last: 0', 3, 2),
        ("first: 11", 12, 2),
    ],
)
def test_only_what_a_page_does_not_show_is_counted(run: Any, arguments: str, total: int, statements: int) -> None:
    async def story(api: Api) -> None:
        request_id = to_global(Kind.REQUEST, given_request(api.resources.db, *[1] * 12))
        fields = f"products({arguments}) {{ totalCount edges {{ node {{ id }} }} }}"

        with Statements(api) as everywhere:
            found = await api.data(f"{{ {fields} }}")
        with Statements(api) as within:
            of_request = (await api.data(f"query($id: ID!) {{ request(id: $id) {{ {fields} }} }}", id=request_id))[
                "request"
            ]

        assert (found["products"]["totalCount"], of_request["products"]["totalCount"]) == (total, total)
        # The request itself is read as well.
        assert (len(everywhere.texts), len(within.texts)) == (statements, statements + 1)

    run(story)


@pytest.mark.parametrize(
    ("query", "room"),
    [
        # 5 and 3 of each product with its list; 10 images that are read and have one field.
        ("{ products(first: 12) { edges { node { images { id } } } } }", 5 + 12 * 5 + 120 * (0.4 + 0.6 + 0.1)),
        ("{ products(first: 12) { edges { node { a: images { id } b: images { id } } } } }", 5 + 12 * 8 + 240 * 1.1),
        # While a product is being worked on, its images tell what its results are.
        ("{ products(first: 12) { edges { node { outputImageUrls } } } }", 5 + 12 * 3 + 120 * (0.1 + 0.4)),
        ("{ products(first: 12) { edges { node { inputImageUrls } } } }", 5 + 12 * 3 + 120 * 0.1),
        ("{ requests { edges { node { warnings { row } } } } }", 5 + 20 * 4 + 30 * (0.6 + 0.1)),
    ],
)
def test_lists_without_pages_are_bounded_by_the_cost_as_well(settings: Settings, query: str, room: float) -> None:
    async def answer(max_query_cost: int) -> Any:
        async with opened(settings.model_copy(update={"max_query_cost": max_query_cost})) as api:
            return await api.answer(query)

    async def story() -> tuple[Any, Any]:
        async with opened(settings) as api:
            warning = {"code": "ENCODING", "message": "Read as cp1252.", "row": None, "column": None}
            given_request(api.resources.db, *[10] * 12, warnings=[warning] * 30)
        return await answer(math.ceil(room + 0.001)), await answer(math.ceil(room) - 1)

    within, over = asyncio.run(story())

    assert "errors" not in within
    assert over["data"] is None
    assert {(error["message"], error["extensions"]["code"]) for error in over["errors"]} == {
        ("This answer is too large. Ask for smaller pages, or for less of each image.", "BAD_USER_INPUT")
    }


def test_total_is_counted_only_when_asked_for(run: Any) -> None:
    async def story(api: Api) -> None:
        given_request(api.resources.db, 1)
        given_request(api.resources.db, 1)
        with Statements(api) as without:
            await api.data("{ requests(first: 1) { edges { node { id } } } }")
        with Statements(api) as with_total:
            await api.data("{ requests(first: 1) { totalCount edges { node { id } } } }")

        assert (len(without.texts), len(with_total.texts)) == (1, 2)

    run(story)
