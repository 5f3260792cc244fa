"""Subscriptions in an HTTP response: server-sent events, and Apollo's multipart protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.parser import BytesParser
from typing import Any

import httpx
import pytest

from gql_imgproc.graphql import sse
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests import watch
from gql_imgproc.requests.commands import cancel
from tests.graphql.client import Api
from tests.graphql.live_server import INVALID_OPERATIONS, LIST, PROGRESS, Server, given_upload
from tests.support.api_clients import ANYBODY

SSE = "text/event-stream"
APOLLO = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0, application/json"
URQL = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"
QUERY = "{ limits { maxPageSize } }"
MUTATION = 'mutation { cancelRequest(input: {id: "nonsense"}) { __typename } }'
UNKNOWN_REQUEST = 'subscription { requestProgress(id: "nonsense") { id } }'


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize(
    ("accept", "query", "mutation", "subscription"),
    [
        (SSE, SSE, SSE, SSE),
        (URQL, "application/graphql-response+json", "application/graphql-response+json", SSE),
        (APOLLO, "application/json", "application/json", "multipart/mixed"),
        (
            'application/json, multipart/mixed;subscriptionSpec="1.0"',
            "application/json",
            "application/json",
            "multipart/mixed",
        ),
        ("text/event-stream;q=0, application/json", "application/json", "application/json", None),
        ("multipart/mixed;subscriptionSpec=1.0;q=0, application/json", "application/json", "application/json", None),
        ("multipart/mixed, application/json", "application/json", "application/json", None),
        ("application/json", "application/json", "application/json", None),
    ],
)
async def test_only_subscriptions_get_a_stream(
    api: Api, accept: str, query: str, mutation: str, subscription: str | None
) -> None:
    responses = [
        await api.http.post("/graphql", json={"query": text}, headers={"Accept": accept})
        for text in (QUERY, MUTATION, UNKNOWN_REQUEST)
    ]

    types = [response.headers["content-type"].partition(";")[0] for response in responses]
    assert types == [query, mutation, subscription or "application/json"]
    assert [response.status_code for response in responses] == [200, 200, 200 if subscription else 400]
    assert "INTERNAL" not in "".join(response.text for response in responses)


@pytest.mark.parametrize("accept", [SSE, APOLLO, URQL])
async def test_mutation_by_get_is_rejected(api: Api, accept: str) -> None:
    query, mutation, subscription = [
        await api.http.get("/graphql", params={"query": text}, headers={"Accept": accept})
        for text in (QUERY, MUTATION, UNKNOWN_REQUEST)
    ]

    assert '"maxPageSize":100' in query.text
    assert (mutation.status_code, mutation.headers["allow"]) == (405, "POST")
    assert mutation.json()["errors"][0]["message"] == "A mutation needs POST."
    assert '"code":"NOT_FOUND"' in subscription.text


@pytest.mark.parametrize(
    ("operation", "code"),
    [*INVALID_OPERATIONS, ({"query": UNKNOWN_REQUEST}, "NOT_FOUND")],
)
async def test_error_of_an_operation_is_an_event(api: Api, operation: dict[str, Any], code: str) -> None:
    response = await api.http.post("/graphql", json=operation, headers={"Accept": SSE})

    event, end = response.text.rstrip("\n").split("\n\n")
    (error,) = json.loads(event.removeprefix("event: next\ndata: "))["errors"]
    assert (response.status_code, error["extensions"]["code"]) == (200, code)
    assert end == "event: complete\ndata: "


@pytest.mark.parametrize("accept", [SSE, APOLLO])
async def test_invalid_body_is_rejected_before_the_stream_starts(api: Api, accept: str) -> None:
    bodies = (b"", b"null", b"[]", b"{}", b'{"query": 7}', b"\xff", b"[" * 100_000)

    headers = {"Accept": accept, "Content-Type": "application/json"}
    for body in bodies:
        response = await api.http.post("/graphql", content=body, headers=headers)

        assert (response.status_code, response.headers["content-type"]) == (400, "application/json"), body
        assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("accept", "heartbeat"),
    [(SSE, b": ping\n\n"), (APOLLO, b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql")],
)
async def test_idle_stream_sends_heartbeats(
    server: Server, monkeypatch: pytest.MonkeyPatch, accept: str, heartbeat: bytes
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.02)
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with open_stream(host, accept, encode_global_id(IdPrefix.REQUEST, request_id)) as response:
        received, stopped = b"", False
        async for data in response.aiter_bytes():
            received += data
            if received.count(heartbeat) > 3 and not stopped:
                stopped = True
                await cancel(runtime, ANYBODY, request_id)

    assert received.count(b"PENDING") == received.count(b"CANCELLED") == 1
    # A heartbeat may follow the last event, but nothing may follow the last part.
    end = b"event: complete\ndata: \n\n" if accept == SSE else b"--graphql--\r\n"
    assert (received.replace(heartbeat, b"") if accept == SSE else received).endswith(end)


@pytest.mark.parametrize("accept", [SSE, APOLLO])
async def test_disconnected_client_leaves_nothing_behind(server: Server, accept: str) -> None:
    host, runtime = server
    identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    # Given a server with an earlier subscription,
    async with open_stream(host, accept, identifier) as response:
        parts = response.aiter_bytes()
        while b"PENDING" not in await anext(parts):
            pass
    async with asyncio.timeout(1):
        while runtime.hub._subscribers:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    before = asyncio.all_tasks()

    # when a subscribed client drops its connection,
    body = json.dumps({"query": PROGRESS, "variables": {"id": identifier}}).encode()
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"PENDING")
    assert [len(inboxes) for inboxes in runtime.hub._subscribers.values()] == [1]
    writer.transport.abort()

    # then its inbox and its tasks are gone within a second.
    async with asyncio.timeout(1):
        while runtime.hub._subscribers or asyncio.all_tasks() - before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def test_list_over_sse(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LIST_INTERVAL_SECONDS", 0.01)
    host, runtime = server
    counts: list[int] = []
    async with open_stream(host, SSE, query=LIST) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                counts.append(json.loads(line.removeprefix("data: "))["data"]["requestsChanged"]["totalCount"])
                if len(counts) == 2:
                    break
                await given_upload(runtime, 1)

    assert counts == [0, 1]


@asynccontextmanager
async def open_stream(host: str, accept: str, id: str = "", query: str = PROGRESS) -> AsyncIterator[httpx.Response]:
    operation = {"query": query, "variables": {"id": id} if id else {}}
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(base_url=f"http://{host}") as client,
        client.stream("POST", "/graphql", json=operation, headers={"Accept": accept}) as response,
    ):
        yield response


@pytest.mark.parametrize(
    "accept",
    ["text/event-stream", "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"],
)
async def test_progress_over_sse(server: Server, accept: str) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    await cancel(runtime, ANYBODY, request_id)
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    async with httpx.AsyncClient(base_url=f"http://{host}") as client:
        events = await client.post("/graphql", json=operation, headers={"Accept": accept})
        query = await client.post("/graphql", json={"query": "{ limits { maxPageSize } }"}, headers={"Accept": accept})

    assert events.headers["content-type"].startswith("text/event-stream")
    assert events.headers["x-accel-buffering"] == "no"
    assert events.headers["cache-control"] == "no-cache, no-transform"
    first, second = events.text.rstrip("\n").split("\n\n")
    assert json.loads(first.removeprefix("event: next\ndata: "))["data"]["requestProgress"]["status"] == "CANCELLED"
    assert second == "event: complete\ndata: "
    assert query.headers["content-type"].startswith("text/event-stream") is (accept == "text/event-stream")


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json',
        "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json",
        'multipart/mixed;subscriptionSpec="1.0", application/json',
    ],
)
async def test_progress_over_multipart(server: Server, accept: str) -> None:
    host, runtime = server
    # Given a final request,
    request_id = await given_upload(runtime, 1)
    ended = await cancel(runtime, ANYBODY, request_id)

    # when an Apollo client subscribes to it,
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    async with httpx.AsyncClient(base_url=f"http://{host}") as client:
        response = await client.post("/graphql", json=operation, headers={"Accept": accept})

    # then the bytes follow the protocol: a heartbeat, the state, the end.
    state = (
        b'{"payload":{"data":{"requestProgress":{"status":"CANCELLED","sequence":%d,"processedImages":0}}}}'
        % ended.sequence
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
    # Proxies neither buffer nor compress it.
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.content == (
        b"--graphql\r\nContent-Type: application/json\r\n\r\n{}\r\n"
        b"--graphql\r\nContent-Type: application/json\r\n\r\n%b\r\n"
        b"--graphql--\r\n" % state
    )

    # and a multipart parser finds exactly these parts.
    message = BytesParser().parsebytes(
        b"Content-Type: " + response.headers["content-type"].encode() + b"\r\n\r\n" + response.content
    )
    assert message.defects == []
    assert [part.get_payload() for part in message.get_payload()] == ["{}", state.decode()]


async def test_multipart_part_is_followed_by_its_boundary(server: Server) -> None:
    host, runtime = server
    # Given an open request, and a client that processes a part when it receives the following boundary,
    request_id = await given_upload(runtime, 1)
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    headers = {"Accept": "multipart/mixed;subscriptionSpec=1.0, application/json"}
    received, stopped = b"", False
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(base_url=f"http://{host}") as client,
        client.stream("POST", "/graphql", json=operation, headers=headers) as response,
    ):
        # when the state arrives, its boundary arrives too, although no part follows;
        async for data in response.aiter_bytes():
            received += data
            if not stopped and b"PENDING" in received and received.endswith(b"\r\n--graphql"):
                stopped = True
                await cancel(runtime, ANYBODY, request_id)

    # and nothing follows the end.
    assert received.startswith(b"--graphql\r\n")
    assert received.endswith(b"\r\n--graphql--\r\n")
    assert received.count(b"--graphql--") == 1
    assert b"CANCELLED" in received
