"""Images: thin views of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import strawberry

from gql_imgproc.enums import ImageOutcome, ImageStatus
from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.field import FURTHER_OUTPUT_COST, IMAGES_COST, SIGNED_URL_COST, cost_field
from gql_imgproc.graphql.types.image_output import ImageOutput
from gql_imgproc.graphql.types.node import Node
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.ids import IdPrefix, encode_global_id
from gql_imgproc.imaging.options import DEFAULT
from gql_imgproc.requests.file_names import result_path
from gql_imgproc.requests.repository import queries
from gql_imgproc.storage import paths


@strawberry.type(description="Why an image failed.")
class ImageError:
    code: ImageErrorCode = strawberry.field(description="Machine-readable reason.")
    message: str = strawberry.field(description="A sentence for people.")
    http_status: int | None = strawberry.field(description="HTTP status of the response when the code is HTTP_STATUS.")


@strawberry.type(description="One image of a product.")
class Image(Node):
    row: strawberry.Private[queries.Image]
    input_url: URL = strawberry.field(description="URL of the source image.")
    output_url: URL | None = strawberry.field(description="URL of the stored image; null until it is completed.")
    status: ImageStatus = strawberry.field(description="Status of the image.")
    outcome: ImageOutcome | None = strawberry.field(description="How the image was stored; null until it is completed.")
    attempts: int = strawberry.field(description="Number of attempts made.")
    error: ImageError | None = strawberry.field(description="Why the image failed; null when it did not.")
    warning: str | None = strawberry.field(
        description="What to know about a completed image, for instance that it is kept for its HDR gain map."
    )
    input_bytes: ByteCount | None = strawberry.field(description="Bytes of the source image.")
    output_bytes: ByteCount | None = strawberry.field(description="Bytes of the stored image.")
    format: str | None = strawberry.field(description="Media type of the stored image, for instance image/jpeg.")
    sha256: str | None = strawberry.field(description="SHA-256 of the stored bytes, in 64 hexadecimal digits.")
    width: int | None = strawberry.field(description="Width of the stored image in pixels.")
    height: int | None = strawberry.field(description="Height of the stored image in pixels.")
    similarity: float | None = strawberry.field(
        description="How similar the stored image looks to its source where it differs most, from 0 to 100, which is "
        "identical; null until it is completed, and if an earlier version stored it."
    )

    @cost_field(
        "URL of the source of a completed image at this service, which fetches it again for comparison.",
        cost=SIGNED_URL_COST,
    )
    def source_url(self, info: Info) -> URL | None:
        if self.status is not ImageStatus.COMPLETED:
            return None
        return URL(info.context.signed_url(paths.source_path(self.id)))

    @cost_field(
        "The files that the request made of a completed image, in the order of `outputs` in its options; the first one "
        "is that of `outputUrl`.",
        cost=IMAGES_COST,
    )
    async def outputs(self, info: Info) -> list[ImageOutput]:
        if self.output_url is None:
            return []
        loaders, to_url = info.context.loaders, info.context.image_url
        options = await loaders.options.load(self.row.request_id) or DEFAULT
        names = options.output_names
        info.context.budget.charge(len(names) - 1, FURTHER_OUTPUT_COST)
        further = await loaders.further_outputs.load(self.row.id) or [] if len(names) > 1 else []
        to_output = partial(
            ImageOutput.from_row, self.row, to_url, outputs=[self.row, *further] if options.negotiate else ()
        )
        return [to_output(self.row, names[0]), *(to_output(each, names[each.position]) for each in further)]

    @classmethod
    def from_row(cls, image: queries.Image, input_url: str, to_url: Callable[[str], str]) -> Image:
        """`to_url` turns the path of a stored image into its URL."""
        error = None
        if image.status is ImageStatus.FAILED and image.error_code is not None:
            error = ImageError(
                code=image.error_code, message=image.error_message or "", http_status=image.error_http_status
            )
        return view(
            cls,
            image,
            id=strawberry.ID(encode_global_id(IdPrefix.IMAGE, image.id)),
            row=image,
            input_url=URL(input_url),
            output_url=output_url(image, to_url),
            error=error,
            warning=image.error_message if image.status is ImageStatus.COMPLETED else None,
        )


def output_url(image: queries.Image, to_url: Callable[[str], str]) -> URL | None:
    if image.status is not ImageStatus.COMPLETED or image.object_name is None:
        return None
    return URL(to_url(result_path(image.stored_by, image.object_name, image.file_name, image.position)))
