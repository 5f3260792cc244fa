"""How callers present an API key: in a header over HTTP, in the first message of a WebSocket, never in an address."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket
from strawberry.exceptions import ConnectionRejectionError

from gql_imgproc.access.rate_limits import RateLimitedAction
from gql_imgproc.errors import ApiKeyRejected, ApiKeyRequired, RateLimited
from gql_imgproc.graphql.context import AppState, Context
from gql_imgproc.graphql.errors import KEY_EXPIRED, Code, error_extensions
from gql_imgproc.graphql.multipart import is_multipart
from gql_imgproc.graphql.request_body import BadRequest
from gql_imgproc.net.client_ip import client_ip
from gql_imgproc.security.scopes import Caller

AUTHORIZATION = "authorization"
#: What an answer with the status 401 says of how to do better (RFC 6750, 3).
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gql-imgproc"'}
#: Status of the socket of a caller who may not come in, or not stay.
CLOSE_FORBIDDEN = 4403
#: The same of one who may try again later, as clients then do by themselves (RFC 6455, registry of close codes).
CLOSE_TRY_AGAIN_LATER = 1013


async def authenticate_http(app_state: AppState, connection: HTTPConnection) -> Caller:
    """Who sent an HTTP request. Raises KeyMissing, KeyRefused or RateLimited."""
    return await app_state.authenticator.authenticate(
        parse_bearer(connection.headers.get(AUTHORIZATION)), caller_ip(app_state, connection)
    )


async def authenticate_graphql(app_state: AppState, request: Request) -> Caller:
    """Who sent an operation, which is counted before its body is read; refuses as the door of GraphQL does."""
    try:
        caller = await authenticate_http(app_state, request)
        await app_state.rate_limiter.hit(
            caller, *((RateLimitedAction.UPLOADS,) if is_multipart(request) else ()), RateLimitedAction.OPERATIONS
        )
    except (ApiKeyRequired, ApiKeyRejected) as refused:
        raise BadRequest(401, str(refused), code=Code.UNAUTHENTICATED, headers=CHALLENGE) from None
    except RateLimited as refused:
        raise rate_limit_response(refused) from None
    return caller


async def is_still_authenticated(app_state: AppState, caller: Caller) -> None:
    """Refuses, as the door of GraphQL does, a caller whose key has ended since it was admitted."""
    if not await app_state.authenticator.is_still_valid(caller):
        raise BadRequest(401, KEY_EXPIRED, code=Code.UNAUTHENTICATED, headers=CHALLENGE)


def rate_limit_response(refused: RateLimited) -> BadRequest:
    """An answer that tells when to come back."""
    return BadRequest(
        429, str(refused), code=Code.RATE_LIMITED, headers=retry_after(refused), extensions=error_extensions(refused)
    )


def retry_after(refused: RateLimited) -> dict[str, str]:
    return {"Retry-After": str(refused.retry_after_s)}


async def authenticate_socket(context: Context, socket: WebSocket) -> None:
    """Admits, or closes, a socket whose first message has come. Browsers cannot send headers with one."""
    said = (value for name, value in context.connection_params.items() if name.lower() == AUTHORIZATION)
    try:
        context.set_caller(
            await context.app_state.authenticator.authenticate(
                parse_bearer(next(said, None)), caller_ip(context.app_state, socket)
            )
        )
    except (ApiKeyRequired, ApiKeyRejected, RateLimited) as refused:
        # Here, since Strawberry would not say why.
        await socket.close(CLOSE_TRY_AGAIN_LATER if isinstance(refused, RateLimited) else CLOSE_FORBIDDEN, str(refused))
        raise ConnectionRejectionError from None


def parse_bearer(authorization: object) -> str | None:
    """The key in the value of an `Authorization` (RFC 6750, 2.1). Raises KeyRefused when it is none."""
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ") if isinstance(authorization, str) else ("", "", "")
    if scheme.lower() != "bearer":
        raise ApiKeyRejected("Send it as `Authorization: Bearer gip_…`.")
    return key.strip()


def caller_ip(app_state: AppState, connection: HTTPConnection) -> str:
    """The network address of who calls; empty for a socket of this machine that has none."""
    nearest = connection.client.host if connection.client else ""
    trusted = app_state.runtime.settings.trusted_proxies
    if not trusted:
        return nearest
    return client_ip(nearest, ",".join(connection.headers.getlist("x-forwarded-for")), trusted)
