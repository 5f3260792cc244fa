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

#: Longest close reason, in bytes of UTF-8: the limit of a control frame (RFC 6455, 5.5).
MAX_REASON_BYTES = 123


class Socket(ASGIWebSocketAdapter):
    """One WebSocket. After the server closed it, sending raises: other operations may not know of it yet."""

    async def send_json(self, message: Mapping[str, object]) -> None:
        if self._closed:
            raise WebSocketDisconnected
        await super().send_json(message)

    async def send_text(self, text: str) -> None:
        """Sends a message that is already JSON."""
        if self._closed:
            raise WebSocketDisconnected
        try:
            await self.ws.send_text(text)
        except WebSocketDisconnect as error:
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        if self._closed:
            return
        # Some reasons quote the client. One that is too long would break the connection without a reason.
        await super().close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))

    @property
    def _closed(self) -> bool:
        return self.ws.application_state is WebSocketState.DISCONNECTED


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Handles the messages of one WebSocket. An error in one operation ends that operation, not the others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._session = ExitStack()

    async def send_message(self, message: Message) -> None:
        if message["type"] == "connection_ack":
            self._session.enter_context(
                self.context.app_state.authenticator.watch_session(self.context.caller, self._on_key_revoked)
            )
        await super().send_message(message)

    async def shutdown(self) -> None:
        self._session.close()
        await super().shutdown()

    def _on_key_revoked(self) -> None:
        self.context.runtime.background.start(("close-socket", id(self)), self._close_session)

    async def _close_session(self) -> None:
        """Ends all operations and closes the socket, because the API key expired or was revoked."""
        for operation in list(self.operations):
            await self.cleanup_operation(operation)
        await self.websocket.close(CLOSE_FORBIDDEN, KEY_EXPIRED)

    async def handle_message(self, message: Any) -> None:
        if problem := message_problem(message):
            await self.handle_invalid_message(problem)
            return
        # The protocol allows a null payload; Strawberry requires its absence.
        fields = {field: value for field, value in message.items() if field != "payload" or value is not None}
        await super().handle_message(fields)  # type: ignore[arg-type]  # validated above

    async def handle_ping(self, message: PingMessage) -> None:
        # Returns the payload of the ping, so that a client can match them.
        pong = PongMessage(type="pong")
        if "payload" in message:
            pong["payload"] = message["payload"]
        await self.send_message(pong)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        limit = self.max_subscriptions_per_connection
        if not self.connection_acknowledged or message["id"] in self.operations:
            # Strawberry closes the socket.
            await super().handle_subscribe(message)
        elif limit is not None and len(self.operations) >= limit:
            text = f"This socket has {limit} running operations, the limit. Complete some, or open another socket."
            await self._send_error(message, GraphQLError(text, extensions={"code": Code.TOO_MANY_OPERATIONS.value}))
        else:
            try:
                is_valid = await self.context.app_state.authenticator.is_still_valid(self.context.caller)
                if is_valid:
                    await self._count(message)
            except RateLimited as error:
                await self._send_error(message, rate_limited(error))
            except UNUSABLE as error:
                # Without the database the operation would fail too.
                await self._send_error(message, mask_error(GraphQLError("", original_error=error)))
            else:
                await (super().handle_subscribe(message) if is_valid else self._close_session())

    async def _count(self, message: SubscribeMessage) -> None:
        payload = message["payload"]
        actions = [RateLimitedAction.OPERATIONS]
        if is_subscription(payload["query"], payload.get("operationName")):
            actions.append(RateLimitedAction.SUBSCRIPTIONS)
        await self.context.app_state.rate_limiter.hit(self.context.caller, *actions)

    async def _send_error(self, message: SubscribeMessage, error: GraphQLError) -> None:
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})

    async def handle_task_exception(self, error: Exception) -> None:
        # A socket that the client or the server closed during the operation is no error, so log no traceback.
        if not isinstance(error, WebSocketDisconnected | SocketClosed):
            await super().handle_task_exception(error)

    # Overrides Strawberry, which encodes each message again for each client.
    async def _send_result_stream(self, operation: Operation[Context, None], result_source: StreamResult) -> None:
        socket = cast(Socket, self.websocket)
        prefix = f'{{"id":{json.dumps(operation.id)},"type":"next","payload":'

        async def unshared_results() -> StreamResult:
            async for result in result_source:
                if isinstance(result, SharedResult):
                    await socket.send_text(f"{prefix}{result.payload}}}")
                else:
                    yield result

        async with aclosing(unshared_results()) as results:
            await super()._send_result_stream(operation, results)

    def forget_id(self, id: str) -> None:
        # The client may have completed or left at the same moment.
        self.operations.pop(id, None)

    # Overrides Strawberry, which closes the socket with all its operations for an error in one.
    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        return None


def message_problem(message: Any) -> str | None:
    """Why a message from the client is invalid; None when it is valid."""
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    kind, payload = message.get("type"), message.get("payload")
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        return f"A message {kind!r} must have a string `id`"
    if kind == "subscribe":
        return None if _is_operation(payload) else "The payload of `subscribe` must have a string `query`"
    return None if isinstance(payload, dict | None) else "A payload must be an object"


def _is_operation(payload: Any) -> bool:
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
        and isinstance(payload.get("extensions"), dict | None)
    )
