"""Terminal output of progress and results, shared by the client commands, `compress` and `demo`."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from gql_imgproc.client import AsyncClient, Changes, CsvIssue, Estimate, Request, ServiceError, UserError
from gql_imgproc.csvfile.messages import plural
from gql_imgproc.csvfile.writer import SKIPPED
from gql_imgproc.enums import CsvProfile, RequestStatus

#: Maximum number of failed images to print. The report lists all of them.
MAX_FAILURES = 10

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


@dataclass(slots=True)
class FormatTotals:
    """Number, sizes and outcomes of the images of one format."""

    images: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: str, bytes_before: int, bytes_after: int) -> None:
        self.images += 1
        self.bytes_before += bytes_before
        self.bytes_after += bytes_after
        self.outcomes[outcome] += 1

    def __iadd__(self, other: FormatTotals) -> Self:
        self.images += other.images
        self.bytes_before += other.bytes_before
        self.bytes_after += other.bytes_after
        self.outcomes += other.outcomes
        return self

    @property
    def sizes(self) -> str:
        return f"{format_size(self.bytes_before)} -> {format_size(self.bytes_after)}"

    def cells(self, outcomes: Iterable[str]) -> tuple[str, ...]:
        saving = format_saving(self.bytes_before, self.bytes_after)
        counts = (self.images, *(self.outcomes[outcome] for outcome in outcomes))
        return *map(str, counts), format_size(self.bytes_before), format_size(self.bytes_after), saving


def show_totals(console: Console, formats: Mapping[str, FormatTotals], caption: str) -> FormatTotals:
    """Prints a table with one row per format and one for all, which it returns."""
    total = FormatTotals()
    for each in formats.values():
        total += each
    outcomes = [name for name in ("KEPT", "SKIPPED", "FAILED") if name != "SKIPPED" or total.outcomes[name]]
    table = Table("Format", caption=caption)
    for title in ("Images", *map(str.capitalize, outcomes), "Before", "After", "Saved"):
        table.add_column(title, justify="right")
    for name, each in sorted(formats.items(), key=lambda item: -item[1].bytes_before):
        table.add_row(name, *each.cells(outcomes))
    table.add_section()
    table.add_row("All", *total.cells(outcomes), style="bold")
    console.print(table)
    if total.outcomes["KEPT"]:
        console.print("Kept: compression would not make the image smaller, so its original bytes are kept")
    return total


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
    _print_issues(console, error.issues, error.total_issues)


def show_warnings(console: Console, request: Request) -> None:
    """Prints how the file is read, if that was recognized, and what is wrong in it."""
    if request.profile is not CsvProfile.GENERIC:
        console.print(f"profile: {request.profile.value}")
    if request.skipped_rows:
        console.print(f"{plural(request.skipped_rows, 'invalid row')} skipped", style="bold")
    _print_issues(console, request.warnings, len(request.warnings))


def _print_issues(console: Console, issues: Sequence[CsvIssue], total: int) -> None:
    if not issues:
        return
    table = Table("Row", "Column", "Problem", "Code")
    for issue in issues:
        row = "" if issue.row is None else str(issue.row)
        table.add_row(row, Text(issue.column or ""), Text(issue.message), issue.code)
    console.print(table)
    if (more := total - len(issues)) > 0:
        console.print(f"and {more:,} more")


def show_estimate(console: Console, found: Estimate) -> None:
    """Prints the expected saving, the time, and what is expected to fail."""
    console.print(f"{plural(found.total_images, 'image')}, {found.measured_images:,} of them measured")
    if found.input_bytes is not None:
        interval = f"{found.saved_percent_low} to {found.saved_percent_high} %, with 95 % confidence"
        console.print(f"Before: {format_size(found.input_bytes)}\nSaved: {found.saved_percent} % ({interval})")
    console.print(f"Time: {found.seconds:,.0f} s with the workers of now, if they have nothing else to do")
    if found.failures:
        table = Table("Expected to fail", "Code", "Example", "Problem")
        for each in found.failures:
            table.add_row(f"{each.images:,}", each.code, Text(each.example_url), Text(each.message))
        console.print(table)


async def show_failures(console: Console, client: AsyncClient, request: Request) -> None:
    """Prints the images of a finished request that failed, from its report."""
    if not (request.failed_images or request.cancelled_images) or request.report_csv_url is None:
        return
    with TemporaryDirectory() as folder:
        await client.download(request.report_csv_url, report := Path(folder) / "report.csv")
        print_failures(console, report, request.report_csv_url)


def print_failures(console: Console, report: Path, url: str) -> None:
    """Prints the first rows of a report that contain errors."""
    with report.open(encoding="utf-8-sig", newline="") as file:
        failed = [row for row in csv.DictReader(file) if row["Error"] and row["Outcome"] != SKIPPED]
    table = Table("Row", "Image URL", "Error")
    for row in failed[:MAX_FAILURES]:
        table.add_row(row["Row"], Text(row["Input URL"]), Text(row["Error"]))
    console.print(table)
    if (more := len(failed) - MAX_FAILURES) > 0:
        console.print(f"and {plural(more, 'more image')}, all in {url}", markup=False, soft_wrap=True)


def show_summary(console: Console, request: Request, output: Path | None = None) -> None:
    """Prints how many images are done, what they save, what changed since the last file, and where the files are."""
    saving = format_saving(request.input_bytes, request.output_bytes)
    lines = [
        f"{request.processed_images:,} of {plural(request.total_images, 'image')} done, "
        f"{format_size(request.input_bytes)} -> {format_size(request.output_bytes)} ({saving} saved)",
        *([_changes_line(request.changes)] if request.changes else []),
        *([f"output: {output or request.output_csv_url}"] if output or request.output_csv_url else []),
        *([f"report: {request.report_csv_url}"] if request.report_csv_url else []),
    ]
    console.print("\n".join(lines), markup=False, soft_wrap=True)


def _changes_line(changes: Changes) -> str:
    counts = changes.product_counts
    numbers = f"{counts.changed:,} changed, {counts.added:,} new, {counts.gone:,} gone, {counts.unchanged:,} unchanged"
    return f"products: {numbers} since {changes.since_id}"


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
