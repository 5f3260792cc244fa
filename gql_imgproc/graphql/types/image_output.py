"""The files that a request made of an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import strawberry

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.graphql.context import Info
from gql_imgproc.graphql.types.field import cost_field
from gql_imgproc.graphql.types.scalars import URL, ByteCount
from gql_imgproc.graphql.types.view import view
from gql_imgproc.requests.alternatives import OutputFile, find_alternatives
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

    negotiated_path: strawberry.Private[str | None]

    @cost_field(
        "With `negotiate` in the options of the request, a URL that serves the best of the image's outputs with these "
        "dimensions: of the formats that the header `Accept` prefers, the smallest file; this file if it names none "
        "of them. As in the output CSV. Null without `negotiate`.",
    )
    def negotiated_url(self, info: Info) -> URL | None:
        return None if self.negotiated_path is None else URL(info.context.image_url(self.negotiated_path))

    @classmethod
    def from_row(
        cls,
        image: Image,
        to_url: Callable[[str], str],
        output: Image | FurtherOutput,
        name: str | None,
        outputs: Sequence[OutputFile],
    ) -> ImageOutput:
        """An output of a completed image. `outputs`: all of them, if they can be served in place of each other."""
        to_path = partial(
            result_path,
            output.stored_by,
            output.object_name or "",
            image.file_name,
            image.position,
            None if isinstance(output, Image) else name,
        )
        return view(
            cls,
            output,
            name=name,
            url=URL(to_url(to_path())),
            warning=output.error_message if isinstance(output, Image) else output.warning,
            negotiated_path=to_path(find_alternatives(output, outputs)) if outputs else None,
        )
