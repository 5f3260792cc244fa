"""Sends the results of an operation in one HTTP response: server-sent events, or Apollo's multipart protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult

from gql_imgproc.graphql.shared_subscriptions import encode_result

#: Seconds between heartbeats: proxies close connections that are idle for longer.
HEARTBEAT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a stream is written: its start, what precedes and follows each result, its heartbeat and its end."""

    content_type: str
    start: str
    before: str
    after: str
    heartbeat: str
    end: str


#: https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md#distinct-connections-mode
#: Lines end as urql expects.
SSE = Encoding(
    "text/event-stream",
    start="",
    before="event: next\ndata: ",
    after="\n\n",
    heartbeat=": ping\n\n",
    end="event: complete\ndata: \n\n",
)
_BOUNDARY = "--graphql"
_PART = "\r\nContent-Type: application/json\r\n\r\n"
_EMPTY_PART = f"{_PART}{{}}\r\n{_BOUNDARY}"
#: https://www.apollographql.com/docs/graphos/routing/operations/subscriptions/multipart-protocol
#: Each part is followed by its boundary: clients wait for it before they process a part.
MULTIPART = Encoding(
    'multipart/mixed;boundary="graphql";subscriptionSpec=1.0',
    start=_BOUNDARY + _EMPTY_PART,
    before=_PART + '{"payload":',
    after=f"}}\r\n{_BOUNDARY}",
    heartbeat=_EMPTY_PART,
    end="--\r\n",
)


class StreamResponse:
    """Sends each result as it comes, until the last one or until the client leaves."""

    def __init__(self, results: AsyncGenerator[ExecutionResult], encoding: Encoding) -> None:
        self._results = results
        self._encoding = encoding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            "Content-Type": self._encoding.content_type,
            "Cache-Control": "no-cache, no-transform",
            # nginx would buffer the results.
            "X-Accel-Buffering": "no",
            "Vary": "Accept",
        }
        raw_headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw_headers})
        disconnected = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            async with aclosing(self._encode(disconnected)) as parts:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnected.cancel()

    async def _encode(self, disconnected: asyncio.Task[None]) -> AsyncGenerator[str]:
        encoding, pending = self._encoding, None
        if encoding.start:
            yield encoding.start
        async with aclosing(self._results) as results:
            try:
                while True:
                    pending = pending or asyncio.create_task(_next(results))
                    done, _ = await asyncio.wait(
                        [pending, disconnected], timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                    if disconnected in done:
                        return
                    if pending not in done:
                        yield encoding.heartbeat
                        continue
                    result, pending = pending.result(), None
                    if result is None:
                        yield encoding.end
                        return
                    yield encoding.before + encode_result(result) + encoding.after
            finally:
                if pending is not None:
                    pending.cancel()
                    await asyncio.wait([pending])


async def _next(results: AsyncGenerator[ExecutionResult]) -> ExecutionResult | None:
    return await anext(results, None)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
