"""Options of a request, as they are shown and as they are given."""

from __future__ import annotations

from dataclasses import asdict

import strawberry
from strawberry.utils.str_converters import to_camel_case

from gql_imgproc.graphql.errors import bad_input
from gql_imgproc.imaging import options
from gql_imgproc.imaging.options import ImageFilter, OptionInvalid, Options, OutputFormat


@strawberry.type(description="A rectangle of the source image.")
class Crop:
    x: int = strawberry.field(description="Distance in pixels from the left side of the source image.")
    y: int = strawberry.field(description="Distance in pixels from the top of the source image.")
    width: int = strawberry.field(description="Width in pixels, at least 1.")
    height: int = strawberry.field(description="Height in pixels, at least 1.")


@strawberry.type(description="Options in force for a request, applied in the order crop, scale, fit, filters.")
class ProcessingOptions:
    quality: int = strawberry.field(description="Encoder quality, 1 to 100.")
    scale: float = strawberry.field(description="Factor by which both sides of the image are multiplied, 0.05 to 1.")
    max_width: int | None = strawberry.field(
        description="Width in pixels that the image is made to fit inside; it is never enlarged."
    )
    max_height: int | None = strawberry.field(
        description="Height in pixels that the image is made to fit inside; it is never enlarged."
    )
    crop: Crop | None = strawberry.field(description="The part of the source image that is kept; null for all of it.")
    filters: list[ImageFilter] = strawberry.field(description="Filters in the order in which they are applied.")
    format: OutputFormat = strawberry.field(description="Format of the output.")
    keep_metadata: bool = strawberry.field(
        description="Whether EXIF and other metadata is kept; orientation and colour profile are always honoured."
    )

    @classmethod
    def of(cls, given: Options) -> ProcessingOptions:
        return cls(
            quality=given.quality,
            scale=given.scale,
            max_width=given.max_width,
            max_height=given.max_height,
            crop=None if given.crop is None else Crop(**asdict(given.crop)),
            filters=list(given.filters),
            format=given.format,
            keep_metadata=given.keep_metadata,
        )


@strawberry.input(description="A rectangle of the source image, cut out before anything else is done.")
class CropInput:
    x: int = strawberry.field(description="Distance in pixels from the left side of the source image, at least 0.")
    y: int = strawberry.field(description="Distance in pixels from the top of the source image, at least 0.")
    width: int = strawberry.field(description="Width in pixels, at least 1.")
    height: int = strawberry.field(description="Height in pixels, at least 1.")


@strawberry.input(description="Options of a new request, applied in the order crop, scale, fit, filters.")
class ProcessingOptionsInput:
    quality: int = strawberry.field(default=50, description="Encoder quality, 1 to 100.")
    scale: float = strawberry.field(
        default=1.0,
        description="Factor by which both sides of the image are multiplied, 0.05 to 1; 0.5 halves them.",
    )
    max_width: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="Width in pixels, at least 1, that the image is made to fit inside; it is never enlarged.",
    )
    max_height: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="Height in pixels, at least 1, that the image is made to fit inside; it is never enlarged.",
    )
    crop: CropInput | None = strawberry.field(
        default=strawberry.UNSET, description="The part of the source image to keep; all of it when left out."
    )
    filters: list[ImageFilter] = strawberry.field(
        default_factory=list, description="Filters in the order in which they are applied."
    )
    format: OutputFormat = strawberry.field(default=OutputFormat.ORIGINAL, description="Format of the output.")
    keep_metadata: bool = strawberry.field(
        default=False,
        description="Whether EXIF and other metadata is kept; orientation and colour profile are always honoured.",
    )

    def read(self) -> Options:
        """The options; a value that is out of its range is told in a sentence."""
        try:
            return Options(
                quality=self.quality,
                scale=self.scale,
                max_width=None if self.max_width is strawberry.UNSET else self.max_width,
                max_height=None if self.max_height is strawberry.UNSET else self.max_height,
                crop=options.Crop(**asdict(self.crop)) if self.crop else None,
                filters=tuple(self.filters),
                format=self.format,
                keep_metadata=self.keep_metadata,
            )
        except OptionInvalid as error:
            field = to_camel_case(error.field)
            raise bad_input(f"{field}: {error.rule}", "options", field) from None
