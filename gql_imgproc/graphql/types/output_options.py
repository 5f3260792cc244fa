"""Options of one of several files of each image, as output and as input."""

from __future__ import annotations

from typing import Any

import strawberry

from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.view import view
from gql_imgproc.imaging.options import MAX_OUTPUT_NAME_CHARS, Effort, Fit, Options, Output, OutputFormat

OUTPUTS = (
    "Several files of each image, at most 10, which one download and one decoding give. The first one is the image's "
    "own, to which its other fields and all counters refer. Without outputs, one file is made as the options say."
)
NEGOTIATE = (
    "Whether the URLs in the output CSV and the report serve the best of an image's outputs with the same dimensions, "
    "by the header `Accept` of each client; see `negotiatedUrl`. Needs at least two outputs."
)
_NAME = (
    f"Name of the output, at most {MAX_OUTPUT_NAME_CHARS} letters, digits, hyphens, underscores and dots. It stands in "
    "the columns of the output CSV, the report, and the file names of all outputs but the first."
)
_AS_OPTIONS = "as in the options when omitted"


@strawberry.type(description="Options of one of the files that a request makes of each image.")
class OutputOptions:
    name: str = strawberry.field(description="Name of the output.")
    format: OutputFormat = strawberry.field(description="Format of the output.")
    max_width: int | None = strawberry.field(description="Largest width in pixels.")
    max_height: int | None = strawberry.field(description="Largest height in pixels.")
    fit: Fit = strawberry.field(description="How the image is reduced to them.")
    quality: int = strawberry.field(description="Encoder quality, 1 to 100.")
    effort: Effort = strawberry.field(description="How much CPU time is spent for fewer bytes at the same quality.")

    @classmethod
    def of_options(cls, options: Options) -> list[OutputOptions]:
        return [view(cls, each, name=name) for name, each in options.of_outputs() if name is not None]


@strawberry.input(description="One of several files of each image. What is omitted is as in the other options.")
class OutputOptionsInput:
    name: str = strawberry.field(description=_NAME)
    format: OutputFormat | None = strawberry.field(
        default=strawberry.UNSET, description=f"Format of the output; {_AS_OPTIONS}."
    )
    max_width: int | None = strawberry.field(
        default=strawberry.UNSET, description=f"Largest width in pixels, at least 1; {_AS_OPTIONS}."
    )
    max_height: int | None = strawberry.field(
        default=strawberry.UNSET, description=f"Largest height in pixels, at least 1; {_AS_OPTIONS}."
    )
    fit: Fit | None = strawberry.field(
        default=strawberry.UNSET, description=f"How the image is reduced to them; {_AS_OPTIONS}."
    )
    quality: int | None = strawberry.field(
        default=strawberry.UNSET, description=f"Encoder quality, 1 to 100; {_AS_OPTIONS}."
    )
    effort: Effort | None = strawberry.field(
        default=strawberry.UNSET, description=f"CPU time for fewer bytes at the same quality; {_AS_OPTIONS}."
    )

    def to_output(self) -> Output:
        values: dict[str, Any] = {name: unset_to_none(value) for name, value in vars(self).items()}
        return Output(**values)
