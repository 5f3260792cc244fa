"""The context of resolvers: the runtime, the caller, loaders that batch reads, and state shared by all operations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar
from uuid import UUID

import strawberry
from sqlalchemy import Connection

from gql_imgproc.access.authentication import AnonymousAccess, Authenticator
from gql_imgproc.access.rate_limits import CallerRateLimiter
from gql_imgproc.access.signed_urls import UrlSigner
from gql_imgproc.database.migrations import UNUSABLE
from gql_imgproc.graphql.loaders import Loaders
from gql_imgproc.graphql.persisted_queries import PersistedQueries
from gql_imgproc.graphql.query_cost import ResponseBudget
from gql_imgproc.graphql.shared_subscriptions import SharedSubscriptions
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings import Settings

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger(__name__)

#: Seconds between two checks of the API keys of open sessions, so that a revoked key closes them within a minute.
WATCH_SECONDS = 20.0


class AppState:
    """State shared by all operations of one process."""

    def __init__(
        self, runtime: Runtime, anonymous: AnonymousAccess, trusted_documents: Mapping[str, str] | None = None
    ) -> None:
        self.runtime = runtime
        self.authenticator = Authenticator(runtime, anonymous)
        self.rate_limiter = CallerRateLimiter(runtime)
        self.url_signer = UrlSigner(runtime)
        self.persisted_queries = PersistedQueries(runtime, trusted_documents)
        self.shared_subscriptions = SharedSubscriptions()

    async def watch_keys(self) -> None:
        """Polls for API keys and signing secrets that other processes created, rotated or revoked."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.refresh_keys()

    async def refresh_keys(self) -> None:
        try:
            await self.url_signer.refresh()
            await self.authenticator.close_revoked_sessions()
        except UNUSABLE as error:
            # Without the database nobody is authenticated either. Open sessions stay open.
            log.warning("API keys cannot be checked", extra={"reason": type(error).__name__})


class Context:
    def __init__(self, app_state: AppState, caller: Caller) -> None:
        self.app_state = app_state
        self.runtime = app_state.runtime
        self.caller = caller
        self.loaders = Loaders(self.runtime.db, caller.tenant_id)
        self.budget = ResponseBudget(self.settings.max_query_cost)
        #: HTTP status of a typed error, for clients that only check the status.
        self.http_status = 200

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    async def read(self, query: Callable[Concatenate[Connection, UUID, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a repository query, `query(connection, tenant_id, *args, **kwargs)`, for the caller's tenant."""
        return await self.runtime.db.read(query, self.caller.tenant_id, *args, **kwargs)

    def public_url(self, path: str) -> str:
        return self.settings.public_url + path

    def signed_url(self, path: str) -> str:
        """The public URL of a path that requires an API key. A caller with a key gets it signed, to open without."""
        return self.public_url(self.app_state.url_signer.sign(path) if self.caller.key_id else path)

    def image_url(self, path: str) -> str:
        """The public URL of a stored image; it needs no signature unless images are private."""
        return self.signed_url(path) if self.settings.private_images else self.public_url(path)

    def signed_url_expires_at(self) -> datetime | None:
        """When a `signed_url` expires; None when it does not."""
        return datetime.fromtimestamp(self.app_state.url_signer.expires(), UTC) if self.caller.key_id else None


Info: TypeAlias = strawberry.Info[Context, None]
