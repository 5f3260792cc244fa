"""Products: thin views of rows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from gql_imgproc.enums import ProductStatus
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.field import IMAGES_COST, OUTPUT_URL_COST, SOURCE_URL_COST, cost_field
from gql_imgproc.graphql.types.image import Image, output_url
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.scalars import URL
from gql_imgproc.graphql.types.view import view
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.requests.repository import queries


@strawberry.type(description="One data row of the CSV file.")
class Product(Node):
    row: strawberry.Private[queries.Product]
    request_id: strawberry.ID = strawberry.field(description="Identifier of the request that the product belongs to.")
    serial_number: str = strawberry.field(description="Serial number as in the file.")
    product_name: str = strawberry.field(description="Product name as in the file.")
    status: ProductStatus = strawberry.field(description="Status of the product.")
    created_at: datetime = strawberry.field(description="When the product was recorded.")
    updated_at: datetime = strawberry.field(description="When the product or one of its images last changed.")

    @cost_field("URLs of the source images in the order of the row, at most 100.")
    def input_image_urls(self, info: Info) -> list[URL]:
        info.context.budget.charge(self.row.total_images, SOURCE_URL_COST)
        return [URL(url) for url in self.row.input_image_urls]

    @cost_field("URLs of the completed images in the order of the row; `images` pairs them with their sources.")
    async def output_image_urls(self, info: Info) -> list[URL]:
        info.context.budget.charge(self.row.total_images, OUTPUT_URL_COST)
        images = await info.context.loaders.images.load(self.row.id)
        urls = (output_url(image, info.context.image_url) for image in images)
        return [url for url in urls if url]

    @cost_field("The images in the order of the row, at most 100.", cost=IMAGES_COST)
    async def images(self, info: Info) -> list[Image]:
        info.context.budget.charge(self.row.total_images)
        images, urls = await info.context.loaders.images.load(self.row.id), self.row.input_image_urls
        return [Image.from_row(image, urls[image.position], info.context.image_url) for image in images]

    @classmethod
    def from_row(cls, row: queries.Product) -> Product:
        return view(
            cls,
            row,
            id=strawberry.ID(encode_global_id(IdPrefix.PRODUCT, row.id)),
            row=row,
            request_id=strawberry.ID(encode_global_id(IdPrefix.REQUEST, row.request_id)),
        )


#: Longest search text, in characters.
MAX_SEARCH_CHARS = 200

NameContains = Annotated[str | None, strawberry.argument(description="Only products whose name contains this text.")]
StatusArgument = Annotated[ProductStatus | None, strawberry.argument(description="Only products with this status.")]


def parse_search(text: str | None, name: str = "nameContains") -> str | None:
    """The text to search for; None for all. `name` is that of the argument."""
    text = unset_to_none(text)
    if text is not None and len(text) > MAX_SEARCH_CHARS:
        raise bad_input(f"`{name}` may have at most {MAX_SEARCH_CHARS} characters.")
    if text is not None and "\0" in text:
        raise bad_input(f"`{name}` may not contain the character NUL.")
    return text or None
