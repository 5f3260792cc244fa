"""GraphQL over WebSocket, frame by frame.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.websockets import WebSocket, WebSocketState
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import CloseCode

from gql_imgproc.access.authentication import AnonymousAccess
from gql_imgproc.graphql import websocket
from gql_imgproc.graphql.context import AppState
from gql_imgproc.graphql.websocket import Session
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests import watch
from gql_imgproc.requests.commands import cancel
from gql_imgproc.requests.snapshot import progress_channel
from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api
from tests.graphql.live_server import INVALID_OPERATIONS, PROGRESS, Server, finish_image, given_upload, open_socket
from tests.support.api_clients import ANYBODY
from tests.support.waiting import until

LIMITS = "{ limits { maxPageSize } }"
PING = '{"type": "ping"}'
UPLOAD = "mutation($input: UploadCsvInput!) { uploadCsv(input: $input) { __typename } }"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture(autouse=True)
def _no_logged_errors(caplog: pytest.LogCaptureFixture) -> Any:
    """No message of a client may cause an internal error."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("protocols", [None, ["graphql-ws"], ["soap"]])
async def test_other_subprotocols_are_rejected(server: Server, protocols: list[str] | None) -> None:
    host, _ = server
    async with open_socket(host, begin=False, protocols=protocols) as socket:
        assert socket.connection.subprotocol is None
        assert await socket.close_code() == 4406


async def test_subprotocol_is_selected_among_others(server: Server) -> None:
    host, _ = server
    async with open_socket(host, protocols=["graphql-ws", "graphql-transport-ws"]) as socket:
        assert socket.connection.subprotocol == "graphql-transport-ws"


async def test_only_pages_of_the_own_origin_may_connect(server: Server) -> None:
    host, _ = server
    for origin in ("https://evil.example", "null", f"http://{host}.evil.example"):
        with pytest.raises(InvalidStatus) as error:
            async with open_socket(host, origin=origin):
                pass
        assert error.value.response.status_code == 403
    # Clients other than browsers send no origin.
    for own in ("https://images.example", f"http://{host}", None):
        async with open_socket(host, origin=own):
            pass


async def test_socket_without_connection_init_is_closed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "SOCKET_INIT_SECONDS", 0.05)
    async with (
        serve_api(settings) as (host, _),
        open_socket(host, begin=False) as silent,
        open_socket(host) as initialized,
    ):
        assert await silent.close_code() == 4408
        assert await initialized.drain() == []


@pytest.mark.parametrize("init", [{}, {"payload": None}, {"payload": {"token": "x"}}])
async def test_second_connection_init_closes_the_socket(server: Server, init: dict[str, Any]) -> None:
    host, _ = server
    async with open_socket(host, begin=False) as socket:
        await socket.send(type="connection_init", **init)
        assert await socket.receive() == {"type": "connection_ack"}

        await socket.send(type="connection_init", **init)
        assert await socket.close_code() == 4429


async def test_operation_before_connection_init_closes_the_socket(server: Server) -> None:
    host, _ = server
    async with open_socket(host, begin=False) as socket:
        await socket.subscribe("a", LIMITS)

        assert await socket.close_code() == 4401


async def test_pings_and_pongs(server: Server) -> None:
    host, _ = server
    async with open_socket(host, begin=False) as socket:
        # Pings are answered with their payload, even before connection_init;
        await socket.send(type="ping")
        await socket.send(type="ping", payload={"at": 7})
        # unsolicited pongs are ignored.
        await socket.send(type="pong")
        await socket.send(type="pong", payload={"at": 7})

        assert await socket.drain() == [{"type": "pong"}, {"type": "pong", "payload": {"at": 7}}]


#: Invalid messages.
INVALID_MESSAGES: tuple[str | bytes, ...] = (
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


async def test_invalid_message_closes_the_socket(server: Server) -> None:
    host, _ = server
    closed = {}
    for text in INVALID_MESSAGES:
        async with open_socket(host) as socket:
            await socket.connection.send(text)
            closed[text] = await socket.close_code()

    assert closed == dict.fromkeys(INVALID_MESSAGES, 4400)


@pytest.mark.parametrize(
    ("head", "payload", "code"),
    [
        (b"\x81\x81", b"\xff", CloseCode.INVALID_DATA),
        (b"\x81\xff" + (256 * 1024 + 1).to_bytes(8, "big"), b" " * (256 * 1024 + 1), CloseCode.MESSAGE_TOO_BIG),
        (b"\xc1\x81", b" ", CloseCode.PROTOCOL_ERROR),
        (b"\x80\x81", b" ", CloseCode.PROTOCOL_ERROR),
    ],
    ids=["not UTF-8", "too large", "extension bit", "continuation without a start"],
)
async def test_invalid_frame_closes_the_socket_and_ends_its_operations(
    server: Server, head: bytes, payload: bytes, code: CloseCode
) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with open_socket(host) as socket:
        await socket.subscribe("a", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        assert (await socket.receive())["type"] == "next"

        # With a mask of zeros.
        socket.connection.transport.write(head + bytes(4) + payload)

        assert await socket.close_code() == code
    async with asyncio.timeout(1):
        while runtime.hub._subscribers:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


async def test_client_that_sends_too_much_learns_the_reason(server: Server) -> None:
    host, _ = server
    async with open_socket(host) as socket:
        sending = asyncio.create_task(socket.connection.send(" " * 8 * 1024 * 1024))
        with pytest.raises(ConnectionClosed) as closed:
            await socket.receive()
        await asyncio.gather(sending, return_exceptions=True)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.MESSAGE_TOO_BIG
    assert closed.value.rcvd.reason == "frame with 8388608 bytes exceeds limit of 262144 bytes"


async def test_query_and_mutation_get_one_result(server: Server) -> None:
    host, _ = server
    async with open_socket(host) as socket:
        query = await socket.execute("a", LIMITS)
        mutation = await socket.execute("a", 'mutation { cancelRequest(input: {id: "nonsense"}) { __typename } }')
        failed = await socket.execute("a", "{ requests(first: 101) { totalCount } }")
        # A WebSocket cannot upload files.
        upload = await socket.execute("a", UPLOAD, input={"file": "shop.csv"})

    end = {"id": "a", "type": "complete"}
    assert query == [{"id": "a", "type": "next", "payload": {"data": {"limits": {"maxPageSize": 100}}}}, end]
    assert mutation[0]["payload"] == {"data": {"cancelRequest": {"__typename": "RequestNotFound"}}}
    for message in (failed[0], upload[0]):
        assert message["payload"]["data"] is None
        assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["BAD_USER_INPUT"]
    assert mutation[1:] == failed[1:] == upload[1:] == [end]


@pytest.mark.parametrize(
    ("payload", "code"),
    [*INVALID_OPERATIONS, ({"query": ""}, "GRAPHQL_VALIDATION_FAILED")],
)
async def test_invalid_operation_does_not_affect_others(server: Server, payload: dict[str, Any], code: str) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with open_socket(host) as socket:
        # Given a running operation,
        await socket.subscribe("valid", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        assert (await socket.receive())["type"] == "next"

        # when another one is invalid,
        await socket.send(id="invalid", type="subscribe", payload=payload)
        error = await socket.receive()

        # then only that one ends, its ID can be used again, and the first keeps running.
        assert (error["id"], error["type"]) == ("invalid", "error")
        assert [each["extensions"]["code"] for each in error["payload"]] == [code]
        assert (await socket.execute("invalid", LIMITS))[-1]["type"] == "complete"
        await cancel(runtime, ANYBODY, request_id)
        rest = [await socket.receive(), await socket.receive()]
        assert [message["id"] for message in rest] == ["valid", "valid"]
        assert rest[-1]["type"] == "complete"


@pytest.mark.parametrize("name", ["a", "a" * 1_000])
async def test_duplicate_operation_id_closes_the_socket(server: Server, name: str) -> None:
    host, runtime = server
    request_id = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    async with open_socket(host) as socket:
        await socket.subscribe(name, PROGRESS, id=request_id)
        assert (await socket.receive())["type"] == "next"

        await socket.subscribe(name, LIMITS)

        assert await socket.close_code() == 4409


async def test_completed_operation_gets_no_messages(server: Server) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 2)
    identifier = encode_global_id(IdPrefix.REQUEST, request_id)
    async with open_socket(host) as socket:
        # Given two subscriptions to the same request,
        for name in ("completed", "running"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            assert (await socket.receive())["type"] == "next"

        # when the client completes one of them, and an unknown operation,
        await socket.send(id="completed", type="complete")
        await socket.send(id="nonsense", type="complete")
        assert await socket.drain() == []
        await finish_image(runtime, request_id)

        # then only the other gets the next state, and the ID can be used again.
        message = await socket.receive()
        assert (message["id"], message["type"]) == ("running", "next")
        assert (await socket.execute("completed", LIMITS))[-1] == {"id": "completed", "type": "complete"}
        await cancel(runtime, ANYBODY, request_id)
        rest = [await socket.receive(), await socket.receive()]
        assert [(message["id"], message["type"]) for message in rest] == [("running", "next"), ("running", "complete")]
        assert await socket.drain() == []


async def test_number_of_operations_per_socket_is_limited(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_OPERATIONS_PER_SOCKET", 2)
    async with serve_api(settings) as (host, app), open_socket(host) as socket, open_socket(host) as other:
        identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(app.state.runtime, 1))
        # Given a socket at its limit,
        for name in ("a", "b"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            assert (await socket.receive())["type"] == "next"

        # when it starts another operation,
        (message,) = await socket.execute("c", LIMITS)

        # then that is an error until one completes. Other sockets have their own limit.
        (error,) = message["payload"]
        assert error["extensions"] == {"code": "TOO_MANY_OPERATIONS"}
        assert error["message"] == (
            "This socket has 2 running operations, the limit. Complete some, or open another socket."
        )
        assert len(await other.execute("c", LIMITS)) == 2
        await socket.send(id="a", type="complete")
        assert len(await socket.execute("c", LIMITS)) == 2

        # At the limit too, a duplicate ID closes the socket.
        await socket.subscribe("d", PROGRESS, id=identifier)
        assert (await socket.receive())["type"] == "next"
        await socket.subscribe("d", LIMITS)
        assert await socket.close_code() == 4409


async def test_disconnected_client_leaves_nothing_behind(server: Server) -> None:
    host, runtime = server
    identifier = encode_global_id(IdPrefix.REQUEST, await given_upload(runtime, 1))
    # Given a server with an earlier subscription,
    async with open_socket(host) as socket:
        await socket.subscribe("a", PROGRESS, id=identifier)
        await socket.receive()
    async with asyncio.timeout(1):
        while runtime.hub._subscribers:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    before = asyncio.all_tasks()

    # when a client with three subscriptions drops its connection,
    async with open_socket(host) as socket:
        for name in ("a", "b", "c"):
            await socket.subscribe(name, PROGRESS, id=identifier)
            await socket.receive()
        assert len(runtime.hub._subscribers) == 1
        socket.connection.transport.abort()

    # then its inbox and its tasks are gone within a second.
    async with asyncio.timeout(1):
        while runtime.hub._subscribers or asyncio.all_tasks() - before:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


def given_session(messages: list[Any], frames: list[Any], *, yields: int = 1) -> Session:
    """A session whose client sends these messages and then leaves; the frames of the server are added to `frames`."""
    events = iter([{"type": "websocket.receive", "text": json.dumps(message)} for message in messages])

    async def receive() -> Any:
        # Lets other tasks run between messages; before the client leaves, operations can end.
        event = next(events, {"type": "websocket.disconnect", "code": 1006})
        for _ in range(yields if "text" in event else 100):
            await asyncio.sleep(0)
        return event

    async def send(frame: Any) -> None:
        frames.append(frame)

    socket = WebSocket({"type": "websocket"}, receive, send)
    socket.client_state = socket.application_state = WebSocketState.CONNECTED
    runtime = cast(Any, SimpleNamespace(db=None, rate_limiter=None, settings=SETTINGS))
    return Session(socket, AppState(runtime, AnonymousAccess.ALWAYS))


@pytest.mark.parametrize("pairs", [300, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
async def test_operations_completed_at_once_leave_nothing_behind(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, pairs: int
) -> None:
    reads = 0

    async def count_reads(*args: Any, **kwargs: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(*args, **kwargs)

    async with serve_api(settings) as (host, app):
        # Given a request that stays open, and a server after an earlier subscription,
        runtime = app.state.runtime
        request_id = await given_upload(runtime, 1)
        async with open_socket(host) as socket:
            await socket.subscribe("first", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
            await socket.receive()
            await socket.send(id="first", type="complete")
            await socket.drain()
            await until(lambda: not runtime.hub._subscribers)
            before = asyncio.all_tasks()

            # when a client subscribes and completes at once, many times,
            for number in range(pairs):
                # Each is an operation of its own, in various states of its start when it is completed.
                query = PROGRESS.replace("status", "status " * (number % 50 + 1))
                await socket.subscribe("a", query, id=encode_global_id(IdPrefix.REQUEST, request_id))
                for _ in range(number % 20):
                    await asyncio.sleep(0)
                await socket.send(id="a", type="complete")
                if number % 100 == 99:
                    await socket.drain()

            # then no task, subscriber or channel is left,
            await until(lambda: asyncio.all_tasks() <= before and not runtime.hub._subscribers)
            with redis.Redis.from_url(settings.redis_url) as client:
                await until(lambda: progress_channel(request_id).encode() not in client.pubsub_channels())
            # and nothing polls the database, though the request is open.
            read = runtime.db.read
            monkeypatch.setattr(runtime.db, "read", count_reads)
            monkeypatch.setattr(watch, "POLL_SECONDS", 0.01)
            await asyncio.sleep(0.1)
            assert reads == 0


async def test_nothing_is_sent_to_a_closed_socket() -> None:
    # Given a session with a running operation,
    frames: list[Any] = []
    subscribe = {"type": "subscribe", "id": "a", "payload": {"query": LIMITS}}
    session = given_session([{"type": "connection_init"}, subscribe, {"type": "ping"}], frames, yields=0)

    # when it is closed before the operation ends,
    closing = asyncio.create_task(session.close(4408, "é" * 100))
    closing_again = asyncio.create_task(session.close(4400, "once more"))
    await session.run()
    await asyncio.gather(closing, closing_again)

    # then it sends one close frame and nothing after it; the reason is cut to fit.
    (closed,) = [frame for frame in frames if frame["type"] == "websocket.close"]
    assert frames[-1] is closed
    assert (closed["code"], closed["reason"]) == (4408, "é" * 61)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
QUERIES = ("{ __typename }", "{", "", "{ nonsense }", "query A { __typename } query B { __typename }", PROGRESS)
IDS = st.sampled_from("abcde")
OPERATIONS = st.fixed_dictionaries(
    {"query": st.sampled_from(QUERIES)}, optional={"operationName": st.sampled_from(["A", "C", None])}
)
#: Valid messages.
VALID = (
    st.fixed_dictionaries({"type": st.just("subscribe"), "id": IDS, "payload": OPERATIONS})
    | st.fixed_dictionaries({"type": st.just("complete"), "id": IDS})
    | st.fixed_dictionaries({"type": st.sampled_from(["ping", "pong"])}, optional={"payload": st.just({"at": 7})})
)
#: Messages that are almost valid.
ODD = JSON | st.fixed_dictionaries(
    {"type": st.sampled_from(["connection_init", "subscribe", "complete", "ping", "pong", "next"]) | JSON},
    optional={
        "id": IDS | JSON,
        "payload": JSON | st.fixed_dictionaries({"query": JSON}, optional={"variables": JSON, "extensions": JSON}),
    },
)
SETTINGS = Settings(_env_file=None, rate_operations="0", rate_subscriptions="0")


@hypothesis_settings(deadline=None)
@given(st.lists(VALID, max_size=6), st.lists(ODD, max_size=2), st.booleans())
def test_any_messages_are_answered_or_close_the_socket_with_a_code(
    valid: list[Any], odd: list[Any], with_init: bool
) -> None:
    frames: list[Any] = []
    messages = [{"type": "connection_init"}] * with_init + valid + odd

    async def handle() -> None:
        await given_session(messages, frames).run()

    asyncio.run(handle())

    closed = [frame for frame in frames if frame["type"] == "websocket.close"]
    assert [frame["code"] for frame in closed] in ([], [4400], [4401], [4409], [4429])
    assert closed in ([], frames[-1:])
    texts = "".join(frame["text"] for frame in frames if frame["type"] == "websocket.send")
    assert "INTERNAL" not in texts
