"""API keys, without their secrets."""

from __future__ import annotations

from datetime import datetime

import strawberry

from gql_imgproc.access import key_repository
from gql_imgproc.access.api_keys import global_id
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.view import view
from gql_imgproc.security.api_key import ApiKeyState
from gql_imgproc.security.scopes import Scope


@strawberry.type(description="An API key of the caller's tenant, without its secret; only admins see it.")
class ApiKey(Node):
    public_id: str = strawberry.field(description="Public part of the key; it follows `gip_`.")
    name: str = strawberry.field(description="What the key is for.")
    scopes: list[Scope] = strawberry.field(description="Scopes of the key.")
    state: ApiKeyState = strawberry.field(description="Whether the key is valid.")
    created_at: datetime = strawberry.field(description="When the key was created.")
    expires_at: datetime | None = strawberry.field(description="When the key expires; null when it does not.")
    last_used_at: datetime | None = strawberry.field(description="When the key was last used, to the minute.")
    revoked_at: datetime | None = strawberry.field(description="When the key was revoked; null when it was not.")

    @classmethod
    def from_row(cls, key: key_repository.ApiKey) -> ApiKey:
        scopes = [scope for scope in Scope if scope in key.scopes]
        return view(cls, key, id=strawberry.ID(global_id(key)), scopes=scopes)
