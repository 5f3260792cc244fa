"""What resolvers are handed: the open resources, loaders that batch their reads, and what is shared with others."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, TypeAlias

import strawberry
from starlette.responses import Response

from gql_imgproc.access.authentication import AnonymousAccess, Authenticator
from gql_imgproc.access.rate_limits import CallerRateLimiter
from gql_imgproc.access.signed_urls import UrlSigner
from gql_imgproc.database.migrations import UNUSABLE
from gql_imgproc.graphql.content_negotiation import GRAPHQL_JSON
from gql_imgproc.graphql.loaders import Loaders
from gql_imgproc.graphql.query_cost import Allowance
from gql_imgproc.graphql.shared_subscriptions import SharedSubscriptions
from gql_imgproc.runtime import Runtime
from gql_imgproc.security.scopes import Caller
from gql_imgproc.settings import Settings

log = logging.getLogger(__name__)

#: Pause between two looks at the keys of what is open, in seconds: a revocation ends it within a minute.
WATCH_SECONDS = 20.0


class AppState:
    """What all callers of one process share."""

    def __init__(self, runtime: Runtime, anonymous: AnonymousAccess) -> None:
        self.runtime = runtime
        self.authenticator = Authenticator(runtime, anonymous)
        self.rate_limiter = CallerRateLimiter(runtime)
        self.url_signer = UrlSigner(runtime)
        self.shared_subscriptions = SharedSubscriptions()

    async def watch_keys(self) -> None:
        """Keeps up with keys and secrets that are made and revoked elsewhere, for as long as the house is open."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.refresh_keys()

    async def refresh_keys(self) -> None:
        """Takes notice of the keys and secrets that there are now."""
        try:
            await self.url_signer.refresh()
            await self.authenticator.close_revoked_sessions()
        except UNUSABLE as error:
            # Nobody is admitted meanwhile either; who is in stays.
            log.warning("API keys cannot be checked", extra={"reason": type(error).__name__})


class Context:
    """One per operation; that of a WebSocket gives each operation on it one of its own."""

    #: Known from the start, but on a WebSocket, where the first message tells.
    caller: Caller
    loaders: Loaders

    def __init__(self, app_state: AppState, caller: Caller | None, answer: object = None) -> None:
        """`answer`: that to the HTTP request; or the WebSocket."""
        self.app_state = app_state
        self.runtime = app_state.runtime
        self.answer = answer
        #: The payload of a WebSocket's first message.
        self.connection_params: dict[str, Any] = {}
        self.allowance = Allowance(self.settings.max_query_cost)
        if caller is not None:
            self.set_caller(caller)

    def set_caller(self, caller: Caller) -> None:
        """From now on the operation is that of this caller."""
        self.caller = caller
        self.loaders = Loaders(self.runtime.db, caller.tenant_id)

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    def set_http_status(self, status: int) -> None:
        """The HTTP status of a typed refusal, for those who look at it alone.

        In application/graphql-response+json the specification has 2xx for every answer that has data.
        """
        if isinstance(self.answer, Response) and self.answer.media_type != GRAPHQL_JSON:
            self.answer.status_code = status

    def address(self, path: str) -> str:
        """The public address of a path."""
        return self.settings.public_url + path

    def signed_url(self, path: str) -> str:
        """The public address of a path that asks for a key; signed, for a caller who has one, to open without."""
        return self.address(self.app_state.url_signer.sign(path) if self.caller.key_id else path)

    def image_url(self, path: str) -> str:
        """The public address of a stored picture: whoever knows it may see it, unless pictures are private."""
        return self.signed_url(path) if self.settings.private_images else self.address(path)

    def signed_url_expires_at(self) -> datetime | None:
        """Until when an `open_address` is good; None when it is good for ever."""
        return datetime.fromtimestamp(self.app_state.url_signer.expires(), UTC) if self.caller.key_id else None


Info: TypeAlias = strawberry.Info[Context, None]
