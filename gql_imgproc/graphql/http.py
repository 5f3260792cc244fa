"""GraphQL over HTTP, server-sent events, Apollo's multipart subscriptions and WebSockets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, cast

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError, OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import MissingQueryError
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData, GraphQLRequestProtocol
from strawberry.http.streaming import AsyncTextStream, HTTPStreamTransport
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import (
    GRAPHQL_SSE_PROTOCOL,
    GRAPHQL_TRANSPORT_WS_PROTOCOL,
    MULTIPART_SUBSCRIPTION_PROTOCOL,
)
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType as Operation
from strawberry.types.unset import UNSET

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.errors import RateLimited
from gql_imgproc.graphql.auth import (
    authenticate_graphql,
    authenticate_socket,
    rate_limit_response,
    require_still_authenticated,
)
from gql_imgproc.graphql.content_negotiation import (
    GRAPHQL_JSON,
    accepts_multipart,
    accepts_only_sse,
    accepts_sse,
    answer_type,
)
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.errors import (
    NO_DOCUMENT,
    Code,
    mask_error,
    retry_after_unavailable,
    unknown_operation_message,
)
from gql_imgproc.graphql.multipart import is_multipart, limited_upload, multipart_operation
from gql_imgproc.graphql.query_limits import is_subscription, select_operation
from gql_imgproc.graphql.request_body import (
    MAX_JSON_BYTES,
    BadRequest,
    Body,
    decode_json,
    media_type,
    parse_object,
    parse_operation,
    read_limited,
    require_utf_8,
)
from gql_imgproc.graphql.schema import schema
from gql_imgproc.graphql.sse import MULTIPART_TYPE, MultipartEncoder, SseEncoder, with_boundaries
from gql_imgproc.graphql.websocket import Socket, SocketHandler

#: Seconds that a new WebSocket may take for its first message.
SOCKET_INIT_SECONDS = 10
#: Operations running at once on one WebSocket.
MAX_OPERATIONS_PER_SOCKET = 100
#: A body may take hours to arrive. If it takes longer than this, in seconds, its API key is checked again.
SLOW_BODY_SECONDS = 1.0


class GraphQLEndpoint(GraphQL[Context, None]):
    """The endpoint `/graphql`. The application must set `app.state.app_state` to an AppState."""

    request_adapter_class = Body
    websocket_adapter_class = Socket
    graphql_transport_ws_handler_class = SocketHandler
    stream_transport_classes_by_protocol: Mapping[str, type[HTTPStreamTransport]] = {
        GRAPHQL_SSE_PROTOCOL: SseEncoder,
        MULTIPART_SUBSCRIPTION_PROTOCOL: MultipartEncoder,
    }

    def __init__(self, *, allowed_origins: Sequence[str] = ()) -> None:
        """`allowed_origins`: other origins whose pages may open a WebSocket."""
        super().__init__(
            schema,
            graphql_ide=None,
            multipart_uploads_enabled=True,
            subscription_protocols=(
                GRAPHQL_TRANSPORT_WS_PROTOCOL,
                GRAPHQL_SSE_PROTOCOL,
                MULTIPART_SUBSCRIPTION_PROTOCOL,
            ),
            connection_init_wait_timeout=timedelta(seconds=SOCKET_INIT_SECONDS),
            max_subscriptions_per_connection=MAX_OPERATIONS_PER_SOCKET,
            allowed_origins=allowed_origins,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            limited = limited_upload(request) if is_multipart(request) else read_limited(request, MAX_JSON_BYTES)
            request = Request(scope, limited)
            response = await self.run(request)
        except ClientDisconnect:
            return
        except HTTPException as error:
            response = error_response(error, request.headers.get("accept", ""))
        except Exception as error:
            # Outside of an operation, where the schema would have masked it.
            masked = mask_error(GraphQLError("", original_error=error)).formatted
            retry_after_s = retry_after_unavailable([masked])
            status, headers = (503, {"Retry-After": str(retry_after_s)}) if retry_after_s else (500, {})
            response = _json_error(masked, status, headers, request.headers.get("accept", ""))
        try:
            await response(scope, receive, send)
        finally:
            await request.close()

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        app_state: AppState = request.app.state.app_state
        if isinstance(request, WebSocket):
            return Context(app_state, None, response)
        # Before the body is read.
        request.state.caller = caller = await authenticate_graphql(app_state, request)
        return Context(app_state, caller, response)

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        await authenticate_socket(context, cast(WebSocket, context.response))
        # An acknowledgement without a payload.
        return cast(None, UNSET)

    async def get_sub_response(self, request: Request) -> Response:  # type: ignore[override]  # never a WebSocket
        response = await super().get_sub_response(request)
        response.media_type = answer_type(request.headers.get("accept", ""))
        return response

    def should_render_graphql_ide(self, request: Any) -> bool:
        return False

    def is_request_allowed(self, request: Any) -> bool:
        if request.method not in ("GET", "POST"):
            raise BadRequest(405, "Only GET and POST are supported.", headers={"Allow": "GET, POST"})
        return True

    def decode_json(self, data: str | bytes) -> Any:
        return decode_json(data)

    async def parse_http_body(self, adapter: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        request = cast(Body, adapter).request
        started_at = time.monotonic()
        operation = await _operation(request)
        if time.monotonic() - started_at > SLOW_BODY_SECONDS:
            await require_still_authenticated(request.app.state.app_state, request.state.caller)
        query, name = operation.get("query"), operation.get("operationName")
        if not isinstance(query, str) or not query.strip():
            raise BadRequest(400, NO_DOCUMENT)
        if not isinstance(name, str | None):
            raise BadRequest(400, "`operationName` must be a string or null.")
        for field in ("variables", "extensions"):
            if not isinstance(operation.get(field), dict | None):
                raise BadRequest(400, f"`{field}` must be an object or null.")
        protocol = self._protocol(request, query, name or None)
        if protocol != "http" and is_subscription(query, name or None):
            await _count_subscription(request)
        return GraphQLRequestData(
            query=query,
            variables=operation.get("variables"),
            operation_name=name or None,
            extensions=operation.get("extensions"),
            protocol=protocol,
        )

    def _protocol(self, request: Request, query: str, name: str | None) -> GraphQLRequestProtocol:
        """How to respond: with JSON if the client accepts it, except for subscriptions."""
        accept = request.headers.get("accept", "")
        multipart = accepts_multipart(accept)
        if not (accepts_sse(accept) or multipart):
            return "http"
        if accepts_only_sse(accept):
            # After the stream has started, no status can reject it.
            if request.method == "GET" and select_operation(query, name) is OperationType.MUTATION:
                raise mutation_over_get()
            return "sse"
        if not is_subscription(query, name):
            return "http"
        return "multipart-subscription" if multipart else "sse"

    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        allowed = {Operation.QUERY, Operation.MUTATION} if request.method == "POST" else {Operation.QUERY}
        try:
            return await self.schema.execute(
                request_data.query,
                variable_values=request_data.variables,
                context_value=context,
                operation_name=request_data.operation_name,
                operation_extensions=request_data.extensions,
                allowed_operation_types=allowed,
            )
        except CannotGetOperationTypeError as error:
            raise BadRequest(400, unknown_operation_message(error)) from error
        except InvalidOperationTypeError as error:
            if error.operation_type is Operation.SUBSCRIPTION:
                raise BadRequest(
                    400,
                    "A subscription needs a WebSocket, `Accept: text/event-stream`,"
                    " or `Accept: multipart/mixed;subscriptionSpec=1.0, application/json`.",
                ) from error
            raise mutation_over_get() from error
        except MissingQueryError as error:
            raise BadRequest(400, NO_DOCUMENT) from error

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        # The schema has masked errors already, except those from outside of its extensions.
        result.errors = result.errors and [mask_error(error) for error in result.errors]
        response = await super().process_result(request, result)
        if result.data is None and result.errors and not any(error.path for error in result.errors):
            # Nothing was executed: GraphQL over HTTP requires a response without `data`.
            response.pop("data", None)
        return response

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        response = super().create_response(response_data, sub_response)
        kind = sub_response.media_type or "application/json"
        response.headers["content-type"] = f"{kind}; charset=utf-8"
        response.headers["vary"] = "Accept"
        assert isinstance(response_data, dict)  # not a batch: those are rejected
        if "data" not in response_data and kind == GRAPHQL_JSON:
            response.status_code = 400
        if retry_after_s := retry_after_unavailable(response_data.get("errors") or ()):
            response.headers["retry-after"] = str(retry_after_s)
            # For clients that only check the status. GRAPHQL_JSON requires 2xx for a response with `data`, even null.
            if response_data.get("data") is None and (kind != GRAPHQL_JSON or "data" not in response_data):
                response.status_code = 503
        return response

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        if headers["Content-Type"] == MULTIPART_TYPE:
            stream = partial(with_boundaries, cast(AsyncTextStream, stream))
        return await super().create_streaming_response(request, stream, sub_response, headers)


async def _count_subscription(request: Request) -> None:
    """Counts a subscription before its stream starts, while a status can still reject it."""
    app_state: AppState = request.app.state.app_state
    try:
        await app_state.rate_limiter.hit(request.state.caller, RateLimitedAction.SUBSCRIPTIONS)
    except RateLimited as error:
        raise rate_limit_response(error) from None


async def _operation(request: Request) -> dict[str, Any]:
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
            return parse_operation(await request.body(), "The body")
        case "multipart/form-data":
            return await multipart_operation(request)
    raise BadRequest(415, "Unsupported content type. Send application/json, or multipart/form-data with a file.")


def mutation_over_get() -> BadRequest:
    return BadRequest(405, "A mutation needs POST.", headers={"Allow": "POST"})


def error_response(error: HTTPException, accept: str) -> JSONResponse:
    """A response in the form of a GraphQL error."""
    extensions = error.extensions if isinstance(error, BadRequest) else {"code": Code.BAD_REQUEST.value}
    headers = {"Vary": "Accept"} | ((error.headers if isinstance(error, BadRequest) else None) or {})
    return _json_error({"message": error.reason, "extensions": extensions}, error.status_code, headers, accept)


def _json_error(error: Any, status: int, headers: Mapping[str, str], accept: str) -> JSONResponse:
    return JSONResponse({"errors": [error]}, status, headers, media_type=answer_type(accept))
