"""DataLoaders: batch the reads of one response, one statement per kind of object.

They do not cache: a subscription keeps its loaders for hours, and each of its results must be current.
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
from gql_imgproc.requests.repository import image_outputs, image_statistics, product_queries, queries

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """Selects products of a request by name and status."""

    name_contains: str | None = None
    status: ProductStatus | None = None


@dataclass(frozen=True, slots=True)
class ProductPageKey:
    """Identifies a page of the products of a request."""

    request_id: UUID
    window: PageWindow
    filter: ProductFilter


@dataclass(frozen=True, slots=True)
class ProductCountKey:
    """Identifies the number of a request's products."""

    request_id: UUID
    filter: ProductFilter


class Loaders:
    """All loaders of one tenant. Each batch is read in one transaction."""

    def __init__(self, db: Database, tenant_id: UUID) -> None:
        self._db = db
        self._tenant_id = tenant_id
        self.products = DataLoader(self._products, cache=False)
        self.product_counts = DataLoader(self._product_counts, cache=False)
        self.images = DataLoader(self._images, cache=False)
        self.options = DataLoader(partial(self._read, queries.options_of_requests), cache=False)
        self.further_outputs = DataLoader(partial(self._read, image_outputs.of_images), cache=False)
        self.statistics = DataLoader(partial(self._read, image_statistics.statistics_of_requests), cache=False)
        self.deliveries = DataLoader(partial(self._read, queries.deliveries_of_requests), cache=False)

    async def _read(
        self, query: Callable[[Connection, UUID, Collection[K]], Mapping[K, T]], keys: list[K]
    ) -> list[T | None]:
        found = await self._db.read(query, self._tenant_id, set(keys))
        return [found.get(key) for key in keys]

    async def _images(self, keys: list[UUID]) -> list[list[queries.Image]]:
        found = await self._db.read(queries.images_of_products, self._tenant_id, set(keys))
        return [found[key] for key in keys]

    async def _products(self, keys: list[ProductPageKey]) -> list[Page[queries.Product]]:
        groups: defaultdict[tuple[PageWindow, ProductFilter], set[UUID]] = defaultdict(set)
        for key in keys:
            groups[key.window, key.filter].add(key.request_id)
        pages = await self._db.read(_read_product_pages, self._tenant_id, groups)
        return [pages[key.window, key.filter][key.request_id] for key in keys]

    async def _product_counts(self, keys: list[ProductCountKey]) -> list[int]:
        groups: defaultdict[ProductFilter, set[UUID]] = defaultdict(set)
        for key in keys:
            groups[key.filter].add(key.request_id)
        counts = await self._db.read(_count_products, self._tenant_id, groups)
        return [counts[key.filter].get(key.request_id, 0) for key in keys]


def _read_product_pages(
    connection: Connection, tenant_id: UUID, groups: Mapping[tuple[PageWindow, ProductFilter], Collection[UUID]]
) -> dict[tuple[PageWindow, ProductFilter], dict[UUID, Page[queries.Product]]]:
    return {
        (window, filter): product_queries.products_of_requests(
            connection, tenant_id, ids, window, name_contains=filter.name_contains, status=filter.status
        )
        for (window, filter), ids in groups.items()
    }


def _count_products(
    connection: Connection, tenant_id: UUID, groups: Mapping[ProductFilter, Collection[UUID]]
) -> dict[ProductFilter, dict[UUID, int]]:
    return {
        filter: product_queries.count_products_of_requests(
            connection, tenant_id, ids, name_contains=filter.name_contains, status=filter.status
        )
        for filter, ids in groups.items()
    }
