"""The command `compress`: image files, without any service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gql_imgproc.cli.option_groups import ImageOptions, OutputOptions, with_option_groups
from gql_imgproc.cli.output import print_json
from gql_imgproc.cli.service import INTERRUPTED
from gql_imgproc.errors import ImgprocError, UsageError
from gql_imgproc.imaging.options import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gql_imgproc.standalone.compress import FileResult

#: Exit status if some images failed.
SOME_FAILED = 3


def register(app: typer.Typer) -> None:
    app.command()(compress)


@with_option_groups
def compress(
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="Files, folders, or patterns such as '**/*.png'.")],
    *,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the results.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace each file.")] = False,
    backup: Annotated[bool, typer.Option("--backup", help="Keep each replaced file as FILE.bak.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be saved, and write nothing.")] = False,
    images: ImageOptions,
    printed: OutputOptions,
) -> None:
    """Compress image files on this machine. It needs no service, no Redis and no settings.

    \b
    Examples:
      gql-imgproc compress photos/                     writes NAME-compressed.jpg next to each image
      gql-imgproc compress photos/ --output small/     writes the results to a folder
      gql-imgproc compress photos/ --in-place --backup
      gql-imgproc compress photos/ --dry-run           prints how much would be saved
      gql-imgproc compress photos/ --output web/ --format webp --max-width 1600

    Files that an earlier run has compressed with the same options are skipped. The exit status is 0 if all images are
    done, 3 if some failed, and 1 if all failed.
    """
    import asyncio

    from gql_imgproc.standalone.compress import Compression, FileOutcome
    from gql_imgproc.standalone.compression_record import CompressionRecord, default_path
    from gql_imgproc.standalone.image_files import Destination, find_images
    from gql_imgproc.standalone.terminal import create_progress_bar

    _check_destination(output, images, in_place=in_place, backup=backup)
    files = find_images(paths, output)
    if not files:
        raise ImgprocError(f"There are no images in {', '.join(paths)}")
    options = images.to_options()
    _, err = printed.consoles()
    with CompressionRecord(default_path(), options) as record, create_progress_bar(err) as progress:
        compression = Compression(options, Destination(output, in_place, backup), record, dry_run)
        try:
            results = asyncio.run(compression.run(files, progress))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
    _print_results(results, printed, is_dry_run=dry_run)
    failed = sum(result.outcome is FileOutcome.FAILED for result in results)
    raise typer.Exit(0 if not failed else SOME_FAILED if failed < len(results) else 1)


def _check_destination(output: Path | None, images: ImageOptions, *, in_place: bool, backup: bool) -> None:
    if in_place and output is not None:
        raise UsageError("Choose either --in-place or --output")
    if in_place and images.format is not OutputFormat.ORIGINAL:
        raise UsageError("--in-place keeps the name and format of each file. Use --output DIR with --format")
    if backup and not in_place:
        raise UsageError("--backup requires --in-place; otherwise no file is replaced")
    if output is not None and output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is not a folder")


def _print_results(results: Sequence[FileResult], printed: OutputOptions, *, is_dry_run: bool) -> None:
    from gql_imgproc.csvfile.messages import plural
    from gql_imgproc.standalone.terminal import FormatTotals, show_totals

    formats: dict[str, FormatTotals] = {}
    for result in results:
        totals = formats.setdefault(result.format or "not done", FormatTotals())
        totals.add(result.outcome, result.bytes_before, result.bytes_after)
        if message := result.error or (None if printed.quiet else result.warning):
            typer.echo(f"{result.source}: {message}", err=True)
    if printed.json:
        _print_json(results, is_dry_run=is_dry_run)
    out, _ = printed.consoles()
    show_totals(out, formats, plural(len(results), "image") + (", nothing was written" if is_dry_run else ""))


def _print_json(results: Sequence[FileResult], *, is_dry_run: bool) -> None:
    images = [
        {
            "source": str(result.source),
            "target": result.target and str(result.target),
            "outcome": result.outcome,
            "format": result.format,
            "bytes_before": result.bytes_before,
            "bytes_after": result.bytes_after,
            "error": result.error and {"code": result.error_code, "message": result.error},
            "warning": result.warning,
        }
        for result in results
    ]
    print_json({"dry_run": is_dry_run, "images": images})
