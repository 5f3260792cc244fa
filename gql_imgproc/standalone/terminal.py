"""Terminal output of progress and results, shared by `submit` and `demo`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gql_imgproc.client import AsyncClient, Request, ServiceError, UserError
from gql_imgproc.csvfile.header import IMAGE_ERRORS
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.csvfile.reader import CsvLimits, open_csv
from gql_imgproc.enums import RequestStatus

#: Maximum number of failed rows to print. The output CSV lists all of them.
MAX_FAILURES = 10

#: The service's own output is read without its limits.
_NO_LIMITS = CsvLimits(max_products=10**9, max_images=10**9, max_columns=10**6, max_field_chars=10**8)

#: Exit status of a command by the final status of the request.
EXIT_STATUS = {RequestStatus.COMPLETED: 0, RequestStatus.COMPLETED_WITH_ERRORS: 3}


def format_size(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1000 or unit == "GiB":
            return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    raise AssertionError("unreachable")


def format_saving(before_bytes: int, after_bytes: int) -> str:
    return f"{100 * (1 - after_bytes / before_bytes):.0f} %" if before_bytes else "-"


def create_progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


async def show_progress(client: AsyncClient, request_id: str, console: Console) -> Request:
    """Shows a progress bar until the request's final state, and returns that state."""
    last = None
    with create_progress_bar(console) as progress:
        task = progress.add_task("images", total=None, note="")
        async for last in client.watch(request_id):
            label, note = _status_label(last.status), _note(last)
            progress.update(task, total=last.total_images, completed=last.finished_images, description=label, note=note)
    if last is None:
        raise ServiceError("The service sent no progress for the request")
    return last


def show_csv_issues(console: Console, error: UserError) -> None:
    """Prints every problem with its row and column."""
    console.print(str(error), style="bold", markup=False)
    if not error.issues:
        return
    table = Table("Row", "Column", "Problem", "Code")
    for issue in error.issues:
        row = "" if issue.row is None else str(issue.row)
        table.add_row(row, Text(issue.column or ""), Text(issue.message), issue.code)
    console.print(table)
    if (more := error.total_issues - len(error.issues)) > 0:
        console.print(f"and {more:,} more")


def show_failures(console: Console, output: Path) -> None:
    """Prints the rows of an output CSV that contain errors."""
    with output.open("rb") as file:
        csv_reader = open_csv(file, _NO_LIMITS)
        column = csv_reader.format.header.index(IMAGE_ERRORS)
        failed = [(number, cells[column]) for number, cells in csv_reader.iter_cells() if cells[column]]
    if not failed:
        return
    table = Table("Row", "Image errors")
    for number, reason in failed[:MAX_FAILURES]:
        table.add_row(str(number), Text(reason))
    console.print(table)
    if (more := len(failed) - MAX_FAILURES) > 0:
        console.print(f"and {plural(more, 'more row')}, all in {output}", markup=False)


def _status_label(status: RequestStatus) -> str:
    return status.value.lower().replace("_", " ")


def _note(request: Request) -> str:
    parts = (
        [f"{format_size(request.input_bytes)} -> {format_size(request.output_bytes)}"] if request.input_bytes else []
    )
    if request.failed_images:
        parts.append(f"{request.failed_images} failed")
    if request.images_per_second:
        parts.append(f"{request.images_per_second:.0f}/s")
    return ", ".join(parts)
