"""What resolvers are handed: the open resources, loaders that batch their reads, and what is shared with others."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, TypeAlias

import strawberry
from starlette.responses import Response

from gql_imgproc.access.authentication import Anonymous, Authenticator
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

    def __init__(self, resources: Runtime, anonymous: Anonymous) -> None:
        self.resources = resources
        self.entrance = Authenticator(resources, anonymous)
        self.counts = CallerRateLimiter(resources)
        self.signing = UrlSigner(resources)
        self.shares = SharedSubscriptions()

    async def look_after(self) -> None:
        """Keeps up with keys and secrets that are made and revoked elsewhere, for as long as the house is open."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Takes notice of the keys and secrets that there are now."""
        try:
            await self.signing.refresh()
            await self.entrance.refresh()
        except UNUSABLE as error:
            # Nobody is admitted meanwhile either; who is in stays.
            log.warning("keys cannot be looked at", extra={"reason": type(error).__name__})


class Context:
    """One per operation; that of a WebSocket gives each operation on it one of its own."""

    #: Known from the start, but on a WebSocket, where the first message tells.
    caller: Caller
    loaders: Loaders

    def __init__(self, house: AppState, caller: Caller | None, answer: object = None) -> None:
        """`answer`: that to the HTTP request; or the WebSocket."""
        self.house = house
        self.resources = house.resources
        self.answer = answer
        #: The payload of a WebSocket's first message.
        self.connection_params: dict[str, Any] = {}
        self.allowance = Allowance(self.settings.max_query_cost)
        if caller is not None:
            self.admit(caller)

    def admit(self, caller: Caller) -> None:
        """From now on the operation is that of this caller."""
        self.caller = caller
        self.loaders = Loaders(self.resources.db, caller.tenant_id)

    @property
    def settings(self) -> Settings:
        return self.resources.settings

    def tell_status(self, status: int) -> None:
        """The HTTP status of a typed refusal, for those who look at it alone.

        In application/graphql-response+json the specification has 2xx for every answer that has data.
        """
        if isinstance(self.answer, Response) and self.answer.media_type != GRAPHQL_JSON:
            self.answer.status_code = status

    def address(self, path: str) -> str:
        """The public address of a path."""
        return self.settings.public_url + path

    def open_address(self, path: str) -> str:
        """The public address of a path that asks for a key; signed, for a caller who has one, to open without."""
        return self.address(self.house.signing.sign(path) if self.caller.key_id else path)

    def picture_address(self, path: str) -> str:
        """The public address of a stored picture: whoever knows it may see it, unless pictures are private."""
        return self.open_address(path) if self.settings.private_images else self.address(path)

    def open_until(self) -> datetime | None:
        """Until when an `open_address` is good; None when it is good for ever."""
        return datetime.fromtimestamp(self.house.signing.expires(), UTC) if self.caller.key_id else None


Info: TypeAlias = strawberry.Info[Context, None]
