"""Groups of options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from gql_imgproc.cli.output import Json, print_json
from gql_imgproc.errors import UsageError
from gql_imgproc.imaging.options import (
    DEFAULT,
    Crop,
    Effort,
    Fit,
    ImageFilter,
    Metadata,
    OptionInvalid,
    Options,
    Output,
    OutputFormat,
    Pad,
)

if TYPE_CHECKING:
    from rich.console import Console

    from gql_imgproc.client import Request

Quiet = Annotated[bool, typer.Option("--quiet", help="Print only errors.")]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Replaces each parameter that is a dataclass by its fields, each of which is an option of the command."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    parameters = []
    for parameter in signature(command).parameters.values():
        if group := groups.get(parameter.name):
            types = get_type_hints(group, include_extras=True)
            parameters += [
                Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
                for field in fields(group)
            ]
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[parameter.name]))
    run.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]  # PEP 362
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parse_crop(text: str) -> Crop:
    try:
        x, y, width, height = map(int, text.split(","))
        return Crop(x, y, width, height)
    except OptionInvalid as error:
        raise typer.BadParameter(error.rule) from None
    except ValueError:
        raise typer.BadParameter("Use four whole numbers, such as 0,0,800,600") from None


def _parse_pad(text: str) -> Pad:
    size = re.fullmatch(r"(\d+)x(\d+)", text)
    try:
        return Pad(width=int(size[1]), height=int(size[2])) if size else Pad(ratio=text)
    except OptionInvalid:
        raise typer.BadParameter("Use a ratio, such as 1:1, or a least size, such as 1000x1000") from None


_OUTPUT_VALUES: dict[str, Callable[[str], object]] = {
    "name": str,
    "format": lambda text: OutputFormat(text.upper()),
    "max_width": int,
    "max_height": int,
    "fit": lambda text: Fit(text.upper()),
    "quality": int,
    "effort": lambda text: Effort(text.upper()),
}


def _parse_output(text: str) -> Output:
    values: dict[str, Any] = {}
    for entry in text.split(","):
        key, _, value = entry.strip().partition("=")
        name = key.strip().replace("-", "_")
        try:
            values[name] = _OUTPUT_VALUES[name](value.strip())
        except (KeyError, ValueError):
            names = ", ".join(each.replace("_", "-") for each in _OUTPUT_VALUES)
            raise typer.BadParameter(f"Invalid entry {entry!r}. Use {names}, such as {OUTPUT_EXAMPLE}") from None
    if "name" not in values:
        raise typer.BadParameter(f"The output has no name. Use for example {OUTPUT_EXAMPLE}")
    return Output(**values)


OUTPUT_EXAMPLE = "name=thumb,format=WEBP,max-width=200"
Outputs = Annotated[
    list[Output] | None,
    typer.Option(
        "--output-variant",
        parser=_parse_output,
        metavar="NAME=VALUE,…",
        help=f"One of several files of each image, such as {OUTPUT_EXAMPLE}; what it lacks is as in the other options. "
        "Repeat it; the first one is the image's own.",
    ),
]


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images are changed."""

    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Encoder quality.", show_default="50, or 1 with --min-similarity"),
    ] = None
    min_similarity: Annotated[
        int | None,
        typer.Option(min=0, max=100, help="Least similarity of a result; the quality is raised until it is reached."),
    ] = None
    max_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Most bytes of a result; the quality is lowered until they suffice."),
    ] = None
    scale: Annotated[float, typer.Option(min=0.05, max=1, help="Factor for both sides of the image.")] = DEFAULT.scale
    max_width: Annotated[
        int | None, typer.Option(min=1, help="Largest width in pixels; images are reduced to fit, never enlarged.")
    ] = None
    max_height: Annotated[
        int | None, typer.Option(min=1, help="Largest height in pixels; images are reduced to fit, never enlarged.")
    ] = None
    fit: Annotated[
        Fit,
        typer.Option(
            case_sensitive=False,
            help="INSIDE keeps all of the image; COVER cuts off what exceeds the ratio of the largest sides.",
        ),
    ] = DEFAULT.fit
    crop: Annotated[
        Crop | None,
        typer.Option(parser=_parse_crop, metavar="X,Y,WIDTH,HEIGHT", help="The part of the source to keep, in pixels."),
    ] = None
    trim: Annotated[bool, typer.Option("--trim", help="Remove a border of one colour.")] = False
    pad: Annotated[
        Pad | None,
        typer.Option(parser=_parse_pad, metavar="RATIO", help="Ratio or least size of a canvas around the image."),
    ] = None
    pad_color: Annotated[
        str | None,
        typer.Option(metavar="#RRGGBB", help="Colour of the canvas.", show_default="transparent, or white"),
    ] = None
    filter: Annotated[
        list[ImageFilter] | None,
        typer.Option(case_sensitive=False, help="Filter to apply; repeat the option for several."),
    ] = None
    format: Annotated[OutputFormat, typer.Option(case_sensitive=False, help="Format of the output.")] = DEFAULT.format
    metadata: Annotated[
        Metadata, typer.Option(case_sensitive=False, help="Metadata to keep; orientation and colour profile stay.")
    ] = DEFAULT.metadata
    effort: Annotated[
        Effort, typer.Option(case_sensitive=False, help="CPU time to spend for fewer bytes at the same quality.")
    ] = DEFAULT.effort
    keep_metadata: Annotated[bool, typer.Option("--keep-metadata", help="Same as --metadata ALL.")] = False

    def _to_pad(self) -> Pad | None:
        if self.pad is None and self.pad_color is not None:
            raise UsageError("--pad-color needs --pad.")
        return replace(self.pad, color=self.pad_color) if self.pad else None

    def to_options(self, outputs: Sequence[Output] = ()) -> Options:
        same = {field.name: getattr(self, field.name) for field in fields(self) if field.name in Options.__slots__}
        others = {
            "quality": self.quality or (DEFAULT.quality if self.min_similarity is None else 1),
            "pad": self._to_pad(),
            "filters": tuple(self.filter or ()),
            "outputs": tuple(outputs),
        }
        try:
            return Options(**same | others)
        except OptionInvalid as error:
            if error.output is not None:
                field = error.field.replace("_", "-")
                raise UsageError(f"Invalid {field} of --output-variant {error.output}: it {error.rule}") from None
            if error.field == "outputs":
                raise UsageError(f"Invalid --output-variant: they {error.rule}") from None
            raise UsageError(f"Invalid --{error.field.replace('_', '-')}: it {error.rule}") from None


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What a command prints."""

    json: Json = False
    quiet: Quiet = False

    def consoles(self) -> tuple[Console, Console]:
        """For results and for progress; JSON replaces the results."""
        from rich.console import Console

        quiet = self.quiet
        return (
            Console(highlight=False, quiet=self.json or quiet),
            Console(stderr=True, highlight=False, quiet=quiet),
        )

    def print_json(self, request: Request) -> None:
        if self.json:
            print_json(asdict(request))

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Prints why the service refuses a change, and exits."""
        from rich.console import Console

        from gql_imgproc.client import UserError
        from gql_imgproc.standalone.terminal import show_csv_issues

        try:
            yield
        except UserError as error:
            if self.json:
                issues = [asdict(issue) for issue in error.issues]
                print_json({"error": {"code": error.code, "message": str(error), "issues": issues}})
            else:
                show_csv_issues(Console(stderr=True, highlight=False), error)
            raise typer.Exit(1) from None
