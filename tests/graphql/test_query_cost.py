"""Limits on documents: what they cost, and that no document under them takes more than 0.2 s of CPU."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from graphql import OperationDefinitionNode, execute, get_introspection_query, parse

from gql_imgproc.graphql.query_cost import SEARCH_COST, CostAnalyzer, QueryCost
from gql_imgproc.graphql.query_limits import (
    MAX_ALIASES,
    MAX_DEPTH,
    MAX_DIRECTIVES,
    MAX_DOCUMENT_CHARS,
    MAX_ERRORS,
    MAX_INTROSPECTION,
    MAX_REPEATS,
    MAX_TOKENS,
    exceeded_limits,
)
from gql_imgproc.graphql.schema import schema
from gql_imgproc.settings import Settings
from tests.graphql.client import Api, opened
from tests.graphql.worst_case_documents import (
    BEFORE_READING,
    MAX_WORK_BESIDE_OTHERS,
    READING,
    given_all,
    settled,
    taken,
)


def measured(query: str, **variables: Any) -> QueryCost:
    document = parse(query)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return CostAnalyzer(schema._schema, document, variables).operation(operation)


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        ("{ limits { maxImages } }", 2),
        # 5 for the connection, and its page of 20 times what is inside.
        ("{ requests { totalCount } }", 5 + 20),
        ("{ requests(first: 3) { edges { node { id } } } }", 5 + 3 * 3),
        ("{ requests(last: 3) { edges { node { id } } } }", 5 + 3 * 3),
        ("{ requests(first: 0) { edges { node { id } } } }", 5),
        ("{ requests(first: 2) { edges { node { products(first: 4) { edges { node { images { id } } } } } } } }", 53),
        ("{ requests(first: 999) { totalCount } }", 5 + 100),
        ("query($n: Int = 7) { requests(first: $n) { totalCount } }", 5 + 7),
        ("query($n: Int = 7) { requests(first: $n) { ...f } } fragment f on RequestConnection { totalCount }", 5 + 7),
        ("{ ... on Query { limits { maxImages } } ...f } fragment f on Query { limits { maxImages } }", 4),
        ('mutation { cancelRequest(input: {id: "x"}) { __typename } }', 2),
        # Names have no index.
        ('{ products(nameContains: "x", first: 2) { totalCount } }', 5 + SEARCH_COST + 2),
        # What does not fit the schema is left to validation.
        ("{ nonsense { more } }", 2),
        ("{ ...f } fragment f on Query { ...f limits { maxImages } }", 2),
        ("{ ...missing }", 0),
    ],
)
def test_cost(query: str, cost: int) -> None:
    assert measured(query).cost == cost


@pytest.mark.parametrize(("n", "cost"), [(9, 14), (9.0, 14), (None, 25), ("x", 25), (float("inf"), 25), (-5, 5)])
def test_cost_follows_variables(n: Any, cost: int) -> None:
    assert measured("query($n: Int) { requests(first: $n) { totalCount } }", n=n).cost == cost


def test_depth_and_aliases_are_those_of_the_expanded_document() -> None:
    query = "{ a: limits { b: maxImages } ...f ...f } fragment f on Query { c: requests { ...g } } "
    query += "fragment g on RequestConnection { edges { node { d: id } } }"

    measure = measured(query)

    assert (measure.depth, measure.aliases) == (4, 6)


def test_directives_are_counted_wherever_they_stand() -> None:
    query = """query($a: Boolean! @x) @x { ...f @skip(if: $a) ...f ... @include(if: $a) { limits @x { maxImages } } }
      fragment f on Query @x { limits { maxImages @x @x } }"""

    assert measured(query).directives == 5 + 2 * 3


def test_what_may_be_skipped_costs_what_it_would_cost() -> None:
    skipped = measured("{ requests(first: 3) @skip(if: true) { totalCount @include(if: false) } }")

    assert skipped.cost == 5 + 3


def test_what_is_asked_of_an_entry_is_that_of_the_longest_list_without_pages() -> None:
    query = """{ requests(first: 2) { edges { node { warnings { row column } products(first: 3) {
      edges { cursor node { inputImageUrls images { id status error { code message } } } } } } } } }"""

    assert measured(query).of_entry == 5


def test_each_limit_has_its_sentence() -> None:
    over = exceeded_limits(
        QueryCost(
            cost=11,
            depth=MAX_DEPTH + 1,
            aliases=MAX_ALIASES + 1,
            directives=MAX_DIRECTIVES + 1,
            introspection=MAX_INTROSPECTION + 0.5,
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

    assert [error.message for error in over] == [
        "The depth of the operation is 21, over the limit of 20. Ask for smaller pages or fewer fields.",
        "The number of aliases of the operation is 51, over the limit of 50. Ask for smaller pages or fewer fields.",
        "The number of directives of the operation is 51, over the limit of 50. Ask for smaller pages or fewer fields.",
        "The cost of the operation is 11, over the limit of 10. Ask for smaller pages or fewer fields.",
        "The introspection of the operation is 18001, over the limit of 18000. Ask for smaller pages or fewer fields.",
    ]
    assert {error.extensions["code"] for error in over if error.extensions} == {"GRAPHQL_VALIDATION_FAILED"}
    assert within == []


def test_nested_fragments_are_measured_in_no_time() -> None:
    levels = 60
    query = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(levels))
    query += f" fragment f{levels} on Query {{ limits {{ maxImages }} }}"
    began = time.process_time()

    measure = measured(query)

    assert measure.cost == 2 * 2**levels
    assert time.process_time() - began < 0.2


def test_introspection_is_within_the_limits() -> None:
    every_detail = get_introspection_query(
        specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
    )

    # Room for the schema to grow.
    assert exceeded_limits(measured(every_detail), max_cost=1_000) == []
    assert measured(every_detail).introspection < MAX_INTROSPECTION * 0.9


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { fields { name type { name ofType { name } } args { name } } enumValues { name } } } }",
        "{ __schema { types { inputFields { name } interfaces { name } possibleTypes { name } } } }",
        "{ __schema { directives { name args { name } } } }",
        '{ __type(name: "Request") { fields { name args { name type { name } } type { fields { name } } } } }',
        "{ __schema { ...a } } fragment a on __Schema { types { ...b } } fragment b on __Type { fields { name } }",
    ],
)
def test_introspection_is_never_larger_than_measured(query: str) -> None:
    answer: Any = execute(schema._schema, parse(query))

    data = answer.data

    assert 0 < entries(data) <= measured(query).introspection


def entries(value: Any) -> int:
    match value:
        case dict():
            return sum(1 + entries(inner) for inner in value.values())
        case list():
            return sum(entries(inner) for inner in value)
    return 0


def test_no_document_takes_long(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    # SQLite, since its CPU is ours.
    settings = Settings(_env_file=None, database_url=sqlite_url, redis_url=redis_url, data_dir=tmp_path)

    async def least(api: Api, document: str) -> float:
        # What other processes do to the caches only adds, so the least of some rounds is nearest to the truth.
        found = [(await taken(api, document)).in_work]
        while min(found) > MAX_WORK_BESIDE_OTHERS and len(found) < 12:
            found.append((await taken(api, document)).in_work)
        return min(found)

    async def story() -> dict[str, float]:
        async with opened(settings) as api:
            given_all(api.runtime.db)
            with settled():
                return {name: await least(api, document) for name, document in (BEFORE_READING | READING).items()}

    took = asyncio.run(story())

    assert {name: in_work for name, in_work in took.items() if in_work > MAX_WORK_BESIDE_OTHERS} == {}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            "{ limits { maxImages } } #" + "x" * MAX_DOCUMENT_CHARS,
            "The document has more than 50000 characters. Ask for less at once, and give values as variables.",
        ),
        (
            "{ " + "limits { maxImages } " * (MAX_REPEATS + 1) + "}",
            "`limits` stands more than 75 times in the document. Ask for less at once.",
        ),
        # Where it is not used it is validated all the same.
        (
            "{ limits { maxImages } } fragment f on Query { " + "__typename " * (MAX_REPEATS + 1) + "}",
            "`__typename` stands more than 75 times in the document. Ask for less at once.",
        ),
    ],
)
async def test_a_document_over_a_limit_is_refused_with_a_sentence(api: Api, document: str, message: str) -> None:
    body = await api.execute(document)

    assert body == {"errors": [{"message": message, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}


async def test_too_many_tokens_are_a_syntax_error(api: Api) -> None:
    body = await api.execute("{ " + "a " * MAX_TOKENS + "}")

    (error,) = body["errors"]
    assert error["message"] == "Syntax Error: Document contains more than 1000 tokens. Parsing aborted."
    assert error["extensions"] == {"code": "GRAPHQL_PARSE_FAILED"}
    assert error["locations"] == [{"line": 1, "column": 2 * MAX_TOKENS + 1}]


async def test_the_first_faults_are_told_with_their_places(api: Api) -> None:
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
def test_the_schema_is_told_only_where_that_is_switched_on(settings: Settings, query: str, introspection: str) -> None:
    async def story() -> list[Any]:
        # `auto` is settled by the command that listens.
        given = settings.model_copy(update={"introspection": introspection})
        async with opened(given, listening=False) as api:
            return [
                await api.execute(query),
                await api.execute('{ __typename node(id: "x") { __typename } }'),
                await api.execute("{ limitz }"),
            ]

    asked, named, misspelt = asyncio.run(story())

    assert list(asked) == ["errors"]
    assert [(error["message"], error["extensions"]) for error in asked["errors"]] == [
        (
            "This service does not tell its schema. It stands in the project's `schema.graphql`; "
            "whoever runs the service can have it told with IMGPROC_INTROSPECTION=on.",
            {"code": "GRAPHQL_VALIDATION_FAILED"},
        )
    ]
    assert named == {"data": {"__typename": "Query", "node": None}}
    # Nor is it told by suggestions.
    assert misspelt["errors"][0]["message"] == "Cannot query field 'limitz' on type 'Query'."
