"""GraphQL over WebSockets, protocol `graphql-transport-ws`."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, cast

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect
from starlette.websockets import WebSocketDisconnected as SocketClosed
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.schema.schema import StreamResult
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation

from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.sharing import SharedResult

#: Longest reason for closing a socket, in bytes of UTF-8: a control frame holds no more (RFC 6455, 5.5).
MAX_REASON_BYTES = 123


class Socket(ASGIWebSocketAdapter):
    """A socket that can be closed whatever the reason repeats of what it was sent."""

    async def close(self, code: int, reason: str) -> None:
        await super().close(code, reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore"))


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One socket. What is wrong with one operation ends that operation, not its neighbours."""

    async def handle_message(self, message: Any) -> None:
        payload = message.get("payload") if isinstance(message, dict) else None
        if not isinstance(message, dict) or not isinstance(message.get("id", ""), str):
            await self.handle_invalid_message("A message must be a JSON object, its `id` a text")
        elif message.get("type") == "subscribe" and not _is_operation(payload):
            await self.handle_invalid_message("The payload of `subscribe` must have the text `query`")
        else:
            await super().handle_message(message)  # type: ignore[arg-type]  # looked at above

    async def handle_task_exception(self, error: Exception) -> None:
        # That a client has left, or that we have closed the socket for what it sent beside this operation, is no fault
        # and needs no traceback in the log.
        if not isinstance(error, WebSocketDisconnected | SocketClosed):
            await super().handle_task_exception(error)

    async def _send_result_stream(self, operation: Operation[Context, None], result_source: StreamResult) -> None:
        before = f'{{"id":{json.dumps(operation.id)},"type":"next","payload":'

        async def not_shared() -> StreamResult:
            async for result in result_source:
                if isinstance(result, SharedResult):
                    await self._send_text(f"{before}{result.payload}}}")
                else:
                    yield result

        async with aclosing(not_shared()) as others:
            await super()._send_result_stream(operation, others)

    async def _send_text(self, text: str) -> None:
        try:
            await cast(ASGIWebSocketAdapter, self.websocket).ws.send_text(text)
        except WebSocketDisconnect as error:
            raise WebSocketDisconnected from error

    def forget_id(self, id: str) -> None:
        # The client may have completed or left in the moment in which we complete.
        self.operations.pop(id, None)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        return None


def _is_operation(payload: Any) -> bool:
    return (
        isinstance(payload, dict)
        and isinstance(query := payload.get("query"), str)
        and bool(query.strip())
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )
