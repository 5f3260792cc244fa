"""Options of `submit`: how the file is read, what happens to its images, and how the request is processed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from gql_imgproc.cli.option_groups import ImageOptions, Outputs
from gql_imgproc.enums import CsvProfile, InvalidRowPolicy, Priority
from gql_imgproc.errors import UsageError
from gql_imgproc.imaging.options import DEFAULT


def _parse_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise typer.BadParameter(f"{text} is not an http or https URL. Use a URL such as https://shop.example/hook")
    return text


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a file of products is read."""

    profile: Annotated[
        CsvProfile | None,
        typer.Option(help="Shop that the file is from.", show_default="recognized", case_sensitive=False),
    ] = None
    image_column: Annotated[
        list[str] | None,
        typer.Option(help="Column with image URLs, of a file that is not recognized; repeat it for several."),
    ] = None
    name_column: Annotated[str | None, typer.Option(help="Column with product names; requires --image-column.")] = None
    id_column: Annotated[str | None, typer.Option(help="Column that identifies products; requires --image-column.")] = (
        None
    )
    on_invalid_row: Annotated[
        InvalidRowPolicy | None,
        typer.Option(help="Refuse the file, or skip the row.", show_default="by profile", case_sensitive=False),
    ] = None
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of the file, such as windows-1251.", show_default="detected")
    ] = None
    sheet: Annotated[
        str | None, typer.Option(help="Sheet of a workbook to read.", show_default="the first visible one")
    ] = None

    def to_arguments(self) -> dict[str, Any]:
        """Arguments of `AsyncClient.upload` and `estimate`. Raises UsageError."""
        columns = None
        if self.image_column:
            columns = {"images": self.image_column, "name": self.name_column, "id": self.id_column}
        elif self.name_column or self.id_column:
            raise UsageError("Name the image columns too: --image-column NAME")
        same = ("profile", "on_invalid_row", "encoding", "sheet")
        return {"columns": columns} | {name: getattr(self, name) for name in same}


@dataclass(frozen=True, slots=True)
class CatalogueImageOptions(ImageOptions):
    """How the images of a file of products are changed."""

    output_variant: Outputs = None
    negotiate: Annotated[
        bool,
        typer.Option(
            "--negotiate", help="Let each URL serve the smallest of the output variants that a browser says it accepts."
        ),
    ] = False
    file_name: Annotated[
        str | None,
        typer.Option(help="Names of the results in their URLs.", show_default="{handle}-{n}", metavar="TEMPLATE"),
    ] = None

    def to_input(self) -> dict[str, Any] | None:
        """The `ProcessingOptionsInput` with the values that differ from the defaults. Raises UsageError."""
        from pydantic.alias_generators import to_camel

        options, defaults = self.to_options(self.output_variant or ()), asdict(DEFAULT)
        # `metadata` says the same as `keep_metadata`, which is deprecated.
        changed = {
            to_camel(name): value
            for name, value in asdict(options).items()
            if value != defaults[name] and name not in ("keep_metadata", "outputs")
        }
        if options.outputs:
            outputs = (output.to_json().items() for output in options.outputs)
            changed["outputs"] = [{to_camel(name): value for name, value in output} for output in outputs]
        return changed or None


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """How the request is processed."""

    priority: Annotated[Priority, typer.Option(help="Priority among the requests.", case_sensitive=False)] = (
        Priority.NORMAL
    )
    webhook: Annotated[
        str | None,
        typer.Option(help="Webhook URL to call when the request finishes.", parser=_parse_url, metavar="URL"),
    ] = None
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A repeated upload with the same key returns the first request.", metavar="KEY"),
    ] = None
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Process unchanged images again, and give them new URLs.")
    ] = False

    def to_arguments(self) -> dict[str, Any]:
        """Arguments of `AsyncClient.upload`."""
        same = ("priority", "idempotency_key", "refresh")
        return {"webhook_url": self.webhook} | {name: getattr(self, name) for name in same}


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """Where the output is saved."""

    wait: Annotated[bool, typer.Option(help="Show progress until the end, then save the output.")] = True
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to save the output to; a workbook is saved as CSV to a .csv file.",
            show_default="FILE-output.csv or .xlsx",
        ),
    ] = None

    def path(self, file: Path) -> Path | None:
        """The file for the output of an upload; None if it is not saved."""
        from gql_imgproc.csvfile.workbook import output_extension
        from gql_imgproc.standalone.submit import upload_name

        name = upload_name(file)
        return (self.output or Path(f"{Path(name).stem}-output.{output_extension(name)}")) if self.wait else None
