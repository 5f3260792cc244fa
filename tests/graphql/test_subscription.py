"""Live progress over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.parser import BytesParser
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.websockets import WebSocketDisconnected as SocketClosed
from strawberry.http.exceptions import WebSocketDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gql_imgproc.core.options import DEFAULT
from gql_imgproc.db import queries
from gql_imgproc.graphql.sockets import SocketHandler
from gql_imgproc.graphql.streams import framed
from gql_imgproc.identifiers import Kind, new_id, to_global
from gql_imgproc.services.announcing import publish
from gql_imgproc.services.orders import cancel
from gql_imgproc.services.submission import Submission, submit
from gql_imgproc.settings import Settings
from gql_imgproc.states import Priority
from tests.db.stories import DONE, claimed, record
from tests.graphql.api import served

PROGRESS = "subscription($id: ID!) { requestProgress(id: $id) { status sequence processedImages } }"


class Socket:
    """A client of `graphql-transport-ws`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            message: dict[str, Any] = json.loads(await self.connection.recv())
        return message

    async def subscribe(self, name: str, query: str, **variables: Any) -> None:
        await self.send(id=name, type="subscribe", payload={"query": query, "variables": variables})


@asynccontextmanager
async def connected(host: str, *, begin: bool = True, origin: str | None = None) -> AsyncIterator[Socket]:
    # mypy's types of the client want its own kind of text.
    headers = {"Origin": origin} if origin else None
    async with connect(
        f"ws://{host}/graphql", subprotocols=["graphql-transport-ws"], additional_headers=headers
    ) as raw:  # type: ignore[list-item]
        socket = Socket(raw)
        if begin:
            await socket.send(type="connection_init")
            assert await socket.receive() == {"type": "connection_ack"}
        yield socket


async def given_upload(resources: Any, pictures: int) -> UUID:
    """An accepted upload; the workers of this test are its hands."""
    rows = "".join(f"{n},Shirt,https://shop.example/{n}.jpg\n" for n in range(1, pictures + 1))
    file = io.BytesIO(f"S. No.,Product Name,Input Image Urls\n{rows}".encode())
    done = await submit(resources, Submission(file, "shop.csv", DEFAULT, Priority.NORMAL, None, None))
    return done.snapshot.id


Story = Callable[[str, Any], Awaitable[None]]


@pytest.fixture
def play(settings: Settings) -> Callable[[Story], None]:
    """Plays a story against a real server: its host and port, and the resources it holds."""

    def play(story: Story) -> None:
        async def run() -> None:
            async with served(settings) as (host, app):
                await story(host, app.state.resources)

        asyncio.run(run())

    return play


def test_progress_begins_with_the_state_and_ends_after_the_final_one(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        request_id = await given_upload(resources, 2)
        async with connected(host) as socket:
            await socket.subscribe("a", PROGRESS, id=to_global(Kind.REQUEST, request_id))
            first = await socket.receive()

            snapshot = record(resources.db, claimed(resources.db, request_id), 0, DONE)
            await publish(resources, await resources.db.read(lambda c: queries.request(c, request_id)))
            second = await socket.receive()
            await cancel(resources, request_id)
            rest = [await socket.receive()]
            while rest[-1]["type"] == "next":
                rest.append(await socket.receive())

        states = [m["payload"]["data"]["requestProgress"] for m in (first, second, *rest[:-1])]
        assert snapshot is not None
        assert states[0] == {"status": "PENDING", "sequence": 1, "processedImages": 0}
        assert (states[1]["status"], states[1]["processedImages"]) == ("PROCESSING", 1)
        assert states[-1]["status"] == "CANCELLED"
        assert [s["sequence"] for s in states] == sorted({s["sequence"] for s in states})
        assert rest[-1] == {"id": "a", "type": "complete"}

    play(story)


@pytest.mark.parametrize(
    "id",
    ["nonsense", to_global(Kind.REQUEST, new_id()), to_global(Kind.PRODUCT, new_id())],
    ids=["nonsense", "request", "product"],
)
def test_unknown_request_is_a_coded_error(play: Any, id: str) -> None:
    async def story(host: str, resources: Any) -> None:
        async with connected(host) as socket:
            await socket.subscribe("a", PROGRESS, id=id)

            messages = [await socket.receive()]
            if messages[0]["type"] == "next":
                messages.append(await socket.receive())

        payload = messages[0]["payload"]
        (error,) = payload if isinstance(payload, list) else payload["errors"]
        assert error["extensions"] == {"code": "NOT_FOUND"}
        assert error["message"] == "There is no such request. Check its identifier; it may have been deleted."
        assert [message["type"] for message in messages] in (["error"], ["next", "complete"])

    play(story)


def test_a_faulty_operation_leaves_its_neighbours_alone(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        async with connected(host) as socket:
            await socket.subscribe("bad", "{")
            bad = await socket.receive()
            await socket.subscribe("worse", "subscription { nonsense }")
            worse = await socket.receive()
            await socket.subscribe("good", "{ limits { maxPageSize } }")
            good = [await socket.receive(), await socket.receive()]

        assert (bad["type"], bad["id"]) == ("error", "bad")
        assert bad["payload"][0]["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
        assert worse["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert good == [
            {"id": "good", "type": "next", "payload": {"data": {"limits": {"maxPageSize": 100}}}},
            {"id": "good", "type": "complete"},
        ]

    play(story)


def test_an_operation_that_is_not_there_is_the_clients_error(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story(host: str, resources: Any) -> None:
        # Given a document without the operation that is asked for,
        operation = {"query": "query A { limits { maxPageSize } }", "operationName": "B"}

        # when it is sent over a socket and as a request for events,
        async with connected(host) as socket:
            await socket.send(id="a", type="subscribe", payload=operation)
            message = await socket.receive()
        async with httpx.AsyncClient(base_url=f"http://{host}") as client:
            answer = await client.post("/graphql", json=operation, headers={"Accept": "text/event-stream"})

        # then both hear what is wrong with it, and nothing stands in the log as a fault of ours.
        expected = {
            "message": 'Unknown operation named "B".',
            "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"},
        }
        assert message == {"id": "a", "type": "error", "payload": [expected]}
        assert answer.text == f"event: next\ndata: {json.dumps({'errors': [expected]}, separators=(',', ':'))}\n\n" + (
            "event: complete\ndata: \n\n"
        )

    play(story)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def _all_of(socket: Socket) -> None:
    while True:
        await socket.receive()


def test_a_socket_is_closed_however_long_the_reason_is(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        # Given a request that goes on,
        request_id = await given_upload(resources, 1)
        async with connected(host) as socket:
            # when a long name is used twice, which the reason repeats,
            for _ in range(2):
                await socket.subscribe("é" * 300, PROGRESS, id=to_global(Kind.REQUEST, request_id))

            # then the socket is closed as for a short one.
            # (the first of them may have told its state before)
            with pytest.raises(ConnectionClosed) as closed:
                await _all_of(socket)

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4409
        assert closed.value.rcvd.reason == "Subscriber for " + "é" * 54

    play(story)


@pytest.mark.parametrize(
    ("error", "logged"), [(SocketClosed("closed"), 0), (WebSocketDisconnected(), 0), (RuntimeError("a fault"), 1)]
)
def test_a_socket_that_is_closed_under_an_operation_is_no_fault(
    caplog: pytest.LogCaptureFixture, error: Exception, logged: int
) -> None:
    handler = object.__new__(SocketHandler)
    handler.task_logger = logging.getLogger("socket")

    asyncio.run(handler.handle_task_exception(error))

    assert [record.levelname for record in caplog.records] == ["ERROR"] * logged


def test_an_operation_that_its_client_has_ended_can_end() -> None:
    handler = object.__new__(SocketHandler)
    handler.operations = {}

    handler.forget_id("a")

    assert handler.operations == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a", "type": "subscribe", "payload": {"query": ""}}',
        '{"id": "a", "type": "subscribe", "payload": {"query": " "}}',
        "{",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        '{"type": "nonsense"}',
        '{"id": 7, "type": "complete"}',
        '{"id": "a", "type": "subscribe"}',
        '{"id": "a", "type": "subscribe", "payload": "x"}',
        '{"id": "a", "type": "subscribe", "payload": {"query": 7}}',
        '{"id": "a", "type": "subscribe", "payload": {"query": "{ x }", "variables": []}}',
    ],
)
def test_message_that_is_none_closes_the_socket(play: Any, text: str) -> None:
    async def story(host: str, resources: Any) -> None:
        async with connected(host) as socket:
            await socket.connection.send(text)

            with pytest.raises(ConnectionClosed) as closed:
                await socket.receive()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4400

    play(story)


def test_operation_before_the_greeting_closes_the_socket(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        async with connected(host, begin=False) as socket:
            await socket.subscribe("a", "{ limits { maxPageSize } }")

            with pytest.raises(ConnectionClosed) as closed:
                await socket.receive()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401

    play(story)


def test_page_of_another_host_is_refused_and_our_own_is_not(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with connected(host, origin="https://evil.example"):
                pass
        async with connected(host, origin="https://pictures.example"), connected(host, origin=f"http://{host}"):
            pass

        assert refused.value.response.status_code == 403

    play(story)


def test_old_protocol_is_not_spoken(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        async with connect(f"ws://{host}/graphql", subprotocols=["graphql-ws"]) as socket:  # type: ignore[list-item]
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4406

    play(story)


@pytest.mark.parametrize(
    "accept",
    ["text/event-stream", "application/graphql-response+json, application/json, text/event-stream, multipart/mixed"],
)
def test_progress_as_events(play: Any, accept: str) -> None:
    async def story(host: str, resources: Any) -> None:
        request_id = await given_upload(resources, 1)
        await cancel(resources, request_id)
        operation = {"query": PROGRESS, "variables": {"id": to_global(Kind.REQUEST, request_id)}}
        async with httpx.AsyncClient(base_url=f"http://{host}") as client:
            events = await client.post("/graphql", json=operation, headers={"Accept": accept})
            query = await client.post(
                "/graphql", json={"query": "{ limits { maxPageSize } }"}, headers={"Accept": accept}
            )

        assert events.headers["content-type"].startswith("text/event-stream")
        first, second = events.text.rstrip("\n").split("\n\n")
        assert json.loads(first.removeprefix("event: next\ndata: "))["data"]["requestProgress"]["status"] == "CANCELLED"
        assert second == "event: complete\ndata: "
        assert query.headers["content-type"].startswith("text/event-stream") is (accept == "text/event-stream")

    play(story)


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json',
        "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json",
        'multipart/mixed;subscriptionSpec="1.0", application/json',
    ],
)
def test_progress_as_apollo_asks_for_it(play: Any, accept: str) -> None:
    async def story(host: str, resources: Any) -> None:
        # Given a request that has ended,
        request_id = await given_upload(resources, 1)
        ended = await cancel(resources, request_id)

        # when its progress is asked for as Apollo's clients do,
        operation = {"query": PROGRESS, "variables": {"id": to_global(Kind.REQUEST, request_id)}}
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

    play(story)


def test_a_part_for_apollo_is_whole_as_soon_as_it_is_there(play: Any) -> None:
    async def story(host: str, resources: Any) -> None:
        # Given a client of a request under way, which takes a part for whole when it sees the boundary behind it,
        request_id = await given_upload(resources, 1)
        operation = {"query": PROGRESS, "variables": {"id": to_global(Kind.REQUEST, request_id)}}
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
                    await cancel(resources, request_id)

        # then nothing comes after the end.
        assert seen.startswith(b"--graphql\r\n")
        assert seen.endswith(b"\r\n--graphql--\r\n")
        assert seen.count(b"--graphql--") == 1
        assert b"CANCELLED" in seen

    play(story)


def test_nothing_follows_the_end_for_apollo() -> None:
    async def stream() -> AsyncIterator[str]:
        yield "\r\nfirst\r\n--graphql"
        yield "--\r\n"
        yield "\r\na sign of life that was waiting its turn\r\n--graphql"

    async def collected() -> list[str]:
        return [part async for part in framed(stream)]

    assert "".join(asyncio.run(collected())) == "--graphql\r\nfirst\r\n--graphql--\r\n"
