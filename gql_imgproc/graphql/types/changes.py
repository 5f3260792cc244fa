"""What changed in a request since an earlier one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import strawberry
from strawberry.dataloader import DataLoader

from gql_imgproc.database.pagination import PageWindow
from gql_imgproc.enums import ChangeKind
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.connection import Connection, CursorKind, paginated
from gql_imgproc.graphql.types.field import COMPARISON_COST, cost_field
from gql_imgproc.graphql.types.image import Image
from gql_imgproc.graphql.types.product import Product
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.repository import changes

Kind: TypeAlias = Annotated[ChangeKind, strawberry.argument(description="How the entries of the list changed.")]
_Count: TypeAlias = Callable[..., changes.ChangeCounts]


@strawberry.type(description="Numbers of products, or of images, by how they changed.")
class ChangeCounts:
    added: int = strawberry.field(description="Number that the earlier request does not have.")
    changed: int = strawberry.field(description="Number that both requests have, with a difference.")
    gone: int = strawberry.field(description="Number that only the earlier request has.")
    unchanged: int = strawberry.field(description="Number that both requests have, without a difference.")


@strawberry.type(
    description="How a request differs from an earlier one. A product is found again by its serial number, or by what "
    "identifies it in its shop, and an image by its source URL within its product. An image is changed if its output "
    "URL is another one, or exists in one request only; one that failed in both is unchanged. A product is changed if "
    "its name is, or if an image of it was added, changed or is gone."
)
class RequestChanges:
    comparison: strawberry.Private[changes.Comparison]
    counts: strawberry.Private[DataLoader[_Count, changes.ChangeCounts]]
    since_id: strawberry.ID = strawberry.field(description="Identifier of the earlier request.")
    since_created_at: datetime = strawberry.field(description="When the earlier request was accepted.")

    @cost_field("Numbers of products.", cost=COMPARISON_COST)
    async def product_counts(self) -> ChangeCounts:
        return ChangeCounts(**asdict(await self.counts.load(changes.count_products)))

    @cost_field("Numbers of images.", cost=COMPARISON_COST)
    async def image_counts(self) -> ChangeCounts:
        return ChangeCounts(**asdict(await self.counts.load(changes.count_images)))

    @cost_field(
        "Products in the order of the file. Those that are gone are products of the earlier request.",
        cost=COMPARISON_COST,
    )
    @paginated(CursorKind.CHANGED_PRODUCTS)
    async def products(self, info: Info, window: PageWindow, kind: Kind = ChangeKind.CHANGED) -> Connection[Product]:
        page = await info.context.read(changes.products_page, self.comparison, window, kind)
        count = self._counter(changes.count_products, kind)
        return Connection.from_page(CursorKind.CHANGED_PRODUCTS, window, page, Product.from_row, count)

    @cost_field(
        "Images in the order of the file. Those that are gone are images of the earlier request.", cost=COMPARISON_COST
    )
    @paginated(CursorKind.CHANGED_IMAGES)
    async def images(self, info: Info, window: PageWindow, kind: Kind = ChangeKind.CHANGED) -> Connection[Image]:
        page = await info.context.read(changes.images_page, self.comparison, window, kind)
        to_url, count = info.context.image_url, self._counter(changes.count_images, kind)
        return Connection.from_page(
            CursorKind.CHANGED_IMAGES, window, page, lambda row: Image.from_row(*row, to_url), count
        )

    def _counter(self, counted: _Count, kind: ChangeKind) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            number: int = getattr(await self.counts.load(counted), kind.value.lower())
            return number

        return count

    @classmethod
    def from_comparison(cls, info: Info, comparison: changes.Comparison) -> RequestChanges:
        async def load(counted: list[Any]) -> list[changes.ChangeCounts]:
            return [await info.context.read(each, comparison) for each in counted]

        earlier = comparison.earlier
        return cls(
            comparison=comparison,
            # Fields and total counts need the same numbers, which are read once.
            counts=DataLoader(load),
            since_id=strawberry.ID(encode_global_id(IdPrefix.REQUEST, earlier.id)),
            since_created_at=earlier.created_at,
        )
