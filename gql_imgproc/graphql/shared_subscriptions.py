"""One execution for all who watch the same: its results are computed and encoded once, however many receive them.

Only for subscriptions to a state, in which each result tells all that there is to know: whoever comes later begins
with the newest one, and whoever is slow skips those in between.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractContextManager, aclosing
from functools import cached_property
from typing import TypeAlias

from graphql import GraphQLError
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError, StreamExecutionResult

from gql_imgproc.graphql.errors import key_expired, mask_error
from gql_imgproc.metrics import SUBSCRIBERS, SUBSCRIPTIONS

Begin: TypeAlias = Callable[[], Awaitable[StreamResult]]
#: Holds the place of one who follows; what it is given is called when that one must go.
Stay: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]


class SharedResult(ExecutionResult):
    """A result that many receive."""

    @cached_property
    def payload(self) -> str:
        """Its JSON, as it stands in each of their messages."""
        payload: dict[str, object] = {"data": self.data}
        if self.errors:
            payload["errors"] = [error.formatted for error in self.errors]
        if self.extensions:
            payload["extensions"] = self.extensions
        return json.dumps(payload, separators=(",", ":"))


class Subscriber:
    """The newest result that one watcher has not taken yet, and whether others will follow."""

    def __init__(self, newest: StreamExecutionResult | None) -> None:
        self._newest = newest
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None

    def put(self, result: StreamExecutionResult) -> None:
        self._newest = result
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def dismiss(self) -> None:
        """Ends it for this watcher alone, who may not watch any more."""
        self.put(SharedResult(None, [key_expired()]))
        self.end()

    async def take(self) -> StreamExecutionResult | None:
        """The newest result, once; None after the last."""
        while self._newest is None and not self._ended:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        newest, self._newest = self._newest, None
        return newest

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class SharedSubscriptions:
    """The executions under way, by what they execute and for whom."""

    def __init__(self) -> None:
        self._shares: dict[Hashable, _Share] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._shares

    async def follow(self, key: Hashable, begin: Begin, stay: Stay) -> StreamResult:
        """The results of the execution with this key; `begin` starts it if there is none.

        It goes on as long as somebody follows it.
        """
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = _Share(begin, ended=lambda: self._forget(key, share))
        seat = share.enter()
        SUBSCRIPTIONS.inc()
        try:
            with stay(seat.dismiss), SUBSCRIBERS.track_inprogress():
                while (result := await seat.take()) is not None:
                    yield result
        finally:
            await share.leave(seat)

    def _forget(self, key: Hashable, share: _Share | None) -> None:
        # Another one may have begun since.
        if self._shares.get(key) is share:
            del self._shares[key]


class _Share:
    """One execution, and the seats of those who follow it."""

    def __init__(self, begin: Begin, ended: Callable[[], None]) -> None:
        self._begin = begin
        self._ended = ended
        self._newest: StreamExecutionResult | None = None
        self._seats: set[Subscriber] = set()
        self._execution = asyncio.create_task(self._execute(), name="shared-subscription")

    def enter(self) -> Subscriber:
        seat = Subscriber(self._newest)
        self._seats.add(seat)
        return seat

    async def leave(self, seat: Subscriber) -> None:
        self._seats.discard(seat)
        if not self._seats and not self._execution.done():
            # Forgotten at once: whoever comes now begins anew.
            self._ended()
            self._execution.cancel()
            await asyncio.wait([self._execution])

    async def _execute(self) -> None:
        try:
            async with aclosing(await self._begin()) as results:
                async for result in results:
                    self._put(_shared(result))
        except Exception as error:
            # Raised in each follower it would be logged as often, with a traceback that grows by each.
            self._put(SharedResult(None, [mask_error(GraphQLError(str(error), original_error=error))]))
        finally:
            self._ended()
            for seat in self._seats:
                seat.end()

    def _put(self, result: StreamExecutionResult) -> None:
        self._newest = result
        for seat in self._seats:
            seat.put(result)


def _shared(result: StreamExecutionResult) -> StreamExecutionResult:
    # What failed before it began is told in a message of another kind.
    if isinstance(result, ExecutionResult) and not isinstance(result, PreExecutionError):
        return SharedResult(result.data, result.errors, result.extensions)
    return result
