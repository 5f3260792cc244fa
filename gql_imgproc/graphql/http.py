"""GraphQL over HTTP: one operation per request, answered in JSON or in a stream.

https://graphql.github.io/graphql-over-http/draft/
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from graphql import GraphQLError, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.types import ExecutionResult

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.errors import ApiKeyRejected, ApiKeyRequired, RateLimited
from gql_imgproc.graphql.auth import CHALLENGE, authenticate_graphql, to_bad_request
from gql_imgproc.graphql.content_negotiation import (
    GRAPHQL_JSON,
    accepts_multipart,
    accepts_only_sse,
    accepts_sse,
    answer_type,
)
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.documents import Operation, OperationNotFound
from gql_imgproc.graphql.errors import KEY_EXPIRED, NO_DOCUMENT, Code, mask_error, retry_after_unavailable
from gql_imgproc.graphql.execution import execute, stream
from gql_imgproc.graphql.multipart import is_multipart, limited_upload, multipart_operation
from gql_imgproc.graphql.request_body import (
    MAX_JSON_BYTES,
    PERSISTED_QUERY,
    BadRequest,
    OperationFields,
    media_type,
    parse_object,
    parse_operation_object,
    read_limited,
    require_utf_8,
)
from gql_imgproc.graphql.sse import MULTIPART, SSE, Encoding, StreamResponse
from gql_imgproc.graphql.websocket import serve_socket
from gql_imgproc.security.scopes import Caller

#: A body may take hours to arrive. If it takes longer than this, in seconds, its API key is checked again.
SLOW_BODY_SECONDS = 1.0


async def serve_graphql(scope: Scope, receive: Receive, send: Send) -> None:
    """The endpoint `/graphql`. The application must set `app.state.app_state` to an AppState."""
    if scope["type"] == "websocket":
        await serve_socket(WebSocket(scope, receive, send))
        return
    request = Request(scope, receive)
    accept = request.headers.get("accept", "")
    async with AsyncExitStack() as files:
        try:
            response = await _answer(request, files)
        except ClientDisconnect:
            return
        except (BadRequest, ApiKeyRequired, ApiKeyRejected, RateLimited) as refusal:
            error = refusal if isinstance(refusal, BadRequest) else to_bad_request(refusal)
            response = _json_error(error.status, {"message": str(error), "extensions": error.extensions}, accept)
            response.headers.update(error.headers)
        except Exception as unexpected:
            # Outside of an operation, whose errors are masked already.
            masked = mask_error(GraphQLError("", original_error=unexpected)).formatted
            retry_after_s = retry_after_unavailable([masked])
            response = _json_error(503 if retry_after_s else 500, masked, accept)
            if retry_after_s:
                response.headers["Retry-After"] = str(retry_after_s)
        await response(scope, receive, send)


async def _answer(request: Request, files: AsyncExitStack) -> ASGIApp:
    """The response to a request. `files` closes the uploaded file."""
    if request.method not in ("GET", "POST"):
        raise BadRequest(405, "Only GET and POST are supported.", headers={"Allow": "GET, POST"})
    app_state: AppState = request.app.state.app_state
    receive = limited_upload(request) if is_multipart(request) else read_limited(request, MAX_JSON_BYTES)
    # Before the body is read.
    caller = await authenticate_graphql(app_state, request)
    fields = await _read_fields(Request(request.scope, receive), caller, files)
    context = Context(app_state, caller)
    operation = await app_state.persisted_queries.parse(fields)
    if request.method == "GET" and operation.kind is OperationType.MUTATION:
        raise BadRequest(405, "A mutation needs POST.", headers={"Allow": "POST"})
    accept = request.headers.get("accept", "")
    if encoding := _stream_encoding(accept, operation):
        if operation.kind is OperationType.SUBSCRIPTION:
            # Before the stream starts, while a status can still reject it.
            await app_state.rate_limiter.hit(caller, RateLimitedAction.SUBSCRIPTIONS)
        return StreamResponse(stream(operation, context), encoding)
    if operation.kind is OperationType.SUBSCRIPTION:
        raise BadRequest(
            400,
            "A subscription needs a WebSocket, `Accept: text/event-stream`,"
            " or `Accept: multipart/mixed;subscriptionSpec=1.0, application/json`.",
        )
    if isinstance(operation.error, OperationNotFound):
        raise BadRequest(400, operation.error.message)
    return _to_response(await execute(operation, context), context, answer_type(accept))


async def _read_fields(request: Request, caller: Caller, files: AsyncExitStack) -> OperationFields:
    started_at = time.monotonic()
    fields = OperationFields.parse(await _read_operation(request, files))
    if time.monotonic() - started_at > SLOW_BODY_SECONDS:
        authenticator = request.app.state.app_state.authenticator
        if not await authenticator.is_still_valid(caller):
            raise BadRequest(401, KEY_EXPIRED, code=Code.UNAUTHENTICATED, headers=CHALLENGE)
    if not fields.query.strip() and PERSISTED_QUERY not in fields.extensions:
        raise BadRequest(400, NO_DOCUMENT)
    return fields


async def _read_operation(request: Request, files: AsyncExitStack) -> dict[str, Any]:
    """The operation of a request, from its query string, JSON or multipart body."""
    if request.method == "GET":
        operation: dict[str, Any] = dict(request.query_params)
        for field in ("variables", "extensions"):
            if (text := operation.pop(field, "")) not in ("", "null"):
                operation[field] = parse_object(text, f"`{field}`")
        return operation
    match media_type(request):
        case "application/json":
            require_utf_8(request, "JSON")
            return parse_operation_object(await request.body(), "The body")
        case "multipart/form-data":
            return await multipart_operation(request, files)
    raise BadRequest(415, "Unsupported content type. Send application/json, or multipart/form-data with a file.")


def _stream_encoding(accept: str, operation: Operation) -> Encoding | None:
    """How to stream the results; None for a response in JSON."""
    # Some clients list every type they know in every request. They expect a stream for subscriptions only.
    if accepts_only_sse(accept):
        return SSE
    if operation.kind is not OperationType.SUBSCRIPTION:
        return None
    if accepts_multipart(accept):
        return MULTIPART
    return SSE if accepts_sse(accept) else None


def _to_response(result: ExecutionResult, context: Context, kind: str) -> JSONResponse:
    body: dict[str, Any] = {"data": result.data}
    if result.errors:
        body["errors"] = [error.formatted for error in result.errors]
        if result.data is None and not any(error.path for error in result.errors):
            # Nothing was executed: GraphQL over HTTP requires a response without `data`.
            del body["data"]
    # By the specification, a response of this type has status 2xx if it has `data`, even null, and no other.
    is_strict = kind == GRAPHQL_JSON
    status = (200 if "data" in body else 400) if is_strict else context.http_status
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Vary": "Accept"}
    if retry_after_s := retry_after_unavailable(body.get("errors", ())):
        headers["Retry-After"] = str(retry_after_s)
        # For clients that only check the status.
        if result.data is None and not (is_strict and "data" in body):
            status = 503
    return JSONResponse(body, status, headers)


def _json_error(status: int, error: Mapping[str, Any], accept: str) -> JSONResponse:
    return JSONResponse({"errors": [error]}, status, {"Vary": "Accept"}, media_type=answer_type(accept))
