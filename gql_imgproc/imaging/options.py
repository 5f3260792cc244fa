"""The options of a request: how its images are changed and compressed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

#: Increment it when the same bytes and options give another result: unchanged images are then compressed again.
COMPRESSOR_VERSION = 2


class OutputFormat(StrEnum):
    ORIGINAL = "ORIGINAL"
    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WEBP"
    AVIF = "AVIF"


class ImageFilter(StrEnum):
    GRAYSCALE = "GRAYSCALE"
    SHARPEN = "SHARPEN"
    BLUR = "BLUR"
    AUTOCONTRAST = "AUTOCONTRAST"


#: Characters of a template of file names, so that the name of the product has room next to it.
MAX_FILE_NAME_CHARS = 50
#: Options that do not change the bytes of a result, or that another one implies.
_IRRELEVANT = ("file_name", "keep_metadata", "negotiate")
#: Options that are stored as they are.
_PLAIN = (
    *("quality", "scale", "max_width", "max_height", "keep_metadata", "metadata", "file_name", "effort"),
    *("min_similarity", "max_bytes", "trim", "fit", "format", "negotiate"),
)
_RATIO = re.compile(r"([1-9]\d{0,4}):([1-9]\d{0,4})")
_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")
#: Largest side of a canvas in pixels; that of a JPEG.
_MAX_CANVAS_SIDE = 65_500
#: Files of one image, and the length of their names, which are part of column and file names.
MAX_OUTPUTS, MAX_OUTPUT_NAME_CHARS = 10, 30
_OUTPUT_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_OUTPUT_NAME_CHARS - 1}}}")
_FILE_NAME = re.compile(rf"(?=.{{1,{MAX_FILE_NAME_CHARS}}}\Z)(?:\{{(?:handle|sku|name|n)\}}|[A-Za-z0-9_-])+")


class Metadata(StrEnum):
    """Which metadata of an image are kept."""

    NONE = "NONE"
    COPYRIGHT = "COPYRIGHT"
    ALL = "ALL"


class Effort(StrEnum):
    """How much CPU time is spent for fewer bytes at the same quality."""

    FAST = "FAST"
    BALANCED = "BALANCED"
    SMALL = "SMALL"


class Fit(StrEnum):
    """How an image is reduced to `max_width` and `max_height`."""

    INSIDE = "INSIDE"
    COVER = "COVER"


_ENUMS: dict[str, type[StrEnum]] = {"format": OutputFormat, "metadata": Metadata, "effort": Effort, "fit": Fit}


def _to_enums(stored: dict[str, Any]) -> dict[str, Any]:
    return stored | {name: enum(stored[name]) for name, enum in _ENUMS.items() if name in stored}


class OptionInvalid(ValueError):
    """A value is out of range. `rule` completes a sentence that starts with the name of the field.

    `output`: the name of the output that the field belongs to, if any.
    """

    def __init__(self, field: str, rule: str, output: str | None = None) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule
        self.output = output


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of the source image as displayed, in pixels from the top left corner."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0:
            raise OptionInvalid("crop", "`x` and `y` must be 0 or more.")
        if self.width < 1 or self.height < 1:
            raise OptionInvalid("crop", "`width` and `height` must be 1 or more.")


@dataclass(frozen=True, slots=True)
class Pad:
    """A canvas around an image, of a ratio such as 1:1, of a least size in pixels, or of both."""

    ratio: str | None = None
    width: int | None = None
    height: int | None = None
    #: `#RRGGBB`; None: transparent if the image has alpha, else white.
    color: str | None = None

    def __post_init__(self) -> None:
        if self.ratio is None and self.width is None and self.height is None:
            raise OptionInvalid("pad", "must have a `ratio`, a `width` or a `height`.")
        if self.ratio is not None and not _RATIO.fullmatch(self.ratio):
            raise OptionInvalid("pad", "`ratio` must be two numbers from 1 to 99999, such as 4:3.")
        if not all(1 <= side <= _MAX_CANVAS_SIDE for side in (self.width, self.height) if side is not None):
            raise OptionInvalid("pad", f"`width` and `height` must be from 1 to {_MAX_CANVAS_SIDE}.")
        if self.color is not None and not _COLOR.fullmatch(self.color):
            raise OptionInvalid("pad", "`color` must be # and six hexadecimal digits, such as #FFFFFF.")

    def canvas(self, width: int, height: int) -> tuple[int, int]:
        """The size of the canvas for an image. One that has the ratio, rounded to pixels, needs none."""
        width, height = max(width, self.width or 0), max(height, self.height or 0)
        if self.ratio:
            across, down = map(int, self.ratio.split(":"))
            wide, high = _divide(height * across, down), _divide(width * down, across)
            if width != wide and height != high:
                width, height = max(width, wide), max(height, high)
        return width, height


def _divide(number: int, by: int) -> int:
    """Rounded to a whole number, halves up."""
    return (2 * number + by) // (2 * by)


@dataclass(frozen=True, slots=True)
class Output:
    """One of several files that are made of an image. What is None is as in the options of the request."""

    name: str
    format: OutputFormat | None = None
    max_width: int | None = None
    max_height: int | None = None
    fit: Fit | None = None
    quality: int | None = None
    effort: Effort | None = None

    @property
    def changes(self) -> dict[str, Any]:
        """The options that differ from those of the request."""
        return {name: value for name in self.__slots__[1:] if (value := getattr(self, name)) is not None}

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, **self.changes}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        return cls(**_to_enums(stored))


@dataclass(frozen=True, slots=True)
class Options:
    """Applied in the order crop, trim, pad, scale, fit, filters. Raises OptionInvalid if a value is out of range."""

    quality: int = 50
    scale: float = 1.0
    max_width: int | None = None
    max_height: int | None = None
    crop: Crop | None = None
    filters: tuple[ImageFilter, ...] = ()
    format: OutputFormat = OutputFormat.ORIGINAL
    #: Deprecated: `True` means `Metadata.ALL`.
    keep_metadata: bool = False
    #: Template of the names in the URLs of results; None: the usual one.
    file_name: str | None = None

    metadata: Metadata = Metadata.COPYRIGHT
    effort: Effort = Effort.BALANCED
    #: Least similarity of a result; the quality is raised until it is reached.
    min_similarity: int | None = None
    #: Most bytes of a result; the quality is lowered until they suffice.
    max_bytes: int | None = None
    #: Whether a border of one colour is removed.
    trim: bool = False
    pad: Pad | None = None
    #: COVER cuts off what exceeds the ratio of the largest sides, in equal parts at both ends.
    fit: Fit = Fit.INSIDE
    #: Several files of each image, the first of which is the image's own; empty: one file, without a name.
    outputs: tuple[Output, ...] = ()
    #: Whether URLs serve the best of the outputs of the same dimensions that a client accepts.
    negotiate: bool = False

    def __post_init__(self) -> None:
        if self.keep_metadata or self.metadata is Metadata.ALL:
            object.__setattr__(self, "metadata", Metadata.ALL)
            object.__setattr__(self, "keep_metadata", True)
        if not 1 <= self.quality <= 100:
            raise OptionInvalid("quality", "must be from 1 to 100.")
        if self.min_similarity is not None and not 0 <= self.min_similarity <= 100:
            raise OptionInvalid("min_similarity", "must be from 0 to 100.")
        if not 0.05 <= self.scale <= 1:
            raise OptionInvalid("scale", "must be from 0.05 to 1.")
        for name in ("max_width", "max_height", "max_bytes"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise OptionInvalid(name, "must be 1 or more.")
        if self.fit is Fit.COVER and (self.max_width is None or self.max_height is None or self.pad):
            raise OptionInvalid("fit", "must be INSIDE unless there are a largest width and height, and no pad.")
        if len(self.filters) > len(ImageFilter):
            raise OptionInvalid("filters", f"must have at most {len(ImageFilter)} entries.")
        if self.file_name is not None and not _FILE_NAME.fullmatch(self.file_name):
            raise OptionInvalid(
                "file_name",
                f"must have 1 to {MAX_FILE_NAME_CHARS} letters, digits, hyphens, underscores, and {{handle}}, {{sku}}, "
                "{name} or {n}.",
            )
        self._check_outputs()

    def _check_outputs(self) -> None:
        if self.negotiate and len(self.outputs) < 2:
            raise OptionInvalid("negotiate", "needs at least two outputs to choose from.")
        if len(self.outputs) > MAX_OUTPUTS:
            raise OptionInvalid("outputs", f"must have at most {MAX_OUTPUTS} entries.")
        names, fingerprints = set[str](), dict[UUID, str]()
        for output in self.outputs:
            if not _OUTPUT_NAME.fullmatch(output.name):
                rule = (
                    f"must have 1 to {MAX_OUTPUT_NAME_CHARS} letters, digits, hyphens, underscores and dots, and begin "
                    "with a letter or a digit."
                )
                raise OptionInvalid("name", rule, output.name)
            if output.name.lower() in names:
                raise OptionInvalid(
                    "name", "must be different for each output, also without regard to case.", output.name
                )
            names.add(output.name.lower())
            try:
                fingerprint = self._of_output(output).fingerprint
            except OptionInvalid as error:
                raise OptionInvalid(error.field, error.rule, output.name) from None
            if other := fingerprints.get(fingerprint):
                raise OptionInvalid("outputs", f"must differ, but `{other}` and `{output.name}` have the same options.")
            fingerprints[fingerprint] = output.name

    def of_outputs(self) -> list[tuple[str | None, Options]]:
        """The name of each output, and its options."""
        if not self.outputs:
            return [(None, self)]
        return [(output.name, self._of_output(output)) for output in self.outputs]

    def _of_output(self, output: Output) -> Options:
        return replace(self, outputs=(), negotiate=False, **output.changes)

    @property
    def output_names(self) -> list[str | None]:
        """The name of each output; None for the only one if it has no name."""
        return [output.name for output in self.outputs] or [None]

    @property
    def fingerprint(self) -> UUID:
        """Equal for options with which the same bytes give the same result."""
        effective = {name: value for name, value in self.to_json().items() if name not in _IRRELEVANT}
        text = json.dumps([COMPRESSOR_VERSION, effective], sort_keys=True)
        return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])

    def to_json(self) -> dict[str, Any]:
        """The values that differ from the defaults, for a JSON column."""
        out: dict[str, Any] = {}
        for name in _PLAIN:
            if (value := getattr(self, name)) != getattr(DEFAULT, name):
                out[name] = value
        if self.crop is not None:
            out["crop"] = [self.crop.x, self.crop.y, self.crop.width, self.crop.height]
        if self.pad is not None:
            out["pad"] = {name: value for name, value in asdict(self.pad).items() if value is not None}
        if self.filters:
            out["filters"] = [f.value for f in self.filters]
        if self.outputs:
            out["outputs"] = [output.to_json() for output in self.outputs]
        return out

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        values = dict(stored)
        if "crop" in values:
            values["crop"] = Crop(*values["crop"])
        if "pad" in values:
            values["pad"] = Pad(**values["pad"])
        values["filters"] = tuple(ImageFilter(name) for name in values.get("filters", ()))
        values["outputs"] = tuple(map(Output.from_json, values.get("outputs", ())))
        return cls(**_to_enums(values))


DEFAULT = Options()
