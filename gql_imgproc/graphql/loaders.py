"""Loaders: what many objects of one answer need is read with one statement each.

Nothing is remembered between two reads: a subscription keeps its loaders for hours, and its answers must be fresh.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Connection
from strawberry.dataloader import DataLoader

from gql_imgproc.database.engine import Database
from gql_imgproc.database.pagination import Page, PageWindow
from gql_imgproc.enums import ProductStatus
from gql_imgproc.requests.repository import product_queries, queries

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """Which products of a request."""

    name_contains: str | None = None
    status: ProductStatus | None = None


@dataclass(frozen=True, slots=True)
class ProductsOf:
    """A page of the products of a request."""

    request_id: UUID
    window: PageWindow
    wanted: ProductFilter


@dataclass(frozen=True, slots=True)
class CountOf:
    """The number of a request's products."""

    request_id: UUID
    wanted: ProductFilter


class Loaders:
    """All loaders; each batch is read in one transaction."""

    def __init__(self, db: Database, tenant_id: UUID) -> None:
        self._db = db
        self._tenant_id = tenant_id
        self.products = DataLoader(self._products, cache=False)
        self.product_counts = DataLoader(self._product_counts, cache=False)
        self.images = DataLoader(self._images, cache=False)
        self.deliveries = DataLoader(partial(self._read, queries.deliveries_of_requests), cache=False)

    async def _read(
        self, query: Callable[[Connection, UUID, Collection[K]], Mapping[K, T]], keys: list[K]
    ) -> list[T | None]:
        found = await self._db.read(query, self._tenant_id, set(keys))
        return [found.get(key) for key in keys]

    async def _images(self, keys: list[UUID]) -> list[list[queries.Image]]:
        found = await self._db.read(queries.images_of_products, self._tenant_id, set(keys))
        return [found[key] for key in keys]

    async def _products(self, keys: list[ProductsOf]) -> list[Page[queries.Product]]:
        groups: defaultdict[tuple[PageWindow, ProductFilter], set[UUID]] = defaultdict(set)
        for key in keys:
            groups[key.window, key.wanted].add(key.request_id)
        found = await self._db.read(
            lambda connection: {
                (window, wanted): product_queries.products_of_requests(
                    connection,
                    self._tenant_id,
                    ids,
                    window,
                    name_contains=wanted.name_contains,
                    status=wanted.status,
                )
                for (window, wanted), ids in groups.items()
            }
        )
        return [found[key.window, key.wanted][key.request_id] for key in keys]

    async def _product_counts(self, keys: list[CountOf]) -> list[int]:
        groups: defaultdict[ProductFilter, set[UUID]] = defaultdict(set)
        for key in keys:
            groups[key.wanted].add(key.request_id)
        found = await self._db.read(
            lambda connection: {
                wanted: product_queries.count_products_of_requests(
                    connection, self._tenant_id, ids, name_contains=wanted.name_contains, status=wanted.status
                )
                for wanted, ids in groups.items()
            }
        )
        return [found[key.wanted].get(key.request_id, 0) for key in keys]
