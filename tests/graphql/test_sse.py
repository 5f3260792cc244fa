"""Subscriptions in the answer to an HTTP request: as server-sent events, and as Apollo's parts."""

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
from gql_imgproc.graphql.sse import with_boundaries
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.commands import cancel
from tests.graphql.client import Api
from tests.graphql.live_server import FAULTY, PROGRESS, Server, given_upload
from tests.support.api_clients import ANYBODY

EVENTS = "text/event-stream"
APOLLO = "multipart/mixed;boundary=graphql;subscriptionSpec=1.0, application/json"
URQL = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"
QUERY = "{ limits { maxPageSize } }"
MUTATION = 'mutation { cancelRequest(input: {id: "nonsense"}) { __typename } }'
STRAY = 'subscription { requestProgress(id: "nonsense") { id } }'


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.mark.parametrize(
    ("accept", "query", "mutation", "subscription"),
    [
        (EVENTS, EVENTS, EVENTS, EVENTS),
        (URQL, "application/graphql-response+json", "application/graphql-response+json", EVENTS),
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
async def test_only_what_needs_a_stream_gets_one(
    api: Api, accept: str, query: str, mutation: str, subscription: str | None
) -> None:
    answers = [
        await api.http.post("/graphql", json={"query": text}, headers={"Accept": accept})
        for text in (QUERY, MUTATION, STRAY)
    ]

    kinds = [answer.headers["content-type"].partition(";")[0] for answer in answers]
    assert kinds == [query, mutation, subscription or "application/json"]
    assert [answer.status_code for answer in answers] == [200, 200, 200 if subscription else 400]
    assert "INTERNAL" not in "".join(answer.text for answer in answers)


@pytest.mark.parametrize("accept", [EVENTS, APOLLO, URQL])
async def test_by_get_nothing_is_changed(api: Api, accept: str) -> None:
    query, mutation, subscription = [
        await api.http.get("/graphql", params={"query": text}, headers={"Accept": accept})
        for text in (QUERY, MUTATION, STRAY)
    ]

    assert '"maxPageSize":100' in query.text
    assert (mutation.status_code, mutation.headers["allow"]) == (405, "POST")
    assert mutation.json()["errors"][0]["message"] == "A mutation needs POST."
    assert '"code":"NOT_FOUND"' in subscription.text


@pytest.mark.parametrize(
    ("operation", "code"),
    [*FAULTY, ({"query": STRAY}, "NOT_FOUND")],
)
async def test_errors_of_an_operation_are_an_event(api: Api, operation: dict[str, Any], code: str) -> None:
    answer = await api.http.post("/graphql", json=operation, headers={"Accept": EVENTS})

    event, end = answer.text.rstrip("\n").split("\n\n")
    (error,) = json.loads(event.removeprefix("event: next\ndata: "))["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (200, code)
    assert end == "event: complete\ndata: "


@pytest.mark.parametrize("accept", [EVENTS, APOLLO])
async def test_what_is_no_operation_is_refused_before_a_stream_begins(api: Api, accept: str) -> None:
    bodies = (b"", b"null", b"[]", b"{}", b'{"query": 7}', b"\xff", b"[" * 100_000)

    headers = {"Accept": accept, "Content-Type": "application/json"}
    for body in bodies:
        answer = await api.http.post("/graphql", content=body, headers=headers)

        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json"), body
        assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


@pytest.mark.parametrize(
    ("accept", "sign"),
    [(EVENTS, b": ping\n\n"), (APOLLO, b"\r\nContent-Type: application/json\r\n\r\n{}\r\n--graphql")],
)
async def test_a_stream_without_news_gives_signs_of_life(
    server: Server, monkeypatch: pytest.MonkeyPatch, accept: str, sign: bytes
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.02)
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with watching(host, accept, encode_global_id(IdPrefix.REQUEST, request_id)) as answer:
        seen, stopped = b"", False
        async for data in answer.aiter_bytes():
            seen += data
            if seen.count(sign) > 3 and not stopped:
                stopped = True
                await cancel(runtime, ANYBODY, request_id)

    assert seen.count(b"PENDING") == seen.count(b"CANCELLED") == 1
    # A comment may follow the last event, but nothing the last part.
    end = b"event: complete\ndata: \n\n" if accept == EVENTS else b"--graphql--\r\n"
    assert (seen.replace(sign, b"") if accept == EVENTS else seen).endswith(end)


@pytest.mark.parametrize("accept", [EVENTS, APOLLO])
async def test_nothing_is_left_of_a_client_that_is_gone(server: Server, accept: str) -> None:
    host, runtime = server
    identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    # Given a service that has been used before,
    async with watching(host, accept, identifier) as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(1):
        while runtime.hub._inboxes:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)
    before = asyncio.all_tasks()

    # when a client that watches breaks its connection,
    body = json.dumps({"query": PROGRESS, "variables": {"id": identifier}}).encode()
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"POST /graphql HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"PENDING")
    assert [len(inboxes) for inboxes in runtime.hub._inboxes.values()] == [1]
    writer.transport.abort()

    # then a second later nothing is left of it.
    async with asyncio.timeout(1):
        while runtime.hub._inboxes or asyncio.all_tasks() - before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(host: str, accept: str, id: str) -> AsyncIterator[httpx.Response]:
    operation = {"query": PROGRESS, "variables": {"id": id}}
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(base_url=f"http://{host}") as client,
        client.stream("POST", "/graphql", json=operation, headers={"Accept": accept}) as answer,
    ):
        yield answer


@pytest.mark.parametrize(
    "accept",
    ["text/event-stream", "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"],
)
async def test_progress_as_events(server: Server, accept: str) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    await cancel(runtime, ANYBODY, request_id)
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    async with httpx.AsyncClient(base_url=f"http://{host}") as client:
        events = await client.post("/graphql", json=operation, headers={"Accept": accept})
        query = await client.post("/graphql", json={"query": "{ limits { maxPageSize } }"}, headers={"Accept": accept})

    assert events.headers["content-type"].startswith("text/event-stream")
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
async def test_progress_as_apollo_asks_for_it(server: Server, accept: str) -> None:
    host, runtime = server
    # Given a request that has ended,
    request_id = await given_upload(runtime, 1)
    ended = await cancel(runtime, ANYBODY, request_id)

    # when its progress is asked for as Apollo's clients do,
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    async with httpx.AsyncClient(base_url=f"http://{host}") as client:
        answer = await client.post("/graphql", json=operation, headers={"Accept": accept})

    # then every byte is as the protocol has it: a sign of life, the state, the end.
    state = (
        b'{"payload":{"data":{"requestProgress":{"status":"CANCELLED","sequence":%d,"processedImages":0}}}}'
        % ended.sequence
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0'
    assert answer.content == (
        b"--graphql\r\nContent-Type: application/json\r\n\r\n{}\r\n"
        b"--graphql\r\nContent-Type: application/json\r\n\r\n%b\r\n"
        b"--graphql--\r\n" % state
    )

    # and any reader of multipart bodies finds just these parts in it.
    message = BytesParser().parsebytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.content
    )
    assert message.defects == []
    assert [part.get_payload() for part in message.get_payload()] == ["{}", state.decode()]


async def test_a_part_for_apollo_is_whole_as_soon_as_it_is_there(server: Server) -> None:
    host, runtime = server
    # Given a client of a request under way, which takes a part for whole when it sees the boundary behind it,
    request_id = await given_upload(runtime, 1)
    operation = {"query": PROGRESS, "variables": {"id": encode_global_id(IdPrefix.REQUEST, request_id)}}
    headers = {"Accept": "multipart/mixed;subscriptionSpec=1.0, application/json"}
    seen, stopped = b"", False
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(base_url=f"http://{host}") as client,
        client.stream("POST", "/graphql", json=operation, headers=headers) as answer,
    ):
        # when the state has come, the boundary has come too, though nothing follows;
        async for data in answer.aiter_bytes():
            seen += data
            if not stopped and b"PENDING" in seen and seen.endswith(b"\r\n--graphql"):
                stopped = True
                await cancel(runtime, ANYBODY, request_id)

    # then nothing comes after the end.
    assert seen.startswith(b"--graphql\r\n")
    assert seen.endswith(b"\r\n--graphql--\r\n")
    assert seen.count(b"--graphql--") == 1
    assert b"CANCELLED" in seen


def test_nothing_follows_the_end_for_apollo() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "\r\nfirst\r\n--graphql"
        yield "--\r\n"
        yield "\r\na sign of life that was waiting its turn\r\n--graphql"

    async def collected() -> list[str]:
        return [part async for part in with_boundaries(stream)]

    assert "".join(asyncio.run(collected())) == "--graphql\r\nfirst\r\n--graphql--\r\n"
