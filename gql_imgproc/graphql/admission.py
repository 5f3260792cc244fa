"""How callers present an API key: in a header over HTTP, in the first message of a WebSocket, never in an address."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket
from strawberry.exceptions import ConnectionRejectionError

from gql_imgproc.core.rights import Caller
from gql_imgproc.errors import KeyMissing, KeyRefused
from gql_imgproc.graphql.bodies import Refused
from gql_imgproc.graphql.context import Context
from gql_imgproc.graphql.faults import Code
from gql_imgproc.services.access import Entrance

AUTHORIZATION = "authorization"
#: What an answer with the status 401 says of how to do better (RFC 6750, 3).
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="gql-imgproc"'}
#: Status of the socket of a caller who may not come in, or not stay.
FORBIDDEN_SOCKET = 4403


async def admitted(entrance: Entrance, connection: HTTPConnection) -> Caller:
    """Who sent an HTTP request. Raises KeyMissing or KeyRefused."""
    return await entrance.admit(bearer(connection.headers.get(AUTHORIZATION)), peer(connection))


async def admitted_to_graphql(entrance: Entrance, connection: HTTPConnection) -> Caller:
    """As `admitted`; refuses as the door of GraphQL does."""
    try:
        return await admitted(entrance, connection)
    except (KeyMissing, KeyRefused) as refused:
        raise Refused(401, str(refused), code=Code.UNAUTHENTICATED, headers=CHALLENGE) from None


async def admit_socket(context: Context, socket: WebSocket) -> None:
    """Admits, or closes, a socket whose first message has come. Browsers cannot send headers with one."""
    said = (value for name, value in context.connection_params.items() if name.lower() == AUTHORIZATION)
    try:
        context.admit(await context.house.entrance.admit(bearer(next(said, None)), peer(socket)))
    except (KeyMissing, KeyRefused) as refused:
        # Here, since Strawberry would not say why.
        await socket.close(FORBIDDEN_SOCKET, str(refused))
        raise ConnectionRejectionError from None


def bearer(authorization: object) -> str | None:
    """The key in the value of an `Authorization` (RFC 6750, 2.1). Raises KeyRefused when it is none."""
    if authorization is None:
        return None
    scheme, _, key = authorization.partition(" ") if isinstance(authorization, str) else ("", "", "")
    if scheme.lower() != "bearer":
        raise KeyRefused("Send it as `Authorization: Bearer gip_…`.")
    return key.strip()


def peer(connection: HTTPConnection) -> str:
    """The network address at the other end; empty for a socket of this machine that has none."""
    return connection.client.host if connection.client else ""
