"""Who asks for a file: by an address that opens by itself, or by an API key."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection
from starlette.requests import Request

from gql_imgproc.core.rights import Scope
from gql_imgproc.core.signed_paths import SIGNATURE
from gql_imgproc.errors import AddressOver, ScopeMissing
from gql_imgproc.graphql.admission import admitted
from gql_imgproc.graphql.context import House
from gql_imgproc.identifiers import DEFAULT_TENANT


async def visitor(request: Request, owner: Callable[[Connection], UUID | None]) -> UUID:
    """The tenant in whose name a file is asked for; `owner` tells whose it is, of which a signature is proof enough.

    Raises KeyMissing, KeyRefused, RateLimited, ScopeMissing or AddressOver.
    """
    house: House = request.app.state.house
    if SIGNATURE in request.query_params:
        if not await house.signing.believes(request.url.path, request.query_params):
            raise AddressOver
        # What has gone since is nobody's.
        return await house.resources.db.read(owner) or DEFAULT_TENANT
    caller = await admitted(house, request)
    if Scope.READ not in caller.scopes:
        raise ScopeMissing(Scope.READ)
    return caller.tenant_id
