"""How callers present an API key: in a header over HTTP, in the first message of a WebSocket, never in an address."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket
from strawberry.exceptions import ConnectionRejectionError

from gql_imgproc.access.rate_limits import Deed
from gql_imgproc.errors import KeyMissing, KeyRefused, RateLimited
from gql_imgproc.graphql.context import Context, House
from gql_imgproc.graphql.errors import KEY_OVER, Code, told
from gql_imgproc.graphql.multipart import is_multipart
from gql_imgproc.graphql.request_body import Refused
from gql_imgproc.net.client_ip import caller_of
from gql_imgproc.security.scopes import Caller

AUTHORIZATION = "authorization"
#: What an answer with the status 401 says of how to do better (RFC 6750, 3).
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gql-imgproc"'}
#: Status of the socket of a caller who may not come in, or not stay.
FORBIDDEN_SOCKET = 4403
#: The same of one who may try again later, as clients then do by themselves (RFC 6455, registry of close codes).
BUSY_SOCKET = 1013


async def admitted(house: House, connection: HTTPConnection) -> Caller:
    """Who sent an HTTP request. Raises KeyMissing, KeyRefused or RateLimited."""
    return await house.entrance.admit(bearer(connection.headers.get(AUTHORIZATION)), peer(house, connection))


async def admitted_to_graphql(house: House, request: Request) -> Caller:
    """Who sent an operation, which is counted before its body is read; refuses as the door of GraphQL does."""
    try:
        caller = await admitted(house, request)
        await house.counts.count(caller, *((Deed.UPLOADS,) if is_multipart(request) else ()), Deed.OPERATIONS)
    except (KeyMissing, KeyRefused) as refused:
        raise Refused(401, str(refused), code=Code.UNAUTHENTICATED, headers=CHALLENGE) from None
    except RateLimited as refused:
        raise too_often(refused) from None
    return caller


async def still_admitted(house: House, caller: Caller) -> None:
    """Refuses, as the door of GraphQL does, a caller whose key has ended since it was admitted."""
    if not await house.entrance.still_admits(caller):
        raise Refused(401, KEY_OVER, code=Code.UNAUTHENTICATED, headers=CHALLENGE)


def too_often(refused: RateLimited) -> Refused:
    """An answer that tells when to come back."""
    return Refused(429, str(refused), code=Code.RATE_LIMITED, headers=retry_after(refused), extensions=told(refused))


def retry_after(refused: RateLimited) -> dict[str, str]:
    return {"Retry-After": str(refused.retry_after_s)}


async def admit_socket(context: Context, socket: WebSocket) -> None:
    """Admits, or closes, a socket whose first message has come. Browsers cannot send headers with one."""
    said = (value for name, value in context.connection_params.items() if name.lower() == AUTHORIZATION)
    try:
        context.admit(await context.house.entrance.admit(bearer(next(said, None)), peer(context.house, socket)))
    except (KeyMissing, KeyRefused, RateLimited) as refused:
        # Here, since Strawberry would not say why.
        await socket.close(BUSY_SOCKET if isinstance(refused, RateLimited) else FORBIDDEN_SOCKET, str(refused))
        raise ConnectionRejectionError from None


def bearer(authorization: object) -> str | None:
    """The key in the value of an `Authorization` (RFC 6750, 2.1). Raises KeyRefused when it is none."""
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ") if isinstance(authorization, str) else ("", "", "")
    if scheme.lower() != "bearer":
        raise KeyRefused("Send it as `Authorization: Bearer gip_…`.")
    return key.strip()


def peer(house: House, connection: HTTPConnection) -> str:
    """The network address of who calls; empty for a socket of this machine that has none."""
    nearest = connection.client.host if connection.client else ""
    trusted = house.resources.settings.trusted_proxies
    if not trusted:
        return nearest
    return caller_of(nearest, ",".join(connection.headers.getlist("x-forwarded-for")), trusted)
