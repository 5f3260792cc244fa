"""Equal subscriptions share one execution."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any

import pytest
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gql_imgproc.graphql.shared_subscriptions import SharedResult, SharedSubscriptions
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.commands import cancel
from gql_imgproc.requests.snapshot import progress_channel
from tests.graphql.live_server import PROGRESS, Server, given_upload, open_socket
from tests.support.api_clients import ANYBODY


class Source:
    """An execution whose results the test provides."""

    def __init__(self) -> None:
        self.results: asyncio.Queue[Any] = asyncio.Queue()
        self.started = self.ended = 0

    def put(self, number: int) -> None:
        self.results.put_nowait(ExecutionResult({"number": number}, None))

    async def start(self) -> AsyncGenerator[Any]:
        self.started += 1
        try:
            while (result := await self.results.get()) is not None:
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self.ended += 1


def numbers(results: list[Any]) -> list[int]:
    return [result.data["number"] for result in results]


def never_revoked(_: object) -> AbstractContextManager[None]:
    return nullcontext()


async def run_ready_tasks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def collect(subscriptions: SharedSubscriptions, source: Source, key: str = "same") -> list[Any]:
    return [result async for result in subscriptions.subscribe(key, source.start, never_revoked)]


async def test_equal_subscriptions_are_executed_once() -> None:
    subscriptions, source = SharedSubscriptions(), Source()
    subscribers = [asyncio.create_task(collect(subscriptions, source)) for _ in range(3)]
    await run_ready_tasks()

    for number in (1, 2):
        source.put(number)
        await run_ready_tasks()
    source.results.put_nowait(None)
    seen = await asyncio.gather(*subscribers)

    assert [numbers(results) for results in seen] == [[1, 2]] * 3
    assert (source.started, source.ended) == (1, 1)
    # The same object, so it is encoded once.
    assert seen[0][1] is seen[1][1] is seen[2][1]
    assert seen[0][1].payload == '{"data":{"number":2}}'
    assert "same" not in subscriptions


async def test_other_subscriptions_are_executed_separately() -> None:
    subscriptions, one, other = SharedSubscriptions(), Source(), Source()
    subscribers = [
        asyncio.create_task(collect(subscriptions, one, "one")),
        asyncio.create_task(collect(subscriptions, other, "other")),
    ]
    await run_ready_tasks()

    one.put(1)
    other.put(2)
    for source in (one, other):
        source.results.put_nowait(None)

    assert [numbers(seen) for seen in await asyncio.gather(*subscribers)] == [[1], [2]]


async def test_late_subscriber_starts_with_the_latest_result_and_slow_one_skips() -> None:
    subscriptions, source = SharedSubscriptions(), Source()
    async with aclosing(subscriptions.subscribe("same", source.start, never_revoked)) as slow:
        first = asyncio.create_task(anext(slow))
        await run_ready_tasks()
        for number in (1, 2, 3):
            source.put(number)
            await run_ready_tasks()

        late = asyncio.create_task(collect(subscriptions, source))
        await run_ready_tasks()
        source.put(4)
        await run_ready_tasks()
        source.results.put_nowait(None)

        assert numbers([await first]) == [1]
        assert numbers([result async for result in slow]) == [4]
        assert numbers(await late) == [3, 4]
    assert source.started == 1


async def test_last_subscriber_to_leave_ends_the_execution() -> None:
    subscriptions, source = SharedSubscriptions(), Source()
    one, other = (subscriptions.subscribe("same", source.start, never_revoked) for _ in range(2))
    waiting = asyncio.create_task(anext(one))
    also_waiting = asyncio.create_task(anext(other))
    await run_ready_tasks()
    source.put(1)
    await asyncio.gather(waiting, also_waiting)

    await one.aclose()
    assert source.ended == 0
    await other.aclose()
    assert source.ended == 1
    assert "same" not in subscriptions

    source.put(2)
    source.results.put_nowait(None)
    assert numbers(await collect(subscriptions, source)) == [2]
    assert source.started == 2


async def test_exception_is_logged_once_and_sent_to_each_subscriber(caplog: pytest.LogCaptureFixture) -> None:
    subscriptions, source = SharedSubscriptions(), Source()
    subscribers = [asyncio.create_task(collect(subscriptions, source)) for _ in range(3)]
    await run_ready_tasks()
    source.put(1)
    await run_ready_tasks()

    source.results.put_nowait(ConnectionResetError("of the database"))
    seen = await asyncio.gather(*subscribers)

    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    error_id = vars(line)["error_id"]
    assert [numbers(results[:-1]) for results in seen] == [[1]] * 3
    for last in (results[-1] for results in seen):
        assert json.loads(last.payload) == {
            "data": None,
            "errors": [
                {
                    "message": f"Internal server error. Contact the operator and quote error ID {error_id}.",
                    "extensions": {"code": "INTERNAL"},
                }
            ],
        }
    assert source.ended == 1
    assert "same" not in subscriptions


async def test_error_before_execution_keeps_its_type() -> None:
    subscriptions, source = SharedSubscriptions(), Source()
    source.results.put_nowait(PreExecutionError(None, []))
    source.results.put_nowait(None)

    (result,) = await collect(subscriptions, source)

    assert isinstance(result, PreExecutionError)
    assert not isinstance(result, SharedResult)


def count_executions() -> int:
    return sum(task.get_name() == "shared-subscription" for task in asyncio.all_tasks())


def count_inboxes(runtime: Any, request_id: Any) -> int:
    return len(runtime.hub._subscribers.get(progress_channel(request_id), ()))


async def test_equal_subscriptions_share_one_inbox(server: Server) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    id = encode_global_id(IdPrefix.REQUEST, request_id)
    async with open_socket(host) as one, open_socket(host) as other:
        for socket in (one, other):
            await socket.subscribe("a", PROGRESS, id=id)
            assert (await socket.receive())["payload"]["data"]["requestProgress"]["sequence"] == 1
        await other.subscribe("b", PROGRESS.replace("processedImages", "totalImages"), id=id)
        assert (await other.receive())["payload"]["data"]["requestProgress"]["totalImages"] == 1

        assert count_inboxes(runtime, request_id) == 2

        await cancel(runtime, ANYBODY, request_id)
        last_messages = [[await one.receive() for _ in range(2)], [await other.receive() for _ in range(4)]]

    assert [(message["id"], message["type"]) for message in last_messages[0]] == [("a", "next"), ("a", "complete")]
    assert sorted((message["id"], message["type"]) for message in last_messages[1]) == [
        ("a", "complete"),
        ("a", "next"),
        ("b", "complete"),
        ("b", "next"),
    ]
    assert count_inboxes(runtime, request_id) == 0


async def test_equal_mutations_are_not_shared(server: Server) -> None:
    host, runtime = server
    mutation = "mutation($id: ID!) { cancelRequest(input: {id: $id}) { __typename } }"
    request_id = await given_upload(runtime, 1)
    async with open_socket(host) as socket:
        results = []
        for name in ("a", "b"):
            await socket.subscribe(name, mutation, id=encode_global_id(IdPrefix.REQUEST, request_id))
            message, _ = [await socket.receive() for _ in range(2)]
            results.append(message["payload"]["data"]["cancelRequest"]["__typename"])

    assert results == ["CancelRequestSuccess", "RequestAlreadyFinal"]


@pytest.mark.parametrize("abrupt", [False, True])
async def test_disconnected_subscriber_leaves_nothing_behind(server: Server, abrupt: bool) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with open_socket(host) as socket:
        await socket.subscribe("a", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        await socket.receive()
        assert count_inboxes(runtime, request_id) == 1
        if abrupt:
            socket.connection.transport.abort()

    async with asyncio.timeout(1):
        while count_inboxes(runtime, request_id) or count_executions():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
