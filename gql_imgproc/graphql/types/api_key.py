"""API keys, without their secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import strawberry

from gql_imgproc.access import key_repository
from gql_imgproc.access.api_keys import global_id
from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.graphql.types.connection import CursorKind, PageInfo, cursor, total_count
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.node import Node
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
        return cls(
            id=strawberry.ID(global_id(key)),
            public_id=key.public_id,
            name=key.name,
            scopes=[scope for scope in Scope if scope in key.scopes],
            state=key.state,
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            revoked_at=key.revoked_at,
        )


@strawberry.type(description="One API key in a page.")
class ApiKeyEdge:
    cursor: str = strawberry.field(description="Opaque position of this API key.")
    node: ApiKey = strawberry.field(description="The API key.")


@strawberry.type(description="A page of API keys.")
class ApiKeyConnection:
    count: strawberry.Private[Callable[[], Awaitable[int]]]
    edges: list[ApiKeyEdge] = strawberry.field(description="The edges of this page.")
    page_info: PageInfo = strawberry.field(description="About this page.")

    @cost_field("Number of API keys on all pages.")
    async def total_count(self) -> int:
        return await self.count()

    @classmethod
    def from_page(
        cls, window: PageWindow, page: Page[key_repository.ApiKey], count: Callable[[], Awaitable[int]]
    ) -> ApiKeyConnection:
        return cls(
            count=total_count(window, page, count),
            edges=[
                ApiKeyEdge(cursor=cursor(CursorKind.API_KEYS, key), node=ApiKey.from_row(api_key))
                for key, api_key in page.rows
            ],
            page_info=PageInfo.from_page(CursorKind.API_KEYS, window, page),
        )
