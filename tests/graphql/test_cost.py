"""Limits on documents: what they cost, and that finding out is cheap."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphql import OperationDefinitionNode, get_introspection_query, parse

from gql_imgproc.graphql.cost import MAX_ALIASES, MAX_DEPTH, Measure, Measurer, refusals
from gql_imgproc.graphql.schema import schema


def measured(query: str, **variables: Any) -> Measure:
    document = parse(query)
    operation = next(node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return Measurer(schema._schema, document, variables).operation(operation)


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


def test_each_limit_has_its_sentence() -> None:
    over = refusals(Measure(cost=11, depth=MAX_DEPTH + 1, aliases=MAX_ALIASES + 1), max_cost=10)
    within = refusals(Measure(cost=10, depth=MAX_DEPTH, aliases=MAX_ALIASES), max_cost=10)

    assert [error.message for error in over] == [
        "The depth of the operation is 21, over the limit of 20. Ask for smaller pages or fewer fields.",
        "The number of aliases of the operation is 51, over the limit of 50. Ask for smaller pages or fewer fields.",
        "The cost of the operation is 11, over the limit of 10. Ask for smaller pages or fewer fields.",
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
    assert refusals(measured(get_introspection_query(input_value_deprecation=True)), max_cost=1_000) == []
