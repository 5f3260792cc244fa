"""DataLoaders: batch the reads of one response, one statement per kind of object.

They do not cache: a subscription keeps its loaders for hours, and each of its results must be current.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection
from strawberry.dataloader import DataLoader

from gql_imgproc.database.engine import Database
from gql_imgproc.requests.repository import image_outputs, image_statistics, product_queries, queries

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Loaders:
    """All loaders of one tenant. Each batch is read in one transaction."""

    def __init__(self, db: Database, tenant_id: UUID) -> None:
        self._db = db
        self._tenant_id = tenant_id
        self.products = DataLoader(partial(self._read, product_queries.pages_of_requests), cache=False)
        self.product_counts = DataLoader(partial(self._read, product_queries.counts_of_requests), cache=False)
        self.images = DataLoader(partial(self._read, queries.images_of_products), cache=False)
        self.statistics = DataLoader(partial(self._read, image_statistics.statistics_of_requests), cache=False)
        self.options = DataLoader(partial(self._find, queries.options_of_requests), cache=False)
        self.further_outputs = DataLoader(partial(self._find, image_outputs.of_images), cache=False)
        self.deliveries = DataLoader(partial(self._find, queries.deliveries_of_requests), cache=False)

    async def _read(self, query: Callable[[Connection, UUID, Collection[K]], Mapping[K, T]], keys: list[K]) -> list[T]:
        """For a query that returns a value for every key."""
        found = await self._db.read(query, self._tenant_id, set(keys))
        return [found[key] for key in keys]

    async def _find(
        self, query: Callable[[Connection, UUID, Collection[K]], Mapping[K, T]], keys: list[K]
    ) -> list[T | None]:
        found = await self._db.read(query, self._tenant_id, set(keys))
        return [found.get(key) for key in keys]
