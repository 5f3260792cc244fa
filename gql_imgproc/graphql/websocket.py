"""GraphQL over WebSockets, protocol `graphql-transport-ws`.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack, aclosing, suppress
from typing import Any
from urllib.parse import urlsplit

from graphql import GraphQLError, OperationType
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected, WebSocketState
from strawberry.types.execution import PreExecutionError

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.database.migrations import UNUSABLE
from gql_imgproc.errors import RateLimited
from gql_imgproc.graphql.auth import CLOSE_FORBIDDEN, SocketRejected, authenticate_socket
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.documents import Operation
from gql_imgproc.graphql.errors import KEY_EXPIRED, Code, coded_error, mask_error
from gql_imgproc.graphql.execution import stream
from gql_imgproc.graphql.request_body import BadRequest, OperationFields, decode_json
from gql_imgproc.graphql.shared_subscriptions import encode_result
from gql_imgproc.net.address_policy import DEFAULT_PORTS
from gql_imgproc.security.scopes import Caller

PROTOCOL = "graphql-transport-ws"
#: Seconds that a new WebSocket may take for its first message.
SOCKET_INIT_SECONDS = 10
#: Operations running at once on one WebSocket.
MAX_OPERATIONS_PER_SOCKET = 100
#: Longest close reason, in bytes of UTF-8: the limit of a control frame (RFC 6455, 5.5).
MAX_REASON_BYTES = 123
#: Close code for a message that does not follow the protocol.
CLOSE_INVALID = 4400
#: Errors of sending on a WebSocket that the client or the server has closed.
_CLOSED = (WebSocketDisconnect, WebSocketDisconnected)


async def serve_socket(socket: WebSocket) -> None:
    """Serves one WebSocket until one side closes it."""
    app_state: AppState = socket.app.state.app_state
    if not is_allowed_origin(socket, app_state.runtime.settings.public_url):
        # Rejects the handshake with status 403.
        await socket.close()
        return
    is_supported = PROTOCOL in socket.scope["subprotocols"]
    await socket.accept(PROTOCOL if is_supported else None)
    session = Session(socket, app_state)
    if is_supported:
        await session.run()
    else:
        await session.close(4406, f"Unsupported subprotocol. Use {PROTOCOL}.")


def is_allowed_origin(socket: WebSocket, public_url: str) -> bool:
    """Whether a page may open the WebSocket: one of this host or of the public URL. Other clients send no origin."""
    origin = socket.headers.get("origin")
    if origin is None or socket.headers.get("sec-fetch-site") == "same-origin":
        return True
    try:
        parts, host, public = urlsplit(origin), urlsplit(f"//{socket.headers.get('host', '')}"), urlsplit(public_url)
        default = DEFAULT_PORTS.get(parts.scheme)
        page = parts.hostname, parts.port or default
        # A proxy may end TLS, so the scheme of this connection need not be that of the page.
        is_same_host = page == (host.hostname, host.port or default)
        is_public = parts.scheme == public.scheme and page == (public.hostname, public.port or default)
    except ValueError:
        return False
    return parts.hostname is not None and (is_same_host or is_public)


class Session:
    """One WebSocket and its operations. An error in one operation ends that operation, not the others."""

    def __init__(self, socket: WebSocket, app_state: AppState) -> None:
        self._socket = socket
        self._app_state = app_state
        self._has_init = False
        #: Set when the first message is acknowledged.
        self._caller: Caller | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}
        #: The tasks of all operations, also of those that the client completed and that still clean up.
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Handles messages until one side closes the WebSocket."""
        init_deadline = asyncio.get_running_loop().time() + SOCKET_INIT_SECONDS
        with ExitStack() as key_watch:
            try:
                while (text := await self._receive(None if self._has_init else init_deadline)) is not None:
                    await self._handle(text, key_watch)
            except SocketRejected as error:
                await self.close(error.code, str(error))
            except _CLOSED:
                pass
            finally:
                self._cancel_operations()
                if self._tasks:
                    await asyncio.wait(self._tasks)

    async def close(self, code: int, reason: str) -> None:
        if self._is_open:
            # Some reasons quote the client. One that is too long would break the connection without a reason.
            text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
            with suppress(*_CLOSED):
                await self._socket.close(code, text)

    @property
    def _is_open(self) -> bool:
        return self._socket.application_state is WebSocketState.CONNECTED

    async def _receive(self, deadline: float | None) -> str | None:
        """The next message; None when the WebSocket is closed."""
        try:
            async with asyncio.timeout_at(deadline):
                message = await self._socket.receive()
        except TimeoutError:
            raise SocketRejected(4408, "Connection initialisation timeout") from None
        if message["type"] == "websocket.disconnect" or not self._is_open:
            return None
        if (text := message.get("text")) is None:
            raise SocketRejected(CLOSE_INVALID, "A message must be text")
        return str(text)

    async def _handle(self, text: str, key_watch: ExitStack) -> None:
        try:
            message = decode_json(text)
        except ValueError:
            raise SocketRejected(CLOSE_INVALID, "A message must be JSON") from None
        if not isinstance(message, dict):
            raise SocketRejected(CLOSE_INVALID, "A message must be a JSON object")
        kind, payload = message.get("type"), message.get("payload")
        if not isinstance(payload, dict | None):
            raise SocketRejected(CLOSE_INVALID, "A payload must be an object")
        match kind:
            case "connection_init":
                await self._initialize(payload or {}, key_watch)
            case "ping":
                # With its payload, so that a client can match them.
                await self._send({"type": "pong"} | ({"payload": payload} if payload is not None else {}))
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(_id_of(message), payload or {})
            case "complete":
                if task := self._operations.pop(_id_of(message), None):
                    task.cancel()
            case _:
                raise SocketRejected(CLOSE_INVALID, f"Unknown message type: {kind}")

    async def _initialize(self, payload: dict[str, Any], key_watch: ExitStack) -> None:
        if self._has_init:
            raise SocketRejected(4429, "Too many initialisation requests")
        self._has_init = True
        self._caller = await authenticate_socket(self._app_state, self._socket, payload)
        key_watch.enter_context(
            self._app_state.authenticator.watch_session(self._caller, self._on_key_revoked),
        )
        await self._send({"type": "connection_ack"})

    def _on_key_revoked(self) -> None:
        self._app_state.runtime.background.start(("close-socket", id(self)), self._close_session)

    async def _close_session(self) -> None:
        """Ends all operations and closes the WebSocket, because the API key expired or was revoked."""
        self._cancel_operations()
        await self.close(CLOSE_FORBIDDEN, KEY_EXPIRED)

    def _cancel_operations(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _subscribe(self, id: str, payload: dict[str, Any]) -> None:
        if self._caller is None:
            raise SocketRejected(4401, "Unauthorized")
        if id in self._operations:
            raise SocketRejected(4409, f"Subscriber for {id} already exists")
        try:
            fields = OperationFields.parse(payload)
        except BadRequest as error:
            raise SocketRejected(CLOSE_INVALID, str(error)) from None
        try:
            if len(self._operations) >= MAX_OPERATIONS_PER_SOCKET:
                raise coded_error(
                    Code.TOO_MANY_OPERATIONS,
                    f"This socket has {MAX_OPERATIONS_PER_SOCKET} running operations, the limit."
                    " Complete some, or open another socket.",
                )
            operation = await self._prepare(fields, self._caller)
        except GraphQLError as error:
            await self._send_errors(id, [error])
            return
        self._operations[id] = task = asyncio.create_task(
            self._execute(id, operation, Context(self._app_state, self._caller))
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, fields: OperationFields, caller: Caller) -> Operation:
        """Counts and parses an operation. Raises GraphQLError, or SocketRejected without a valid API key."""
        try:
            if not await self._app_state.authenticator.is_still_valid(caller):
                raise SocketRejected(CLOSE_FORBIDDEN, KEY_EXPIRED)
            await self._app_state.rate_limiter.hit(caller, RateLimitedAction.OPERATIONS)
            operation = await self._app_state.persisted_queries.parse(fields)
            if operation.kind is OperationType.SUBSCRIPTION:
                await self._app_state.rate_limiter.hit(caller, RateLimitedAction.SUBSCRIPTIONS)
        except RateLimited as error:
            raise coded_error(Code.RATE_LIMITED, str(error), retryAfter=error.retry_after_s) from None
        except UNUSABLE as error:
            # Without the database the operation would fail too.
            raise mask_error(GraphQLError("", original_error=error)) from None
        return operation

    async def _execute(self, id: str, operation: Operation, context: Context) -> None:
        prefix = f'{{"id":{json.dumps(id)},"type":"next","payload":'
        try:
            async with aclosing(stream(operation, context)) as results:
                async for result in results:
                    if isinstance(result, PreExecutionError):
                        self._forget(id)
                        await self._send_errors(id, result.errors or [])
                        return
                    await self._socket.send_text(f"{prefix}{encode_result(result)}}}")
            # Before the last message, so that the client can use the ID again.
            self._forget(id)
            await self._send({"id": id, "type": "complete"})
        except _CLOSED:
            pass
        except Exception as error:
            self._forget(id)
            with suppress(*_CLOSED):
                await self._send_errors(id, [mask_error(GraphQLError("", original_error=error))])
        finally:
            self._forget(id)

    def _forget(self, id: str) -> None:
        # The client may have completed this operation and started another one with the same ID.
        if self._operations.get(id) is asyncio.current_task():
            del self._operations[id]

    async def _send_errors(self, id: str, errors: Sequence[GraphQLError]) -> None:
        await self._send({"id": id, "type": "error", "payload": [error.formatted for error in errors]})

    async def _send(self, message: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(message, separators=(",", ":")))


def _id_of(message: dict[str, Any]) -> str:
    id = message.get("id")
    if not (isinstance(id, str) and id):
        raise SocketRejected(CLOSE_INVALID, "A message of this type must have a string `id`")
    return id
