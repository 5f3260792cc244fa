"""Options of a request, as output and as input."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.graphql.types.connection import unset_to_none
from gql_imgproc.graphql.types.output_options import NEGOTIATE, OUTPUTS, OutputOptions, OutputOptionsInput
from gql_imgproc.graphql.types.view import view
from gql_imgproc.imaging import options
from gql_imgproc.imaging.options import Effort, Fit, ImageFilter, Metadata, OptionInvalid, Options, OutputFormat
from gql_imgproc.requests.file_names import DEFAULT_TEMPLATE

_METADATA = (
    "Which metadata stays: none, who made the image and holds its rights, or all. "
    "Orientation and colour profile are always respected."
)

_MIN_SIMILARITY = (
    "Least `similarity` of a result, 0 to 100. The quality is raised until it is reached, beginning with `quality`. "
    "With a `quality` of 1 the result is the smallest file that reaches it."
)
_MAX_BYTES = (
    "Most bytes of a result. The quality is lowered until they suffice, at most to 10 and never below `minSimilarity`. "
    "If that is not enough, the smallest file is stored and has a `warning`. GIF, TIFF and BMP have no quality."
)
_EFFORT = "How much CPU time is spent for fewer bytes at the same quality."


@strawberry.type(description="A rectangle of the source image.")
class Crop:
    x: int = strawberry.field(description="Distance in pixels from the left side of the source image.")
    y: int = strawberry.field(description="Distance in pixels from the top of the source image.")
    width: int = strawberry.field(description="Width in pixels, at least 1.")
    height: int = strawberry.field(description="Height in pixels, at least 1.")


_RATIO = "Ratio of width and height, such as 1:1 or 4:3."
_PAD_WIDTH = "Least width of the canvas in pixels, before the image is scaled; a larger image is not cut."
_PAD_HEIGHT = "Least height of the canvas in pixels, before the image is scaled; a larger image is not cut."
_COLOR = (
    "Colour of the canvas as #RRGGBB, also behind transparent pixels. Without it the canvas is transparent if the "
    "image has alpha, and white otherwise."
)
_PAD = "A canvas with the image in its middle; null for none."
_FIT = "How the image is reduced to `maxWidth` and `maxHeight`."
_TRIM = "Whether a border of one colour, or a transparent one, is removed, before the image is padded and scaled."


@strawberry.type(description="A canvas around an image.")
class Pad:
    ratio: str | None = strawberry.field(description=_RATIO)
    width: int | None = strawberry.field(description=_PAD_WIDTH)
    height: int | None = strawberry.field(description=_PAD_HEIGHT)
    color: str | None = strawberry.field(description=_COLOR)


@strawberry.type(description="Options of a request, applied in the order crop, trim, pad, scale, fit, filters.")
class ProcessingOptions:
    quality: int = strawberry.field(description="Encoder quality, 1 to 100.")
    scale: float = strawberry.field(description="Factor for both sides of the image, 0.05 to 1.")
    max_width: int | None = strawberry.field(
        description="Largest width in pixels; images are reduced to fit, never enlarged."
    )
    max_height: int | None = strawberry.field(
        description="Largest height in pixels; images are reduced to fit, never enlarged."
    )
    crop: Crop | None = strawberry.field(description="The part of the source image to keep; null for all of it.")
    filters: list[ImageFilter] = strawberry.field(description="Filters in the order in which they are applied.")
    format: OutputFormat = strawberry.field(description="Format of the output.")
    metadata: Metadata = strawberry.field(description=_METADATA)
    keep_metadata: bool = strawberry.field(
        description="Whether `metadata` is ALL.", deprecation_reason="Use `metadata`."
    )
    file_name: str = strawberry.field(
        description="Template of the readable name at the end of each output URL, without its extension."
    )

    effort: Effort = strawberry.field(description=_EFFORT)
    min_similarity: int | None = strawberry.field(description=_MIN_SIMILARITY)
    max_bytes: int | None = strawberry.field(description=_MAX_BYTES)
    trim: bool = strawberry.field(description=_TRIM)
    pad: Pad | None = strawberry.field(description=_PAD)
    fit: Fit = strawberry.field(description=_FIT)
    outputs: list[OutputOptions] = strawberry.field(description=OUTPUTS)
    negotiate: bool = strawberry.field(description=NEGOTIATE)

    @classmethod
    def from_options(cls, values: Options) -> ProcessingOptions:
        return view(
            cls,
            values,
            crop=None if values.crop is None else Crop(**asdict(values.crop)),
            filters=list(values.filters),
            file_name=values.file_name or DEFAULT_TEMPLATE,
            pad=None if values.pad is None else Pad(**asdict(values.pad)),
            outputs=OutputOptions.of_options(values),
        )


@strawberry.input(description="A rectangle of the source image, applied before all other options.")
class CropInput:
    x: int = strawberry.field(description="Distance in pixels from the left side of the source image, at least 0.")
    y: int = strawberry.field(description="Distance in pixels from the top of the source image, at least 0.")
    width: int = strawberry.field(description="Width in pixels, at least 1.")
    height: int = strawberry.field(description="Height in pixels, at least 1.")


@strawberry.input(description="A canvas around an image: a `ratio`, a least size, or both.")
class PadInput:
    ratio: str | None = strawberry.field(default=None, description=_RATIO)
    width: int | None = strawberry.field(default=None, description=_PAD_WIDTH)
    height: int | None = strawberry.field(default=None, description=_PAD_HEIGHT)
    color: str | None = strawberry.field(default=None, description=_COLOR)


@strawberry.input(description="Options of a new request, applied in the order crop, trim, pad, scale, fit, filters.")
class ProcessingOptionsInput:
    quality: int = strawberry.field(default=50, description="Encoder quality, 1 to 100.")
    scale: float = strawberry.field(
        default=1.0,
        description="Factor for both sides of the image, 0.05 to 1; 0.5 halves them.",
    )
    max_width: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="Largest width in pixels, at least 1; images are reduced to fit, never enlarged.",
    )
    max_height: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="Largest height in pixels, at least 1; images are reduced to fit, never enlarged.",
    )
    crop: CropInput | None = strawberry.field(
        default=strawberry.UNSET, description="The part of the source image to keep; all of it when omitted."
    )
    filters: list[ImageFilter] = strawberry.field(
        default_factory=list, description="Filters in the order in which they are applied."
    )
    format: OutputFormat = strawberry.field(default=OutputFormat.ORIGINAL, description="Format of the output.")
    metadata: Metadata = strawberry.field(default=Metadata.COPYRIGHT, description=_METADATA)
    keep_metadata: bool = strawberry.field(
        default=False, description="Same as `metadata: ALL`.", deprecation_reason="Use `metadata: ALL`."
    )

    file_name: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="Template of the readable name at the end of each output URL, without its extension: letters, "
        "digits, hyphens and underscores, `{handle}` (the shop's name of the product in URLs, else made from the "
        "product name), `{sku}` (what identifies the product in the file), `{name}` (made from the product name) and "
        "`{n}` (the number of the image in its product). The default is `{handle}-{n}`.",
    )

    effort: Effort = strawberry.field(default=Effort.BALANCED, description=_EFFORT)
    min_similarity: int | None = strawberry.field(default=strawberry.UNSET, description=_MIN_SIMILARITY)
    max_bytes: int | None = strawberry.field(default=strawberry.UNSET, description=_MAX_BYTES)
    trim: bool = strawberry.field(default=False, description=_TRIM)
    pad: PadInput | None = strawberry.field(default=strawberry.UNSET, description=_PAD)
    fit: Fit = strawberry.field(default=Fit.INSIDE, description=_FIT)
    outputs: list[OutputOptionsInput] = strawberry.field(default_factory=list, description=OUTPUTS)
    negotiate: bool = strawberry.field(default=False, description=NEGOTIATE)

    def to_options(self) -> Options:
        """Raises a GraphQL error for a value out of range."""
        try:
            values: dict[str, Any] = {name: unset_to_none(value) for name, value in vars(self).items()}
            crop = options.Crop(**asdict(self.crop)) if self.crop else None
            pad = options.Pad(**asdict(self.pad)) if self.pad else None
            outputs = tuple(output.to_output() for output in self.outputs)
            changed = {"crop": crop, "pad": pad, "filters": tuple(self.filters), "outputs": outputs}
            return Options(**values | changed)
        except OptionInvalid as error:
            field = to_camel_case(error.field)
            if error.output is None:
                raise bad_input(f"{field}: {error.rule}", "options", field) from None
            message = f"outputs: `{field}` of the output `{error.output}` {error.rule}"
            raise bad_input(message, "options", "outputs") from None
