"""Executes equal subscriptions once: results are computed and encoded once for all subscribers.

Only for subscriptions to a state, where each result is complete: a new subscriber starts with the latest result, and a
slow one skips those in between.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import AbstractContextManager, aclosing
from functools import cached_property
from typing import TypeAlias

from graphql import GraphQLError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gql_imgproc.graphql.errors import KEY_EXPIRED, Code, coded_error, mask_error
from gql_imgproc.metrics import SUBSCRIBERS, SUBSCRIPTIONS

Start: TypeAlias = Callable[[], AsyncGenerator[ExecutionResult]]
#: Watches the API key of a session; calls its argument when the key expires or is revoked.
WatchSession: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]


class SharedResult(ExecutionResult):
    """A result for several subscribers."""

    @cached_property
    def payload(self) -> str:
        """Its JSON, the same in every message."""
        return _encode(self)


def encode_result(result: ExecutionResult) -> str:
    """A result of a stream as JSON."""
    return result.payload if isinstance(result, SharedResult) else _encode(result)


def _encode(result: ExecutionResult) -> str:
    # Nothing was executed if there is a PreExecutionError: then there is no `data`, not even null.
    payload: dict[str, object] = {} if isinstance(result, PreExecutionError) else {"data": result.data}
    if result.errors:
        payload["errors"] = [error.formatted for error in result.errors]
    return json.dumps(payload, separators=(",", ":"))


class Subscriber:
    """A queue of length one: the latest result that this subscriber has not received."""

    def __init__(self, latest: ExecutionResult | None) -> None:
        self._latest = latest
        self._ended = False
        self._changed = asyncio.Event()
        if latest is not None:
            self._changed.set()

    def put(self, result: ExecutionResult) -> None:
        self._latest = result
        self._changed.set()

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    def revoke(self) -> None:
        """Ends the subscription of this subscriber alone, because its API key expired or was revoked."""
        self.put(SharedResult(None, [coded_error(Code.UNAUTHENTICATED, KEY_EXPIRED)]))
        self.end()

    async def receive(self) -> ExecutionResult | None:
        """The latest result, once; None after the last."""
        await self._changed.wait()
        latest, self._latest = self._latest, None
        if not self._ended:
            self._changed.clear()
        return latest


class SharedSubscriptions:
    """The running executions, by operation and access rights."""

    def __init__(self) -> None:
        self._executions: dict[Hashable, _SharedExecution] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._executions

    async def subscribe(
        self, key: Hashable, start: Start, watch_session: WatchSession
    ) -> AsyncGenerator[ExecutionResult]:
        """The results of the execution with this key; `start` starts it if there is none.

        It is cancelled when its last subscriber leaves.
        """
        execution = self._executions.get(key)
        if execution is None:
            execution = self._executions[key] = _SharedExecution(start, on_end=lambda: self._remove(key, execution))
        subscriber = execution.add_subscriber()
        SUBSCRIPTIONS.inc()
        try:
            with watch_session(subscriber.revoke), SUBSCRIBERS.track_inprogress():
                while (result := await subscriber.receive()) is not None:
                    yield result
        finally:
            await execution.remove_subscriber(subscriber)

    def _remove(self, key: Hashable, execution: _SharedExecution | None) -> None:
        # Another execution with this key may have started since.
        if self._executions.get(key) is execution:
            del self._executions[key]


class _SharedExecution:
    def __init__(self, start: Start, on_end: Callable[[], None]) -> None:
        self._start = start
        self._on_end = on_end
        self._latest: ExecutionResult | None = None
        self._subscribers: set[Subscriber] = set()
        self._task = asyncio.create_task(self._execute(), name="shared-subscription")

    def add_subscriber(self) -> Subscriber:
        subscriber = Subscriber(self._latest)
        self._subscribers.add(subscriber)
        return subscriber

    async def remove_subscriber(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        if not self._subscribers and not self._task.done():
            # Before the cancellation, so that a new subscriber starts a new execution.
            self._on_end()
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _execute(self) -> None:
        try:
            async with aclosing(self._start()) as results:
                async for result in results:
                    # An error before execution is sent in a message of another type.
                    is_refused = isinstance(result, PreExecutionError)
                    self._publish(result if is_refused else SharedResult(result.data, result.errors))
        except Exception as error:
            # Raised in each subscriber it would be logged once for each, with a growing traceback.
            self._publish(SharedResult(None, [mask_error(GraphQLError(str(error), original_error=error))]))
        finally:
            self._on_end()
            for subscriber in self._subscribers:
                subscriber.end()

    def _publish(self, result: ExecutionResult) -> None:
        self._latest = result
        for subscriber in self._subscribers:
            subscriber.put(result)
