"""GraphQL over WebSockets, protocol `graphql-transport-ws`.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, aclosing
from typing import Any, cast

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect, WebSocketState
from starlette.websockets import WebSocketDisconnected as SocketClosed
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    Message,
    PingMessage,
    PongMessage,
    SubscribeMessage,
)

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.database.migrations import UNUSABLE
from gql_imgproc.errors import RateLimited
from gql_imgproc.graphql.auth import CLOSE_FORBIDDEN
from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.errors import KEY_EXPIRED, Code, mask_error, rate_limited
from gql_imgproc.graphql.query_limits import is_subscription
from gql_imgproc.graphql.shared_subscriptions import SharedResult

#: Longest reason for closing a socket, in bytes of UTF-8: a control frame holds no more (RFC 6455, 5.5).
MAX_REASON_BYTES = 123


class Socket(ASGIWebSocketAdapter):
    """One socket. To one that we have closed nothing is said any more: others may not know of it yet."""

    async def send_json(self, message: Mapping[str, object]) -> None:
        if self._closed:
            raise WebSocketDisconnected
        await super().send_json(message)

    async def send_text(self, text: str) -> None:
        """A message that is JSON already."""
        if self._closed:
            raise WebSocketDisconnected
        try:
            await self.ws.send_text(text)
        except WebSocketDisconnect as error:
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        if self._closed:
            return
        # Some reasons quote the client; one that is too long would break the socket off without any.
        await super().close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))

    @property
    def _closed(self) -> bool:
        return self.ws.application_state is WebSocketState.DISCONNECTED


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """What is said on one socket. What is wrong with one operation ends that operation, not its neighbours."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stay = ExitStack()

    async def send_message(self, message: Message) -> None:
        if message["type"] == "connection_ack":
            self._stay.enter_context(
                self.context.app_state.authenticator.watch_session(self.context.caller, self._dismiss)
            )
        await super().send_message(message)

    async def shutdown(self) -> None:
        self._stay.close()
        await super().shutdown()

    def _dismiss(self) -> None:
        """Closes the socket, with all that runs on it, of a caller who may not stay."""
        self.context.runtime.background.start(("dismissed", id(self)), self._leave)

    async def _leave(self) -> None:
        for operation in list(self.operations):
            await self.cleanup_operation(operation)
        await self.websocket.close(CLOSE_FORBIDDEN, KEY_EXPIRED)

    async def handle_message(self, message: Any) -> None:
        if fault := fault_of(message):
            await self.handle_invalid_message(fault)
            return
        # The protocol lets a payload be null; Strawberry wants it left out.
        said = {field: value for field, value in message.items() if field != "payload" or value is not None}
        await super().handle_message(said)  # type: ignore[arg-type]  # looked at above

    async def handle_ping(self, message: PingMessage) -> None:
        # With what came with the ping, so that a client can tell its pings apart.
        pong = PongMessage(type="pong")
        if "payload" in message:
            pong["payload"] = message["payload"]
        await self.send_message(pong)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        limit = self.max_subscriptions_per_connection
        if not self.connection_acknowledged or message["id"] in self.operations:
            # Which ends the socket.
            await super().handle_subscribe(message)
        elif limit is not None and len(self.operations) >= limit:
            text = f"This socket has {limit} operations under way, its limit. Complete some, or open another socket."
            await self._refuse(message, GraphQLError(text, extensions={"code": Code.TOO_MANY_OPERATIONS.value}))
        else:
            try:
                stays = await self.context.app_state.authenticator.is_still_valid(self.context.caller)
                if stays:
                    await self._count(message)
            except RateLimited as refused:
                await self._refuse(message, rate_limited(refused))
            except UNUSABLE as fault:
                # The operation would have failed by itself, if the database does not come back meanwhile.
                await self._refuse(message, mask_error(GraphQLError("", original_error=fault)))
            else:
                await (super().handle_subscribe(message) if stays else self._leave())

    async def _count(self, message: SubscribeMessage) -> None:
        payload = message["payload"]
        begins = is_subscription(payload["query"], payload.get("operationName"))
        deeds = (
            (RateLimitedAction.OPERATIONS, RateLimitedAction.SUBSCRIPTIONS)
            if begins
            else (RateLimitedAction.OPERATIONS,)
        )
        await self.context.app_state.rate_limiter.hit(self.context.caller, *deeds)

    async def _refuse(self, message: SubscribeMessage, error: GraphQLError) -> None:
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})

    async def handle_task_exception(self, error: Exception) -> None:
        # That a client has left, or that we have closed the socket for what it sent beside this operation, is no fault
        # and needs no traceback in the log.
        if not isinstance(error, WebSocketDisconnected | SocketClosed):
            await super().handle_task_exception(error)

    # Strawberry's own, since it makes each message anew for each client.
    async def _send_result_stream(self, operation: Operation[Context, None], result_source: StreamResult) -> None:
        socket = cast(Socket, self.websocket)
        before = f'{{"id":{json.dumps(operation.id)},"type":"next","payload":'

        async def not_shared() -> StreamResult:
            async for result in result_source:
                if isinstance(result, SharedResult):
                    await socket.send_text(f"{before}{result.payload}}}")
                else:
                    yield result

        async with aclosing(not_shared()) as others:
            await super()._send_result_stream(operation, others)

    def forget_id(self, id: str) -> None:
        # The client may have completed or left in the moment in which we complete.
        self.operations.pop(id, None)

    # Strawberry's own, since it closes the socket, with all else that runs on it, for a fault of one operation.
    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        return None


def fault_of(message: Any) -> str | None:
    """Why something is no message that a client may send; None when it is one."""
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    kind, payload = message.get("type"), message.get("payload")
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        return f"A message {kind!r} must have an `id` that is a text"
    if kind == "subscribe":
        return None if _is_operation(payload) else "The payload of `subscribe` must have the text `query`"
    return None if isinstance(payload, dict | None) else "A payload must be an object"


def _is_operation(payload: Any) -> bool:
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
        and isinstance(payload.get("extensions"), dict | None)
    )
