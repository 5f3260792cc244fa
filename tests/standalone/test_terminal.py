from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gql_imgproc.client import AsyncClient, CsvIssue, ServiceError, UserError
from gql_imgproc.csvfile.writer import REPORT_COLUMNS
from gql_imgproc.standalone.terminal import MAX_FAILURES, format_saving, format_size, print_failures, show_csv_issues

HEADER = ",".join(REPORT_COLUMNS) + "\n"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_csv_issues_are_printed_unchanged_with_row_and_column(console: Console) -> None:
    issues = (CsvIssue(None, None, "HEADER", "No header."), CsvIssue(7, "[b]Name[/b]", "NEW_CODE", "Is [red]empty."))

    show_csv_issues(console, UserError("The CSV file has 102 problems.", "CsvInvalid", issues, 102))

    for words in ("102 problems", "HEADER", "7", "[b]Name[/b]", "NEW_CODE", "Is [red]empty.", "and 100 more"):
        assert words in text(console)


def test_rejection_without_issues_is_one_line(console: Console) -> None:
    show_csv_issues(console, UserError("The file is larger than the limit of 20 bytes.", "UploadTooLarge"))

    assert text(console) == "The file is larger than the limit of 20 bytes.\n"


def test_printed_failures_are_limited(console: Console, tmp_path: Path) -> None:
    failed = "".join(f"{number},Lamp,x,,FAILED,TIMEOUT,reason {number},,\n" for number in range(1, MAX_FAILURES + 3))
    skipped = "3,,,,SKIPPED,IMAGE_URL_INVALID,skipped,,\n"
    (tmp_path / "report.csv").write_text(f"{HEADER}0,Lamp,x,y,KEPT,,,1,1\n{skipped}{failed}", encoding="utf-8-sig")

    print_failures(console, tmp_path / "report.csv", "http://a.example/report")

    assert "reason 10" in text(console)
    assert "reason 11" not in text(console)
    assert "skipped" not in text(console)
    assert "and 2 more images, all in http://a.example/report" in text(console)


def test_sizes_and_savings_are_formatted() -> None:
    assert [format_size(number) for number in (0, 999, 1000, 2048, 1_044_180)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "2.0 KiB",
        "1.0 MiB",
    ]
    assert (format_saving(200, 50), format_saving(0, 0)) == ("75 %", "-")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", ""])
def test_invalid_service_url_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match="Invalid service URL"):
        AsyncClient(url)
