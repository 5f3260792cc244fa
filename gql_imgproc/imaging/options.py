"""The options of a request: how its images are changed and compressed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


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


class OptionInvalid(ValueError):
    """A value is out of range. `rule` completes a sentence that starts with the name of the field."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


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
class Options:
    """Applied in the order crop, scale, fit, filters. Raises OptionInvalid if a value is out of range."""

    quality: int = 50
    scale: float = 1.0
    max_width: int | None = None
    max_height: int | None = None
    crop: Crop | None = None
    filters: tuple[ImageFilter, ...] = ()
    format: OutputFormat = OutputFormat.ORIGINAL
    keep_metadata: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise OptionInvalid("quality", "must be from 1 to 100.")
        if not 0.05 <= self.scale <= 1:
            raise OptionInvalid("scale", "must be from 0.05 to 1.")
        for name in ("max_width", "max_height"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise OptionInvalid(name, "must be 1 or more.")
        if len(self.filters) > len(ImageFilter):
            raise OptionInvalid("filters", f"must have at most {len(ImageFilter)} entries.")

    def to_json(self) -> dict[str, Any]:
        """The values that differ from the defaults, for a JSON column."""
        out: dict[str, Any] = {}
        for name in ("quality", "scale", "max_width", "max_height", "keep_metadata"):
            if (value := getattr(self, name)) != getattr(DEFAULT, name):
                out[name] = value
        if self.crop is not None:
            out["crop"] = [self.crop.x, self.crop.y, self.crop.width, self.crop.height]
        if self.filters:
            out["filters"] = [f.value for f in self.filters]
        if self.format is not OutputFormat.ORIGINAL:
            out["format"] = self.format.value
        return out

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        values = dict(stored)
        if "crop" in values:
            values["crop"] = Crop(*values["crop"])
        values["filters"] = tuple(ImageFilter(name) for name in values.get("filters", ()))
        values["format"] = OutputFormat(values.get("format", OutputFormat.ORIGINAL))
        return cls(**values)


DEFAULT = Options()
