"""Authorization of file routes, by API key or by a signed URL."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from sqlalchemy import Connection
from starlette.requests import Request

from gql_imgproc.errors import ScopeMissing, SignedUrlInvalid
from gql_imgproc.graphql.auth import authenticate_http
from gql_imgproc.graphql.context import AppState
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.scopes import Scope
from gql_imgproc.security.url_signature import SIGNATURE


async def authorize_file(request: Request, find_owner: Callable[[Connection, UUID], UUID | None], row_id: UUID) -> UUID:
    """Returns the tenant to read the file as. A valid signature grants access as the owner of the row.

    Raises ApiKeyRequired, ApiKeyRejected, RateLimited, ScopeMissing or SignedUrlInvalid.
    """
    app_state: AppState = request.app.state.app_state
    if SIGNATURE in request.query_params:
        if not await app_state.url_signer.verify(request.url.path, request.query_params):
            raise SignedUrlInvalid
        # A row that was deleted has no owner; the route then finds nothing.
        return await app_state.runtime.db.read(find_owner, row_id) or DEFAULT_TENANT
    caller = await authenticate_http(app_state, request)
    if Scope.READ not in caller.scopes:
        raise ScopeMissing(Scope.READ)
    return caller.tenant_id
