"""GraphQL over WebSockets, frame by frame.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.websockets import WebSocket, WebSocketState
from starlette.websockets import WebSocketDisconnected as SocketClosed
from strawberry.http.exceptions import WebSocketDisconnected
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.graphql import http
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.http import GraphQLEndpoint
from gql_imgproc.graphql.schema import schema
from gql_imgproc.graphql.websocket import Socket, SocketHandler
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.commands import cancel
from gql_imgproc.settings import Settings
from tests.graphql.live_server import FAULTY, PROGRESS, Server, connected, given_picture_done, given_upload
from tests.support.api_clients import ANYBODY

LIMITS = "{ limits { maxPageSize } }"
PING = '{"type": "ping"}'
UPLOAD = "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename } }"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture(autouse=True)
def _clients_are_no_news(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing that a client says is a fault of the service."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("protocols", [None, ["graphql-ws"], ["soap"]])
async def test_other_protocols_are_not_spoken(server: Server, protocols: list[str] | None) -> None:
    host, _ = server
    async with connected(host, begin=False, protocols=protocols) as socket:
        assert socket.connection.subprotocol is None
        assert await socket.closed() == 4406


async def test_the_protocol_is_found_among_others(server: Server) -> None:
    host, _ = server
    async with connected(host, protocols=["graphql-ws", "graphql-transport-ws"]) as socket:
        assert socket.connection.subprotocol == "graphql-transport-ws"


async def test_page_of_another_host_is_refused_and_our_own_is_not(server: Server) -> None:
    host, _ = server
    for origin in ("https://evil.example", "null", f"http://{host}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            async with connected(host, origin=origin):
                pass
        assert refused.value.response.status_code == 403
    # A client that is no browser has no origin.
    for own in ("https://pictures.example", f"http://{host}", None):
        async with connected(host, origin=own):
            pass


async def test_a_silent_socket_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SOCKET_INIT_SECONDS", 0.05)
    host, _ = server
    async with connected(host, begin=False) as silent, connected(host) as greeted:
        assert await silent.closed() == 4408
        assert await greeted.said() == []


@pytest.mark.parametrize("greeting", [{}, {"payload": None}, {"payload": {"token": "x"}}])
async def test_a_socket_is_greeted_once(server: Server, greeting: dict[str, Any]) -> None:
    host, _ = server
    async with connected(host, begin=False) as socket:
        await socket.send(type="connection_init", **greeting)
        assert await socket.receive() == {"type": "connection_ack"}

        await socket.send(type="connection_init", **greeting)
        assert await socket.closed() == 4429


async def test_operation_before_the_greeting_closes_the_socket(server: Server) -> None:
    host, _ = server
    async with connected(host, begin=False) as socket:
        await socket.subscribe("a", LIMITS)

        assert await socket.closed() == 4401


async def test_signs_of_life(server: Server) -> None:
    host, _ = server
    async with connected(host, begin=False) as socket:
        # Pings are answered with what they brought, even before the greeting;
        await socket.send(type="ping")
        await socket.send(type="ping", payload={"at": 7})
        # pongs that nobody asked for are not.
        await socket.send(type="pong")
        await socket.send(type="pong", payload={"at": 7})

        assert await socket.said() == [{"type": "pong"}, {"type": "pong", "payload": {"at": 7}}]


#: What is no message of a client's.
NO_MESSAGES: tuple[str | bytes, ...] = (
    b'{"type": "ping"}',
    "",
    "{",
    "[]",
    "null",
    "7",
    "[" * 100_000,
    "{}",
    '{"type": "nonsense"}',
    '{"type": ["ping"]}',
    '{"type": "next", "id": "a", "payload": {}}',
    f'{{"type": "{"x" * 1_000}"}}',
    '{"type": "connection_init", "payload": 7}',
    '{"type": "ping", "payload": 7}',
    '{"type": "pong", "payload": []}',
    '{"type": "complete"}',
    '{"type": "complete", "id": 7}',
    '{"type": "subscribe", "payload": {"query": "{ limits { maxPageSize } }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ limits { maxPageSize } }"}}',
    '{"type": "subscribe", "id": "\\ud800", "payload": {"query": "{ limits { maxPageSize } }"}}',
    '{"type": "subscribe", "id": 7, "payload": {"query": "{ limits { maxPageSize } }"}}',
    '{"type": "subscribe", "id": "a"}',
    '{"type": "subscribe", "id": "a", "payload": "x"}',
    '{"type": "subscribe", "id": "a", "payload": {"query": 7}}',
    '{"type": "subscribe", "id": "a", "payload": {"query": "{ x }", "variables": []}}',
    '{"type": "subscribe", "id": "a", "payload": {"query": "{ x }", "operationName": 7}}',
    '{"type": "subscribe", "id": "a", "payload": {"query": "{ x }", "extensions": 7}}',
)


async def test_message_that_is_none_closes_the_socket(server: Server) -> None:
    host, _ = server
    closed = {}
    for text in NO_MESSAGES:
        async with connected(host) as socket:
            await socket.connection.send(text)
            closed[text] = await socket.closed()

    assert closed == dict.fromkeys(NO_MESSAGES, 4400)


@pytest.mark.parametrize(
    ("head", "payload", "code"),
    [
        (b"\x81\x81", b"\xff", CloseCode.INVALID_DATA),
        (b"\x81\xff" + (256 * 1024 + 1).to_bytes(8, "big"), b" " * (256 * 1024 + 1), CloseCode.MESSAGE_TOO_BIG),
        (b"\xc1\x81", b" ", CloseCode.PROTOCOL_ERROR),
        (b"\x80\x81", b" ", CloseCode.PROTOCOL_ERROR),
    ],
    ids=["no UTF-8", "too large", "of an extension", "end without a beginning"],
)
async def test_frame_that_is_none_closes_the_socket_and_what_runs_on_it(
    server: Server, head: bytes, payload: bytes, code: CloseCode
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with connected(host) as socket:
        await socket.subscribe("a", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        assert (await socket.receive())["type"] == "next"

        # Masked with zeros.
        socket.connection.transport.write(head + bytes(4) + payload)

        assert await socket.closed() == code
    async with asyncio.timeout(1):
        while runtime.hub._inboxes:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)


async def test_queries_and_mutations_are_answered_once(server: Server) -> None:
    host, _ = server
    async with connected(host) as socket:
        query = await socket.answer("a", LIMITS)
        mutation = await socket.answer("a", 'mutation { cancelRequest(input: {id: "nonsense"}) { __typename } }')
        failed = await socket.answer("a", "{ requests(first: 101) { totalCount } }")
        # A socket has no files.
        upload = await socket.answer("a", UPLOAD, input={"file": "shop.csv"})

    end = {"id": "a", "type": "complete"}
    assert query == [{"id": "a", "type": "next", "payload": {"data": {"limits": {"maxPageSize": 100}}}}, end]
    assert mutation[0]["payload"] == {"data": {"cancelRequest": {"__typename": "RequestNotFound"}}}
    for message in (failed[0], upload[0]):
        assert message["payload"]["data"] is None
        assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["BAD_USER_INPUT"]
    assert mutation[1:] == failed[1:] == upload[1:] == [end]


@pytest.mark.parametrize(
    ("payload", "code"),
    [*FAULTY, ({"query": ""}, "GRAPHQL_VALIDATION_FAILED")],
)
async def test_a_faulty_operation_leaves_its_neighbours_alone(
    server: Server, payload: dict[str, Any], code: str
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with connected(host) as socket:
        # Given an operation under way,
        await socket.subscribe("good", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        assert (await socket.receive())["type"] == "next"

        # when another one is faulty,
        await socket.send(id="bad", type="subscribe", payload=payload)
        bad = await socket.receive()

        # then it alone ends, its name is free again, and the first goes on.
        assert (bad["id"], bad["type"]) == ("bad", "error")
        assert [error["extensions"]["code"] for error in bad["payload"]] == [code]
        assert (await socket.answer("bad", LIMITS))[-1]["type"] == "complete"
        await cancel(runtime, ANYBODY, request_id)
        rest = [await socket.receive(), await socket.receive()]
        assert [message["id"] for message in rest] == ["good", "good"]
        assert rest[-1]["type"] == "complete"


@pytest.mark.parametrize("name", ["a", "a" * 1_000])
async def test_a_name_is_for_one_operation_at_a_time(server: Server, name: str) -> None:
    host, runtime = server
    request_id = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    async with connected(host) as socket:
        await socket.subscribe(name, PROGRESS, id=request_id)
        assert (await socket.receive())["type"] == "next"

        await socket.subscribe(name, LIMITS)

        assert await socket.closed() == 4409


async def test_nothing_is_said_of_what_the_client_has_completed(server: Server) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 2)
    identifier = encode_global_id(IdPrefix.REQUEST, request_id)
    async with connected(host) as socket:
        # Given two operations that watch the same request,
        for name in ("left", "kept"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            assert (await socket.receive())["type"] == "next"

        # when the client completes one, and something that never was,
        await socket.send(id="left", type="complete")
        await socket.send(id="nonsense", type="complete")
        assert await socket.said() == []
        await given_picture_done(runtime, request_id)

        # then the news come to the other alone, and the name is free again.
        news = await socket.receive()
        assert (news["id"], news["type"]) == ("kept", "next")
        assert (await socket.answer("left", LIMITS))[-1] == {"id": "left", "type": "complete"}
        await cancel(runtime, ANYBODY, request_id)
        rest = [await socket.receive(), await socket.receive()]
        assert [(message["id"], message["type"]) for message in rest] == [("kept", "next"), ("kept", "complete")]
        assert await socket.said() == []


async def test_operations_of_one_socket_are_limited(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_OPERATIONS_PER_SOCKET", 2)
    host, runtime = server
    identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    async with connected(host) as socket, connected(host) as other:
        # Given a socket at its limit,
        for name in ("a", "b"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            assert (await socket.receive())["type"] == "next"

        # when it asks for more,
        (refused,) = await socket.answer("c", LIMITS)

        # then that is refused, until there is room; other sockets have room of their own.
        (error,) = refused["payload"]
        assert error["extensions"] == {"code": "TOO_MANY_OPERATIONS"}
        assert error["message"] == (
            "This socket has 2 operations under way, its limit. Complete some, or open another socket."
        )
        assert len(await other.answer("c", LIMITS)) == 2
        await socket.send(id="a", type="complete")
        assert len(await socket.answer("c", LIMITS)) == 2

        # A name that is taken is wrong all the same.
        await socket.subscribe("d", PROGRESS, id=identifier)
        assert (await socket.receive())["type"] == "next"
        await socket.subscribe("d", LIMITS)
        assert await socket.closed() == 4409


async def test_nothing_is_left_of_a_client_that_is_gone(server: Server) -> None:
    host, runtime = server
    identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    # Given a service that has been used before,
    async with connected(host) as socket:
        await socket.subscribe("a", PROGRESS, id=identifier)
        await socket.receive()
    async with asyncio.timeout(1):
        while runtime.hub._inboxes:  # noqa: ASYNC110 - looked at from outside
            await asyncio.sleep(0.01)
    before = asyncio.all_tasks()

    # when a client watches three times over and its connection breaks,
    async with connected(host) as socket:
        for name in ("a", "b", "c"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            await socket.receive()
        assert len(runtime.hub._inboxes) == 1
        socket.connection.transport.abort()

    # then a second later nothing is left of it.
    async with asyncio.timeout(1):
        while runtime.hub._inboxes or asyncio.all_tasks() - before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def test_nothing_is_said_to_a_closed_socket() -> None:
    # Given a socket whose client sends on although its time to begin is over,
    frames: list[Any] = []
    said = iter([{"type": "websocket.connect"}, *({"type": "websocket.receive", "text": PING} for _ in range(2))])

    async def receive() -> Any:
        return next(said)

    async def send(frame: Any) -> None:
        frames.append(frame)

    raw = WebSocket({"type": "websocket"}, receive, send)
    await raw.accept()
    socket = Socket(GraphQLEndpoint(), raw, raw)
    handler = SocketHandler(GraphQLEndpoint(), socket, Any, None, schema, timedelta(seconds=9))

    # when it is closed after the first message,
    messages = socket.iter_json()
    await handler.handle_message(await anext(messages))
    await socket.close(4408, "é" * 100)
    await socket.close(4400, "once more")
    with pytest.raises(WebSocketDisconnected):
        await handler.handle_message(json.loads(PING))

    # then the close is the last that it says, and that once; its reason fits.
    accepted, pong, closed = frames
    assert (accepted["type"], json.loads(pong["text"])) == ("websocket.accept", {"type": "pong"})
    assert (closed["code"], closed["reason"]) == (4408, "é" * 61)
    assert [message async for message in messages] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
QUERIES = ("{ __typename }", "{", "", "{ nonsense }", "query A { __typename } query B { __typename }", PROGRESS)
NAMES = st.sampled_from("abcde")
OPERATIONS = st.fixed_dictionaries(
    {"query": st.sampled_from(QUERIES)}, optional={"operationName": st.sampled_from(["A", "C", None])}
)
#: What a client may say.
GOOD = (
    st.fixed_dictionaries({"type": st.just("subscribe"), "id": NAMES, "payload": OPERATIONS})
    | st.fixed_dictionaries({"type": st.just("complete"), "id": NAMES})
    | st.fixed_dictionaries({"type": st.sampled_from(["ping", "pong"])}, optional={"payload": st.just({"at": 7})})
)
#: What looks like it.
ODD = JSON | st.fixed_dictionaries(
    {"type": st.sampled_from(["connection_init", "subscribe", "complete", "ping", "pong", "next"]) | JSON},
    optional={
        "id": NAMES | JSON,
        "payload": JSON | st.fixed_dictionaries({"query": JSON}, optional={"variables": JSON, "extensions": JSON}),
    },
)
SETTINGS, TRANSPORT = Settings(_env_file=None, rate_operations="0", rate_subscriptions="0"), GraphQLEndpoint()


@settings(deadline=None)
@given(st.lists(GOOD, max_size=6), st.lists(ODD, max_size=2), st.booleans())
def test_whatever_a_client_says_it_is_answered_or_closed_with_a_code(
    good: list[Any], odd: list[Any], greet: bool
) -> None:
    said = [{"type": "connection_init"}] * greet + good + odd

    async def story() -> list[Any]:
        frames: list[Any] = []
        told = iter([{"type": "websocket.receive", "text": json.dumps(message)} for message in said])

        async def receive() -> Any:
            # Between two messages others have a moment; before the client leaves, what is under way has an end.
            message = next(told, {"type": "websocket.disconnect", "code": 1006})
            for _ in range(1 if "text" in message else 100):
                await asyncio.sleep(0)
            return message

        async def send(frame: Any) -> None:
            frames.append(frame)

        raw = WebSocket({"type": "websocket"}, receive, send)
        raw.client_state = WebSocketState.CONNECTED
        await raw.accept()
        runtime = cast(Any, SimpleNamespace(db=None, rates=None, settings=SETTINGS))
        context = Context(AppState(runtime, AnonymousAccess.ALWAYS), None, raw)
        handler = SocketHandler(TRANSPORT, Socket(TRANSPORT, raw, raw), context, None, schema, timedelta(seconds=9))
        await handler.handle()
        return frames[1:]

    frames = asyncio.run(story())

    closed = [frame for frame in frames if frame["type"] == "websocket.close"]
    assert [frame["code"] for frame in closed] in ([], [4400], [4401], [4409], [4429])
    assert closed in ([], frames[-1:])
    texts = "".join(frame["text"] for frame in frames if frame["type"] == "websocket.send")
    assert "INTERNAL" not in texts


@pytest.mark.parametrize("error", [SocketClosed("closed"), WebSocketDisconnected()])
def test_a_socket_that_is_closed_under_an_operation_is_no_fault(error: Exception) -> None:
    handler = object.__new__(SocketHandler)
    handler.task_logger = logging.getLogger("socket")

    # That nothing of it is logged is seen to for every test here.
    asyncio.run(handler.handle_task_exception(error))


def test_an_operation_that_its_client_has_ended_can_end() -> None:
    handler = object.__new__(SocketHandler)
    handler.operations = {}

    handler.forget_id("a")

    assert handler.operations == {}
