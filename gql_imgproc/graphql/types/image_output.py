"""The files that a request made of an image."""

from __future__ import annotations

from collections.abc import Callable

import strawberry

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.requests.file_names import result_path
from gql_imgproc.requests.repository.image_outputs import FurtherOutput
from gql_imgproc.requests.repository.queries import Image


@strawberry.type(description="One of the files that a request made of an image.")
class ImageOutput:
    name: str | None = strawberry.field(
        description="Name of the output in the options of the request; null if these name none."
    )
    url: URL = strawberry.field(description="URL of the stored file.")
    outcome: ImageOutcome = strawberry.field(description="How the file was stored.")
    output_bytes: ByteCount = strawberry.field(description="Bytes of the file.")
    format: str = strawberry.field(description="Media type of the file, for instance image/webp.")
    sha256: str = strawberry.field(description="SHA-256 of the file, in 64 hexadecimal digits.")
    width: int = strawberry.field(description="Width of the file in pixels.")
    height: int = strawberry.field(description="Height of the file in pixels.")
    similarity: float | None = strawberry.field(
        description="How similar the file looks to its source where it differs most, as `similarity` of the image."
    )
    warning: str | None = strawberry.field(description="What to know about the file, as `warning` of the image.")

    @classmethod
    def own(cls, image: Image, url: URL, name: str | None) -> ImageOutput:
        """The first output of a completed image."""
        return view(cls, image, name=name, url=url, warning=image.error_message)

    @classmethod
    def further(cls, image: Image, output: FurtherOutput, name: str, to_url: Callable[[str], str]) -> ImageOutput:
        path = result_path(output.stored_by, output.object_name, image.file_name, image.position, name)
        return view(cls, output, name=name, url=URL(to_url(path)))
