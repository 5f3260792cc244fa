"""Limits on documents: their cost, and a bound on the work for any document within the limits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLError, OperationDefinitionNode, get_introspection_query, parse

from gql_imgproc.graphql import query_limits
from gql_imgproc.graphql.documents import MAX_DOCUMENT_CHARS, MAX_TOKENS
from gql_imgproc.graphql.query_cost import SEARCH_COST, CostVisitor, QueryCost, ResponseBudget
from gql_imgproc.graphql.query_limits import (
    INTROSPECTION_DISABLED,
    MAX_ALIASES,
    MAX_DEPTH,
    MAX_DIRECTIVES,
    MAX_ERRORS,
    MAX_INTROSPECTION,
    MAX_REPEATS,
    exceeded_limits,
)
from gql_imgproc.graphql.schema import schema
from gql_imgproc.graphql.types.field import OUTPUT_URL_COST, SOURCE_URL_COST
from gql_imgproc.settings import Settings
from tests.graphql import worst_case_documents as worst_case
from tests.graphql.client import Api, open_api

#: Function calls of the event loop's thread for one document: 0.67 million for the worst, which takes 0.1 s of CPU.
MAX_CALLS = 1_000_000


def measure(query: str, **variables: Any) -> QueryCost:
    document = parse(query)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return CostVisitor(schema._schema, document, variables).visit_operation(operation)


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        ("{ limits { maxImages } }", 2),
        # 5 for the connection, plus its page of 20 times the selection.
        ("{ requests { totalCount } }", 5 + 20),
        ("{ requests(first: 3) { edges { node { id } } } }", 5 + 3 * 3),
        ("{ requests(last: 3) { edges { node { id } } } }", 5 + 3 * 3),
        # A page counts as three entries at least.
        ("{ requests(first: 0) { edges { node { id } } } }", 5 + 3 * 3),
        ("{ requests(first: 2) { totalCount } }", 5 + 3),
        (
            "{ requests(first: 2) { edges { node { products(first: 4) { edges { node { images { id } } } } } } } }",
            5 + 3 * (1 + 1 + 2 + 4 * 5),
        ),
        ("{ requests(first: 999) { totalCount } }", 5 + 100),
        ("query($n: Int = 7) { requests(first: $n) { totalCount } }", 5 + 7),
        ("query($n: Int = 7) { requests(first: $n) { ...f } } fragment f on RequestConnection { totalCount }", 5 + 7),
        ("{ ... on Query { limits { maxImages } } ...f } fragment f on Query { limits { maxImages } }", 4),
        ('mutation { cancelRequest(input: {id: "x"}) { __typename } }', 2),
        ("{ requests(first: 3) { nodes { id } } }", 5 + 3 * 2),
        # 10 for each ID.
        ('{ nodes(ids: ["a", "b"]) { id } }', 2 * (10 + 1)),
        ('{ nodes(ids: "a") { id } }', 10 + 1),
        ('query($ids: [ID!]! = ["a", "b"]) { nodes(ids: $ids) { id } }', 2 * (10 + 1)),
        ("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", 10 + 1),
        # A search has no index.
        ('{ products(nameContains: "x", first: 4) { totalCount } }', 5 + SEARCH_COST + 4),
        # Unknown fields are left to validation.
        ("{ nonsense { more } }", 2),
        ("{ ...f } fragment f on Query { ...f limits { maxImages } }", 2),
        ("{ ...missing }", 0),
        ("{ ...f } fragment f on CropInput { x { y } }", 2),
        ("{ ... on Nonsense { __typename } }", 1),
    ],
)
def test_cost(query: str, cost: int) -> None:
    assert measure(query).cost == cost


@pytest.mark.parametrize(("n", "cost"), [(9, 14), (9.0, 14), (None, 25), ("x", 25), (float("inf"), 25), (-5, 8)])
def test_cost_follows_variables(n: Any, cost: int) -> None:
    assert measure("query($n: Int) { requests(first: $n) { totalCount } }", n=n).cost == cost


@pytest.mark.parametrize(("ids", "cost"), [(["a"] * 3, 33), ("abc", 11), (["a"] * 999, 1_100), (None, 11)])
def test_cost_of_nodes_follows_the_number_of_ids(ids: Any, cost: int) -> None:
    assert measure("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids).cost == cost


def test_request_with_100_products_and_their_images_is_within_the_budget() -> None:
    # Given a page of 100 products with ten images each,
    query = """query($id: ID!) { request(id: $id) { id csvFilename status totalProducts processedProducts failedProducts
      totalImages processedImages failedImages progressPercent products(first: 100) { totalCount
      pageInfo { hasNextPage endCursor } edges { node { id serialNumber productName status inputImageUrls
      outputImageUrls images { id inputUrl outputUrl status error { code message } } } } } } }"""

    # when its cost is measured, and its images and URLs are charged,
    measured = measure(query, id="req_1")
    budget = ResponseBudget(Settings.model_fields["max_query_cost"].default - measured.cost, measured.entry)
    for _ in range(100):
        budget.charge(10)
        budget.charge(10, SOURCE_URL_COST)
        budget.charge(10, OUTPUT_URL_COST)

    # then a tenth of the budget is left.
    assert (measured.cost, budget.spent, budget.limit) == (2_113, pytest.approx(2_300), 2_887)


def test_budget_of_a_response_is_charged_before_a_list_is_read() -> None:
    budget = ResponseBudget(100, entry_fields=10)
    budget.charge(45)
    budget.charge(20, 0.5)

    assert budget.spent == 45 * 2 + 20 * 0.5
    with pytest.raises(GraphQLError, match="The response is too large"):
        budget.charge(1)


def test_depth_and_aliases_are_measured_with_fragments_expanded() -> None:
    query = "{ a: limits { b: maxImages } ...f ...f } fragment f on Query { c: requests { ...g } } "
    query += "fragment g on RequestConnection { edges { node { d: id } } }"

    cost = measure(query)

    assert (cost.depth, cost.aliases) == (4, 6)


async def test_deepest_document_is_measured(api: Api) -> None:
    # Given fragments in fragments with 1,000 tokens,
    levels = [" ".join(f"a{n}_{level} {{" for level in range(20)) for n in range(14)]
    fragments = [f"fragment f{n} on Query {{ {fields} ...f{n + 1} {'}' * 20} }}" for n, fields in enumerate(levels)]
    document = "{ ...f0 } " + " ".join(fragments)
    assert MAX_TOKENS - 100 < worst_case.count_tokens(document) < MAX_TOKENS

    # when they are measured,
    body = await api.execute(document)

    # then the depth is that of all of them.
    assert [error["message"] for error in body["errors"]] == [
        "The depth of the operation is 280, but the limit is 20. Request smaller pages or fewer fields."
    ]


def test_directives_are_counted_everywhere() -> None:
    query = """query($a: Boolean! @x) @x { ...f @skip(if: $a) ...f ... @include(if: $a) { limits @x { maxImages } } }
      fragment f on Query @x { limits { maxImages @x @x } }"""

    assert measure(query).directives == 5 + 2 * 3


def test_skipped_fields_cost_the_same() -> None:
    skipped = measure("{ requests(first: 3) @skip(if: true) { totalCount @include(if: false) } }")

    assert skipped.cost == 5 + 3


def test_cost_of_an_entry_is_the_largest_of_all_lists_without_pages() -> None:
    query = """{ requests(first: 2) { edges { node { warnings { row column } products(first: 3) {
      edges { cursor node { inputImageUrls images { id status error { code message } } } } } } } } }"""

    assert measure(query).entry == 5


@pytest.mark.parametrize(
    ("fields", "entry"),
    [("id status", 2), ("sourceUrl", 3), ("a: id b: id", 2 + 2 * 2), ("a: error { b: code }", 2 + 2 * 2)],
)
def test_signed_urls_and_aliases_count_as_several_fields_of_an_entry(fields: str, entry: int) -> None:
    assert measure(f"{{ products(first: 3) {{ nodes {{ images {{ {fields} }} }} }} }}").entry == entry


async def test_cost_of_a_document_is_measured_once_for_each_size(api: Api) -> None:
    # Given a document whose page size is a variable,
    query = "query CachedCost($first: Int, $id: ID!) { products(first: $first) { totalCount } request(id: $id) { id } }"
    query_limits._measure.cache_clear()

    # when it is executed with two sizes and four texts,
    for first, request_id in [(3, "a"), (3, "b"), (4, "c"), (4, "d")]:
        await api.data(query, first=first, id=request_id)

    # then it was measured twice.
    assert query_limits._measure.cache_info().misses == 2


def test_each_exceeded_limit_has_an_error() -> None:
    exceeded = exceeded_limits(
        QueryCost(
            cost=11,
            depth=MAX_DEPTH + 1,
            aliases=MAX_ALIASES + 1,
            directives=MAX_DIRECTIVES + 1,
            introspection=MAX_INTROSPECTION + 1,
        ),
        max_cost=10,
    )
    within = exceeded_limits(
        QueryCost(
            cost=10,
            depth=MAX_DEPTH,
            aliases=MAX_ALIASES,
            directives=MAX_DIRECTIVES,
            introspection=MAX_INTROSPECTION,
        ),
        max_cost=10,
    )

    assert [error.message for error in exceeded] == [
        "The depth of the operation is 21, but the limit is 20. Request smaller pages or fewer fields.",
        "The number of aliases of the operation is 51, but the limit is 50. Request smaller pages or fewer fields.",
        "The number of directives of the operation is 51, but the limit is 50. Request smaller pages or fewer fields.",
        "The cost of the operation is 11, but the limit is 10. Request smaller pages or fewer fields.",
        "The introspection of the operation is 3, but the limit is 2. Request smaller pages or fewer fields.",
    ]
    assert {error.extensions["code"] for error in exceeded if error.extensions} == {"GRAPHQL_VALIDATION_FAILED"}
    assert within == []


def test_nested_fragments_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = 60
    query = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels))
    query += f" fragment f{levels} on Query {{ limits {{ maxImages }} }}"
    selections: list[Any] = []
    visit_selections = CostVisitor._visit_selections

    def record(*args: Any, **kwargs: Any) -> QueryCost:
        selections.append(args)
        return visit_selections(*args, **kwargs)

    monkeypatch.setattr(CostVisitor, "_visit_selections", record)

    cost = measure(query)

    # Once for each fragment, the operation, `limits` and `maxImages`.
    assert cost.cost == 2 * 2**levels
    assert len(selections) == levels + 4


def test_full_introspection_is_within_the_limits() -> None:
    introspection = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
    )

    assert exceeded_limits(measure(introspection), max_cost=1_000) == []
    assert measure(introspection).introspection == 1


@pytest.mark.parametrize(
    ("query", "introspection"),
    [
        ("{ __typename }", 0),
        ("{ __schema { types { fields { name type { name } args { name } } inputFields { name } } } }", 1),
        ('{ a: __type(name: "Request") { name } b: __type(name: "Product") { name } }', 2),
        ("{ __schema { types { name } a: types { ...f } } } fragment f on __Type { b: fields { c: name } }", 4),
        # A list of types in another one has up to the square of its entries.
        ("{ __schema { types { fields { type { fields { name } } } } } }", 2),
        ("{ __schema { types { fields { type { ofType { interfaces { name } possibleTypes { name } } } } } } }", 3),
        ("{ __schema { types { possibleTypes { fields { type { inputFields { name } } } } } } }", 4),
        (
            '{ __type(name: "Request") { ...f } } fragment f on __Type { fields { ...g ...g } } '
            "fragment g on __Field { type { fields { name } } }",
            3,
        ),
    ],
)
def test_introspection_counts_what_multiplies_the_response(query: str, introspection: int) -> None:
    assert measure(query).introspection == introspection


async def test_introspection_of_wrapped_types_has_no_errors(api: Api) -> None:
    data = await api.data('{ __type(name: "Query") { isOneOf fields { type { kind isOneOf ofType { isOneOf } } } } }')

    kinds = {field["type"]["kind"]: field["type"] for field in data["__type"]["fields"]}
    assert data["__type"]["isOneOf"] is None
    assert kinds["NON_NULL"] == {"kind": "NON_NULL", "isOneOf": None, "ofType": {"isOneOf": None}}


async def count_calls(api: Api, document: str, variables: dict[str, Any]) -> int:
    """Number of function calls, in Python and C, in this thread."""
    calls = 0

    def record(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(record)
    try:
        await worst_case.execute(api, document, variables)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.slow
async def test_work_of_any_document_is_bounded(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    # Given rows in SQLite, and a server that has executed a document before,
    settings = Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)
    documents = worst_case.BEFORE_READING | worst_case.READING
    async with open_api(settings) as api:
        variables = worst_case.given_rows(api)
        await api.data("{ requests { totalCount } }")

        # when it executes the worst documents known,
        calls = {name: await count_calls(api, document, variables) for name, document in documents.items()}

    # then each takes a bounded number of calls. benchmarks/documents.py measures the time.
    assert {name: count for name, count in calls.items() if count > MAX_CALLS} == {}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "{ limits { maxImages } } #" + "x" * MAX_DOCUMENT_CHARS,
            "The document has more than 50000 characters. Split it, and pass values as variables.",
        ),
        (
            "{ " + "limits { maxImages } " * (MAX_REPEATS + 1) + "}",
            "`limits` occurs more than 75 times in the document. Request fewer fields.",
        ),
        # Unused fragments are validated too.
        (
            "{ limits { maxImages } } fragment f on Query { " + "__typename " * (MAX_REPEATS + 1) + "}",
            "`__typename` occurs more than 75 times in the document. Request fewer fields.",
        ),
        (
            "{ requests(first: 100) { edges { node { products(first: 100) { totalCount } } } } }",
            "The cost of the operation is 10405, but the limit is 5000. Request smaller pages or fewer fields.",
        ),
    ],
)
async def test_document_above_a_limit_is_refused_before_validation(
    api: Api, monkeypatch: pytest.MonkeyPatch, document: str, message: str
) -> None:
    validated: list[Any] = []
    monkeypatch.setattr(query_limits, "validate", lambda *args, **_: validated.append(args))

    body = await api.execute(document)

    assert body == {"errors": [{"message": message, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}
    assert validated == []


async def test_too_many_tokens_are_a_syntax_error(api: Api) -> None:
    body = await api.execute("{ " + "a " * MAX_TOKENS + "}")

    (error,) = body["errors"]
    assert error["message"] == "Syntax Error: Document contains more than 1000 tokens. Parsing aborted."
    assert error["extensions"] == {"code": "GRAPHQL_PARSE_FAILED"}
    assert error["locations"] == [{"line": 1, "column": 2 * MAX_TOKENS + 1}]


async def test_first_validation_errors_have_locations(api: Api) -> None:
    body = await api.execute("{\n" + "\n".join(f"  limitz{n}" for n in range(50)) + "\n}")

    assert [error["locations"] for error in body["errors"][:-1]] == [
        [{"line": 2 + n, "column": 3}] for n in range(MAX_ERRORS)
    ]
    assert body["errors"][0]["message"] == "Cannot query field 'limitz0' on type 'Query'. Did you mean 'limits'?"
    assert body["errors"][-1]["message"] == ("Too many validation errors, error limit reached. Validation aborted.")


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { queryType { name } } }",
        '{ a: __type(name: "Query") { name } }',
        "{ ...f } fragment f on Query { ... { __schema { __typename } } }",
        get_introspection_query(),
    ],
)
@pytest.mark.parametrize("introspection", ["auto", "off"])
async def test_introspection_needs_the_setting(settings: Settings, query: str, introspection: str) -> None:
    # `auto` is resolved by the command that listens; here it stays disabled.
    settings = settings.model_copy(update={"introspection": introspection})
    async with open_api(settings, listening=False) as api:
        refused = await api.execute(query)
        type_names = await api.execute('{ __typename node(id: "x") { __typename } }')
        misspelled = await api.execute("{ limitz }")

    assert list(refused) == ["errors"]
    assert [(error["message"], error["extensions"]) for error in refused["errors"]] == [
        (INTROSPECTION_DISABLED, {"code": "GRAPHQL_VALIDATION_FAILED"})
    ]
    assert type_names == {"data": {"__typename": "Query", "node": None}}
    # Suggestions would reveal the schema too.
    assert misspelled["errors"][0]["message"] == "Cannot query field 'limitz' on type 'Query'."
