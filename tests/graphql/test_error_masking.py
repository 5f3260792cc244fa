"""Wherever something breaks, the caller gets a number that stands in the log, and no text of it."""

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
from tests.graphql.live_server import Server, connected, given_upload
from tests.support.scenarios import given_request

SECRET = "the password is swordfish"


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError(SECRET)


def assert_masked(told: str, errors: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    """Each error has its number, which stands in a line of the log that tells all."""
    lines = {
        record.error_id: record
        for record in caplog.get_records("call")
        if record.levelno == logging.ERROR and hasattr(record, "error_id")
    }
    numbers = [error["message"].rpartition(" ")[2] for error in errors]

    assert errors
    assert {error["extensions"]["code"] for error in errors} == {"INTERNAL"}
    assert "swordfish" not in told
    assert "RuntimeError" not in told
    assert set(lines) == set(numbers)
    assert all(SECRET in str(lines[number].exc_info[1]) for number in numbers)


QUERY = """query($id: ID!) { request(id: $id) { inputBytes outputCsvUrl imagesPerSecond
  products { edges { node { images { id } } } } } }"""
SUBSCRIPTION = """subscription($id: ID!) { requestProgress(id: $id) { inputBytes imagesPerSecond
  products { edges { node { images { id } } } } } }"""
EVENTS = {"Accept": "text/event-stream"}


def in_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "images_of_products", broken)


def in_a_scalar(monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = schema._schema.get_type("ByteCount")
    monkeypatch.setattr(kind, "serialize", broken)
    monkeypatch.setattr(kind, "coerce_output_value", broken, raising=False)


def in_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Snapshot, "rate", property(broken))


def in_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "watch", broken)


def in_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "get_request", broken)


PLACES = [in_a_loader, in_a_scalar, in_a_field, in_the_database]


@pytest.mark.parametrize("place", PLACES)
async def test_in_an_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    request_id = given_request(api.runtime.db, 2)
    place(monkeypatch)

    response = await api.http.post("/graphql", json={"query": QUERY, "variables": {"id": name_of(request_id)}})

    assert response.status_code == 200
    assert_masked(response.text, response.json()["errors"], caplog)


def in_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "__init__", broken)


@pytest.mark.parametrize("headers", [{}, EVENTS, {"Accept": "application/graphql-response+json"}])
async def test_in_the_context(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    in_the_context(monkeypatch)

    response = await api.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)

    assert response.status_code == 500
    assert list(response.json()) == ["errors"]
    assert_masked(response.text, response.json()["errors"], caplog)


@pytest.mark.parametrize("place", [*PLACES, in_the_source])
async def test_in_a_subscription_over_a_socket(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    place(monkeypatch)
    async with connected(host) as socket:
        await socket.subscribe("a", SUBSCRIPTION, id=name_of(request_id))
        told = await socket.receive()
        payload = told["payload"]

        assert told["id"] == "a"
        assert_masked(json.dumps(told), payload if told["type"] == "error" else payload["errors"], caplog)
        # The neighbours on the socket go on.
        await socket.subscribe("b", "{ __typename }")
        while (said := await socket.receive())["id"] != "b":
            pass
        assert said["payload"] == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("place", [*PLACES, in_the_source])
async def test_in_a_subscription_by_events(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Callable[..., None]
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    place(monkeypatch)
    body = {"query": SUBSCRIPTION, "variables": {"id": name_of(request_id)}}
    async with (
        httpx.AsyncClient(base_url=f"http://{host}", timeout=10, trust_env=False) as client,
        client.stream("POST", "/graphql", json=body, headers=EVENTS) as response,
    ):
        line = await anext(line async for line in response.aiter_lines() if line.startswith("data: {"))

    told = json.loads(line.removeprefix("data: "))
    assert_masked(line, told["errors"], caplog)


def name_of(request_id: UUID) -> str:
    return encode_global_id(IdPrefix.REQUEST, request_id)
