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
from gql_imgproc.messaging.pubsub import channel
from gql_imgproc.requests.commands import cancel
from tests.graphql.live_server import PROGRESS, Server, connected, given_upload
from tests.support.api_clients import ANYBODY


class Source:
    """An execution whose results a test hands out."""

    def __init__(self) -> None:
        self.results: asyncio.Queue[Any] = asyncio.Queue()
        self.begun = self.ended = 0

    def give(self, number: int) -> None:
        self.results.put_nowait(ExecutionResult({"number": number}, None))

    async def begin(self) -> AsyncGenerator[Any]:
        self.begun += 1
        return self._run()

    async def _run(self) -> AsyncGenerator[Any]:
        try:
            while (result := await self.results.get()) is not None:
                if isinstance(result, Exception):
                    raise result
                yield result
        finally:
            self.ended += 1


def numbers(results: list[Any]) -> list[int]:
    return [result.data["number"] for result in results]


def nobody_dismissed(_: object) -> AbstractContextManager[None]:
    """For those who may stay as long as they like."""
    return nullcontext()


async def settle() -> None:
    """Until everybody has done what can be done."""
    for _ in range(10):
        await asyncio.sleep(0)


async def collected(shares: SharedSubscriptions, source: Source, key: str = "same") -> list[Any]:
    return [result async for result in shares.follow(key, source.begin, nobody_dismissed)]


async def test_equal_ones_are_executed_once_and_all_see_every_result() -> None:
    shares, source = SharedSubscriptions(), Source()
    followers = [asyncio.create_task(collected(shares, source)) for _ in range(3)]
    await settle()

    for number in (1, 2):
        source.give(number)
        await settle()
    source.results.put_nowait(None)
    seen = await asyncio.gather(*followers)

    assert [numbers(results) for results in seen] == [[1, 2]] * 3
    assert (source.begun, source.ended) == (1, 1)
    # The very same object, so that it is encoded once.
    assert seen[0][1] is seen[1][1] is seen[2][1]
    assert seen[0][1].payload == '{"data":{"number":2}}'
    assert "same" not in shares


async def test_other_ones_are_executed_by_themselves() -> None:
    shares, one, other = SharedSubscriptions(), Source(), Source()
    followers = [
        asyncio.create_task(collected(shares, one, "one")),
        asyncio.create_task(collected(shares, other, "other")),
    ]
    await settle()

    one.give(1)
    other.give(2)
    for source in (one, other):
        source.results.put_nowait(None)

    assert [numbers(seen) for seen in await asyncio.gather(*followers)] == [[1], [2]]


async def test_a_late_one_begins_with_the_newest_result_and_a_slow_one_skips() -> None:
    shares, source = SharedSubscriptions(), Source()
    async with aclosing(shares.follow("same", source.begin, nobody_dismissed)) as slow:
        first = asyncio.create_task(anext(slow))
        await settle()
        for number in (1, 2, 3):
            source.give(number)
            await settle()

        late = asyncio.create_task(collected(shares, source))
        await settle()
        source.give(4)
        await settle()
        source.results.put_nowait(None)

        assert numbers([await first]) == [1]
        assert numbers([result async for result in slow]) == [4]
        assert numbers(await late) == [3, 4]
    assert source.begun == 1


async def test_the_last_one_to_leave_ends_it_and_the_next_begins_anew() -> None:
    shares, source = SharedSubscriptions(), Source()
    one, other = (shares.follow("same", source.begin, nobody_dismissed) for _ in range(2))
    waiting = asyncio.create_task(anext(one))
    also_waiting = asyncio.create_task(anext(other))
    await settle()
    source.give(1)
    await asyncio.gather(waiting, also_waiting)

    await one.aclose()
    assert source.ended == 0
    await other.aclose()
    assert source.ended == 1
    assert "same" not in shares

    source.give(2)
    source.results.put_nowait(None)
    assert numbers(await collected(shares, source)) == [2]
    assert source.begun == 2


async def test_what_ends_it_by_a_fault_is_logged_once_and_told_to_each(caplog: pytest.LogCaptureFixture) -> None:
    shares, source = SharedSubscriptions(), Source()
    followers = [asyncio.create_task(collected(shares, source)) for _ in range(3)]
    await settle()
    source.give(1)
    await settle()

    source.results.put_nowait(ConnectionResetError("of the database"))
    seen = await asyncio.gather(*followers)

    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    number = vars(logged)["error_id"]
    assert [numbers(results[:-1]) for results in seen] == [[1]] * 3
    for last in (results[-1] for results in seen):
        assert json.loads(last.payload) == {
            "data": None,
            "errors": [
                {
                    "message": "Something went wrong on our side. Give this number to whoever runs the service: "
                    + number,
                    "extensions": {"code": "INTERNAL"},
                }
            ],
        }
    assert source.ended == 1
    assert "same" not in shares


def test_a_refusal_stays_one() -> None:
    async def story() -> list[Any]:
        shares, source = SharedSubscriptions(), Source()
        source.results.put_nowait(PreExecutionError(None, []))
        source.results.put_nowait(None)
        return await collected(shares, source)

    (result,) = asyncio.run(story())
    assert isinstance(result, PreExecutionError)
    assert not isinstance(result, SharedResult)


def shared_executions() -> int:
    return sum(task.get_name() == "shared-subscription" for task in asyncio.all_tasks())


def inboxes(runtime: Any, request_id: Any) -> int:
    return len(runtime.hub._inboxes.get(channel(request_id), ()))


async def test_watchers_of_one_request_share_one_inbox_whatever_the_transport(server: Server) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    id = encode_global_id(IdPrefix.REQUEST, request_id)
    async with connected(host) as one, connected(host) as other:
        for socket in (one, other):
            await socket.subscribe("a", PROGRESS, id=id)
            assert (await socket.receive())["payload"]["data"]["requestProgress"]["sequence"] == 1
        await other.subscribe("b", PROGRESS.replace("processedImages", "totalImages"), id=id)
        assert (await other.receive())["payload"]["data"]["requestProgress"]["totalImages"] == 1

        assert inboxes(runtime, request_id) == 2

        await cancel(runtime, ANYBODY, request_id)
        ends = [[await one.receive() for _ in range(2)], [await other.receive() for _ in range(4)]]

    assert [(message["id"], message["type"]) for message in ends[0]] == [("a", "next"), ("a", "complete")]
    assert sorted((message["id"], message["type"]) for message in ends[1]) == [
        ("a", "complete"),
        ("a", "next"),
        ("b", "complete"),
        ("b", "next"),
    ]
    assert inboxes(runtime, request_id) == 0


async def test_a_mutation_is_executed_as_often_as_it_is_sent(server: Server) -> None:
    host, runtime = server
    mutation = "mutation($id: ID!) { cancelRequest(input: {id: $id}) { __typename } }"
    request_id = await given_upload(runtime, 1)
    async with connected(host) as socket:
        outcomes = []
        for name in ("a", "b"):
            await socket.subscribe(name, mutation, id=encode_global_id(IdPrefix.REQUEST, request_id))
            answer, _ = [await socket.receive() for _ in range(2)]
            outcomes.append(answer["payload"]["data"]["cancelRequest"]["__typename"])

    assert outcomes == ["CancelRequestSuccess", "RequestAlreadyFinal"]


@pytest.mark.parametrize("abrupt", [False, True])
async def test_nothing_is_left_of_a_watcher_that_went_away(server: Server, abrupt: bool) -> None:
    host, runtime = server
    request_id = await given_upload(runtime, 1)
    async with connected(host) as socket:
        await socket.subscribe("a", PROGRESS, id=encode_global_id(IdPrefix.REQUEST, request_id))
        await socket.receive()
        assert inboxes(runtime, request_id) == 1
        if abrupt:
            socket.connection.transport.abort()

    async with asyncio.timeout(1):
        while inboxes(runtime, request_id) or shared_executions():  # noqa: ASYNC110  told by no event
            await asyncio.sleep(0.01)
