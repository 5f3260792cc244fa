"""What is counted of GraphQL: rates and times, under names that no stranger makes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY

from gql_imgproc.graphql.schema import schema
from tests.graphql.client import Api


def counted() -> dict[tuple[str, str, str], float]:
    (family,) = (family for family in REGISTRY.collect() if family.name == "imgproc_graphql_operations")
    return {
        (sample.labels["type"], sample.labels["field"], sample.labels["outcome"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def test_every_operation_is_counted_by_what_the_schema_calls_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [
        ("query Evil7f3 { a: limits { maxProducts } }", ("query", "limits", "ok")),
        ("{ limits { maxProducts } b: limits { maxImages } }", ("query", "several", "ok")),
        ("query { ...F } fragment F on Query { limits { maxProducts } }", ("query", "several", "ok")),
        ("{ __typename }", ("query", "__typename", "ok")),
        ("{ noSuchField7f3 }", ("query", "unread", "refused")),
        ("{ limits { ", ("unread", "unread", "refused")),
        ("query A { limits { maxProducts } } query B { limits { maxProducts } }", ("unread", "unread", "refused")),
        ('mutation { cancelRequest(input: {id: "req_1"}) { __typename } }', ("mutation", "cancelRequest", "ok")),
    ]

    async def story(api: Api) -> None:
        for document, expected in documents:
            before = counted()

            await api.answer(document)

            after = counted()
            grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
            assert grown == {expected: 1}, document

        async def broken(*_: Any) -> Any:
            raise RuntimeError("of our own")

        monkeypatch.setattr(api.runtime.db, "read", broken)
        before = counted().get(("query", "requests", "failed"), 0)
        await api.answer("{ requests { totalCount } }")
        assert counted()[("query", "requests", "failed")] == before + 1

    run(story)

    roots = [schema._schema.query_type, schema._schema.mutation_type]
    known = {name for root in roots if root for name in root.fields} | {"several", "unread"}
    # Other tests of this process have counted too.
    assert {field for _, field, _ in counted()} <= known | {"__schema", "__type", "__typename"}


async def test_whoever_follows_is_counted_while_they_do(api: Api) -> None:
    def of(name: str) -> float:
        return REGISTRY.get_sample_value(name) or 0

    before, operations = of("imgproc_graphql_subscriptions_total"), counted()
    query = 'subscription { requestProgress(id: "req_00000000000000000000000000000000") { id } }'

    answer = await api.http.post("/graphql", json={"query": query}, headers={"Accept": "text/event-stream"})

    assert "NOT_FOUND" in answer.text
    assert of("imgproc_graphql_subscriptions_total") == before + 1
    assert of("imgproc_graphql_subscribers") == 0
    assert counted() == operations
