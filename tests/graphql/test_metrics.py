"""Metrics of operations, with label values from the schema only."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from gql_imgproc.graphql.schema import schema
from gql_imgproc.requests.repository import queries
from tests.graphql.client import Api


def operation_counts() -> dict[tuple[str, str, str], float]:
    (family,) = (family for family in REGISTRY.collect() if family.name == "imgproc_graphql_operations")
    return {
        (sample.labels["type"], sample.labels["field"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


async def test_operations_are_counted_by_root_field(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [
        ("query Evil7f3 { a: limits { maxProducts } }", ("query", "limits", "ok")),
        ("{ limits { maxProducts } b: limits { maxImages } }", ("query", "multiple", "ok")),
        ("query { ...F } fragment F on Query { limits { maxProducts } }", ("query", "multiple", "ok")),
        ("{ __typename }", ("query", "__typename", "ok")),
        ("{ noSuchField7f3 }", ("query", "unknown", "refused")),
        ("{ limits { ", ("unknown", "unknown", "refused")),
        ("query A { limits { maxProducts } } query B { limits { maxProducts } }", ("unknown", "unknown", "refused")),
        ('mutation { cancelRequest(input: {id: "req_1"}) { __typename } }', ("mutation", "cancelRequest", "ok")),
    ]

    for document, expected in documents:
        before = operation_counts()

        await api.execute(document)

        after = operation_counts()
        increments = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
        assert increments == {expected: 1}, document

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("internal")

    # Not every read: that of the caller's keys is no operation yet.
    monkeypatch.setattr(queries, "requests_page", broken)
    before = operation_counts().get(("query", "requests", "failed"), 0)
    await api.execute("{ requests { totalCount } }")
    assert operation_counts()[("query", "requests", "failed")] == before + 1

    roots = [schema._schema.query_type, schema._schema.mutation_type]
    fields = {name for root in roots if root for name in root.fields} | {"multiple", "unknown"}
    # Includes counts of other tests in this process.
    assert {field for _, field, _ in operation_counts()} <= fields | {"__schema", "__type", "__typename"}


async def test_subscriptions_are_counted(api: Api) -> None:
    def value(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0

    before, counts = value("imgproc_graphql_subscriptions_total"), operation_counts()
    query = 'subscription { requestProgress(id: "req_00000000000000000000000000000000") { id } }'

    response = await api.http.post("/graphql", json={"query": query}, headers={"Accept": "text/event-stream"})

    assert "NOT_FOUND" in response.text
    assert value("imgproc_graphql_subscriptions_total") == before + 1
    assert value("imgproc_graphql_subscribers") == 0
    assert operation_counts() == counts
