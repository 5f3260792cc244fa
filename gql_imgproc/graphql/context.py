"""What resolvers are handed: the open resources, loaders that batch their reads, and what is shared with others."""

from __future__ import annotations

from typing import TypeAlias

import strawberry
from starlette.responses import Response

from gql_imgproc.graphql.accept import GRAPHQL_JSON
from gql_imgproc.graphql.allowance import Allowance
from gql_imgproc.graphql.loaders import Loaders
from gql_imgproc.graphql.sharing import Shares
from gql_imgproc.resources import Resources
from gql_imgproc.settings import Settings


class Context:
    """One per operation; that of a WebSocket gives each operation on it one of its own."""

    def __init__(self, resources: Resources, shares: Shares, answer: object = None) -> None:
        """`answer`: that to the HTTP request, when there is one."""
        self.resources = resources
        self.shares = shares
        self._answer = answer
        self.loaders = Loaders(resources.db)
        self.allowance = Allowance(resources.settings.max_query_cost)

    @property
    def settings(self) -> Settings:
        return self.resources.settings

    def tell_status(self, status: int) -> None:
        """The HTTP status of a typed refusal, for those who look at it alone.

        In application/graphql-response+json the specification has 2xx for every answer that has data.
        """
        if isinstance(self._answer, Response) and self._answer.media_type != GRAPHQL_JSON:
            self._answer.status_code = status

    def address(self, path: str) -> str:
        """The public address of a path."""
        return self.settings.public_url + path


Info: TypeAlias = strawberry.Info[Context, None]
