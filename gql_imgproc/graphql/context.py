"""What resolvers are handed: the open resources, loaders that batch their reads, and what is shared with others."""

from __future__ import annotations

from typing import TypeAlias

import strawberry

from gql_imgproc.graphql.loaders import Loaders
from gql_imgproc.graphql.sharing import Shares
from gql_imgproc.resources import Resources
from gql_imgproc.settings import Settings


class Context:
    """One per HTTP request, or per WebSocket and so for all operations on it."""

    def __init__(self, resources: Resources, shares: Shares) -> None:
        self.resources = resources
        self.shares = shares
        self.loaders = Loaders(resources.db)

    @property
    def settings(self) -> Settings:
        return self.resources.settings

    def address(self, path: str) -> str:
        """The public address of a path."""
        return self.settings.public_url + path


Info: TypeAlias = strawberry.Info[Context, None]
