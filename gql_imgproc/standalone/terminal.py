"""How states and results look in a terminal; the same for `submit` and `demo`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gql_imgproc.csvfile.header import IMAGE_ERRORS
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.csvfile.reader import CsvLimits, open_csv
from gql_imgproc.enums import RequestStatus
from gql_imgproc.standalone.client import Client, CsvRejected, ServiceError
from gql_imgproc.standalone.client import Progress as State

#: Most failed rows that are told one by one; the output CSV has them all.
SHOWN_FAILURES = 10

#: What the service wrote is read whatever its limits are.
_ANY_SIZE = CsvLimits(max_products=10**9, max_images=10**9, max_columns=10**6, max_field_chars=10**8)

#: Exit status of a command for the status a request ended with.
EXIT_STATUS = {RequestStatus.COMPLETED: 0, RequestStatus.COMPLETED_WITH_ERRORS: 3}


def format_size(number: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000 or unit == "GiB":
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1024
    raise AssertionError("unreachable")


def format_saving(before: int, after: int) -> str:
    return f"{100 * (1 - after / before):.0f} %" if before else "-"


def render_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
    )


async def show_progress(client: Client, request_id: str, console: Console) -> State:
    """Draws a live bar until the request's final state, and hands that back."""
    last = None
    with render_bar(console) as progress:
        task = progress.add_task("pictures", total=None, note="")
        async for last in client.progress(request_id):
            progress.update(
                task, total=last.total, completed=last.ended, description=_status_label(last.status), note=_note(last)
            )
    if last is None:
        raise ServiceError("The service told nothing about the request")
    return last


def show_csv_issues(console: Console, refused: CsvRejected) -> None:
    """Every problem with its place."""
    console.print(refused.message, style="bold", markup=False)
    if not refused.issues:
        return
    table = Table("Row", "Column", "Problem", "Code")
    for issue in refused.issues:
        row = "" if issue.row is None else str(issue.row)
        table.add_row(row, Text(issue.column or ""), Text(issue.message), issue.code)
    console.print(table)
    if (more := refused.total - len(refused.issues)) > 0:
        console.print(f"and {more:,} more")


def show_failures(console: Console, output: Path) -> None:
    """The rows of an output CSV that have an error."""
    with output.open("rb") as file:
        manifest = open_csv(file, _ANY_SIZE)
        column = manifest.layout.header.index(IMAGE_ERRORS)
        failed = [(number, cells[column]) for number, cells in manifest.cells() if cells[column]]
    if not failed:
        return
    table = Table("Row", "Image errors")
    for number, reason in failed[:SHOWN_FAILURES]:
        table.add_row(str(number), Text(reason))
    console.print(table)
    if (more := len(failed) - SHOWN_FAILURES) > 0:
        console.print(f"and {plural(more, 'more row')}, all in {output}", markup=False)


def _status_label(status: RequestStatus) -> str:
    return status.value.lower().replace("_", " ")


def _note(state: State) -> str:
    parts = [f"{format_size(state.input_bytes)} -> {format_size(state.output_bytes)}"] if state.input_bytes else []
    if state.failed:
        parts.append(f"{state.failed} failed")
    if state.per_second:
        parts.append(f"{state.per_second:.0f}/s")
    return ", ".join(parts)
