"""What resolvers are handed: the open resources, and loaders that batch their reads."""

from __future__ import annotations

from typing import TypeAlias

import strawberry

from gql_imgproc.graphql.loaders import Loaders
from gql_imgproc.resources import Resources
from gql_imgproc.settings import Settings


class Context:
    """One per HTTP request, or per WebSocket and so for all operations on it."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.loaders = Loaders(resources.db, resources.settings.max_query_cost)

    @property
    def settings(self) -> Settings:
        return self.resources.settings

    def address(self, path: str) -> str:
        """The public address of a path."""
        return self.settings.public_url + path


Info: TypeAlias = strawberry.Info[Context, None]
