"""API keys: over HTTP in a header, over WebSocket in the first message, never in a URL."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.errors import (
    ApiKeyRejected,
    ApiKeyRequired,
    DatabaseUnavailable,
    RateLimited,
    unavailable_message,
)
from gql_imgproc.graphql.context import AppState
from gql_imgproc.graphql.errors import Code
from gql_imgproc.graphql.multipart import is_multipart
from gql_imgproc.graphql.request_body import BadRequest
from gql_imgproc.net.client_ip import client_ip
from gql_imgproc.security.scopes import Caller

log = logging.getLogger(__name__)

AUTHORIZATION = "authorization"
#: Header of a response with status 401 (RFC 6750, 3).
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gql-imgproc"'}
#: Close code of a WebSocket whose caller is not, or no longer, authenticated.
CLOSE_FORBIDDEN = 4403
#: Close code of a WebSocket whose caller may try again later; clients then reconnect (RFC 6455, close code registry).
CLOSE_TRY_AGAIN_LATER = 1013


class SocketRejected(Exception):
    """A WebSocket must be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


async def authenticate_http(app_state: AppState, connection: HTTPConnection) -> Caller:
    """The caller of an HTTP request. Raises ApiKeyRequired, ApiKeyRejected or RateLimited."""
    return await app_state.authenticator.authenticate(
        parse_bearer(connection.headers.get(AUTHORIZATION)), caller_ip(app_state, connection)
    )


async def authenticate_graphql(app_state: AppState, request: Request) -> Caller:
    """The caller of an operation, which is counted before its body is read. Raises as `authenticate_http` does."""
    caller = await authenticate_http(app_state, request)
    uploads = (RateLimitedAction.UPLOADS,) if is_multipart(request) else ()
    await app_state.rate_limiter.hit(caller, *uploads, RateLimitedAction.OPERATIONS)
    return caller


def to_bad_request(error: ApiKeyRequired | ApiKeyRejected | RateLimited) -> BadRequest:
    if isinstance(error, RateLimited):
        extensions: dict[str, object] = {"retryAfter": error.retry_after_s}
        return BadRequest(429, str(error), code=Code.RATE_LIMITED, headers=retry_after(error), extensions=extensions)
    return BadRequest(401, str(error), code=Code.UNAUTHENTICATED, headers=CHALLENGE)


def retry_after(error: RateLimited) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)}


async def authenticate_socket(app_state: AppState, socket: WebSocket, payload: Mapping[str, object]) -> Caller:
    """The caller of a WebSocket, by the payload of its first message: browsers cannot send headers with a WebSocket.

    Raises SocketRejected.
    """
    params = (value for name, value in payload.items() if name.lower() == AUTHORIZATION)
    try:
        return await app_state.authenticator.authenticate(
            parse_bearer(next(params, None)), caller_ip(app_state, socket)
        )
    except (ApiKeyRequired, ApiKeyRejected) as error:
        raise SocketRejected(CLOSE_FORBIDDEN, str(error)) from None
    except RateLimited as error:
        raise SocketRejected(CLOSE_TRY_AGAIN_LATER, str(error)) from None
    except DatabaseUnavailable as error:
        log.warning("a WebSocket cannot be authenticated", extra={"reason": str(error)})
        raise SocketRejected(CLOSE_TRY_AGAIN_LATER, unavailable_message(error) or "") from None


def parse_bearer(authorization: object) -> str | None:
    """The API key in an `Authorization` header (RFC 6750, 2.1). Raises ApiKeyRejected for another scheme."""
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ") if isinstance(authorization, str) else ("", "", "")
    if scheme.lower() != "bearer":
        raise ApiKeyRejected("Send it as `Authorization: Bearer gip_…`.")
    return key.strip()


def caller_ip(app_state: AppState, connection: HTTPConnection) -> str:
    """The client's IP address; empty for a Unix socket."""
    nearest = connection.client.host if connection.client else ""
    trusted = app_state.runtime.settings.trusted_proxies
    if not trusted:
        return nearest
    return client_ip(nearest, ",".join(connection.headers.getlist("x-forwarded-for")), trusted)
