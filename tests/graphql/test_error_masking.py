"""Wherever an exception is raised, the caller receives an error ID that is logged, and no text of the exception."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from gql_imgproc.graphql import subscription
from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.schema import schema
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.snapshot import Snapshot
from tests.graphql.client import Api
from tests.graphql.live_server import Server, given_upload, open_socket
from tests.support.scenarios import given_request

SECRET = "the password is swordfish"


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET)


def assert_masked(response: str, errors: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Each error has an error ID, under which the exception is logged."""
    records = {
        record.error_id: record
        for record in caplog.get_records("call")
        if record.levelno == logging.ERROR and hasattr(record, "error_id")
    }
    error_ids = [error["message"].removesuffix(".").rpartition(" ")[2] for error in errors]

    assert errors
    assert {error["extensions"]["code"] for error in errors} == {"INTERNAL"}
    assert "swordfish" not in response
    assert "RuntimeError" not in response
    assert set(records) == set(error_ids)
    assert all(SECRET in str(records[error_id].exc_info[1]) for error_id in error_ids)


QUERY = """query($id: ID!) { request(id: $id) { inputBytes outputCsvUrl imagesPerSecond
  products { edges { node { images { id } } } } } }"""
SUBSCRIPTION = """subscription($id: ID!) { requestProgress(id: $id) { inputBytes imagesPerSecond
  products { edges { node { images { id } } } } } }"""
EVENTS = {"Accept": "text/event-stream"}


def fail_in_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "images_of_products", fail)


def fail_in_a_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = schema._schema.get_type("ByteCount")
    monkeypatch.setattr(kind, "serialize", fail)
    monkeypatch.setattr(kind, "coerce_output_value", fail, raising=False)


def fail_in_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshot, "rate", property(fail))


def fail_in_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "watch", fail)


def fail_in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "get_request", fail)


PLACES = [fail_in_a_loader, fail_in_a_scalar, fail_in_a_field, fail_in_the_repository]


@pytest.mark.parametrize("place", PLACES)
async def test_exception_in_a_query_is_masked(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    request_id = given_request(api.runtime.db, 2)
    place(monkeypatch)

    response = await api.http.post("/graphql", json={"query": QUERY, "variables": {"id": global_id(request_id)}})

    assert response.status_code == 200
    assert_masked(response.text, response.json()["errors"], caplog)


def fail_in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "__init__", fail)


@pytest.mark.parametrize("headers", [{}, EVENTS, {"Accept": "application/graphql-response+json"}])
async def test_exception_before_the_operation_is_masked(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    fail_in_the_context(monkeypatch)

    response = await api.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)

    assert response.status_code == 500
    assert list(response.json()) == ["errors"]
    assert_masked(response.text, response.json()["errors"], caplog)


@pytest.mark.parametrize("place", [*PLACES, fail_in_the_watch])
async def test_exception_in_a_subscription_over_websocket_is_masked(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    place(monkeypatch)
    async with open_socket(host) as socket:
        await socket.subscribe("a", SUBSCRIPTION, id=global_id(request_id))
        message = await socket.receive()
        payload = message["payload"]

        assert message["id"] == "a"
        assert_masked(json.dumps(message), payload if message["type"] == "error" else payload["errors"], caplog)
        # Other operations on the socket keep running.
        await socket.subscribe("b", "{ __typename }")
        while (message := await socket.receive())["id"] != "b":
            pass
        assert message["payload"] == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("place", [*PLACES, fail_in_the_watch])
async def test_exception_in_a_subscription_over_sse_is_masked(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    place(monkeypatch)
    body = {"query": SUBSCRIPTION, "variables": {"id": global_id(request_id)}}
    async with (
        httpx.AsyncClient(base_url=f"http://{host}", timeout=10, trust_env=False) as client,
        client.stream("POST", "/graphql", json=body, headers=EVENTS) as response,
    ):
        line = await anext(line async for line in response.aiter_lines() if line.startswith("data: {"))

    assert_masked(line, json.loads(line.removeprefix("data: "))["errors"], caplog)


def global_id(request_id: UUID) -> str:
    return encode_global_id(IdPrefix.REQUEST, request_id)
