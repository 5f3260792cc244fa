from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gql_imgproc.standalone.client import Client, CsvRejected, Issue, ServiceError
from gql_imgproc.standalone.terminal import SHOWN_FAILURES, format_saving, format_size, show_csv_issues, show_failures

HEADER = "S. No.,Product Name,Input Image Urls,Output Image Urls,Image Errors\n"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_refusal_shows_every_problem_with_its_place_as_it_is(console: Console) -> None:
    issues = (Issue(None, None, "HEADER", "No header."), Issue(7, "[b]Name[/b]", "NEW_CODE", "Is [red]empty."))

    show_csv_issues(console, CsvRejected("The CSV file has 102 problems.", issues, 102))

    for words in ("102 problems", "HEADER", "7", "[b]Name[/b]", "NEW_CODE", "Is [red]empty.", "and 100 more"):
        assert words in text(console)


def test_a_refusal_of_the_whole_is_one_line(console: Console) -> None:
    show_csv_issues(console, CsvRejected("The file is larger than the limit of 20 bytes.", (), 0))

    assert text(console) == "The file is larger than the limit of 20 bytes.\n"


def test_failed_rows_are_told_up_to_a_number(console: Console, tmp_path: Path) -> None:
    rows = "".join(f"{number},Lamp,x,,reason {number}\n" for number in range(1, SHOWN_FAILURES + 3))
    (tmp_path / "out.csv").write_text(f"{HEADER}0,,,,\n{rows}", encoding="utf-8")

    show_failures(console, tmp_path / "out.csv")

    assert "reason 10" in text(console)
    assert "reason 11" not in text(console)
    assert "and 2 more rows" in text(console)


@pytest.mark.parametrize("delimiter", [";", "\t", "^"])
def test_failed_rows_are_found_whatever_the_delimiter(console: Console, tmp_path: Path, delimiter: str) -> None:
    (tmp_path / "out.csv").write_text(
        f"sep={delimiter}\n{HEADER}1,Lamp,x,y,\n2,Lamp,x,,the reason\n".replace(",", delimiter), encoding="utf-8-sig"
    )

    show_failures(console, tmp_path / "out.csv")

    (line,) = [line for line in text(console).splitlines() if "the reason" in line]
    assert line.split()[1] == "3"


def test_nothing_failed_is_nothing_said(console: Console, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text(f"{HEADER}1,Lamp,x,y,\n", encoding="utf-8")

    show_failures(console, tmp_path / "out.csv")

    assert text(console) == ""


def test_numbers_for_people() -> None:
    assert [format_size(number) for number in (0, 999, 1000, 2048, 1_044_180)] == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "2.0 KiB",
        "1.0 MiB",
    ]
    assert (format_saving(200, 50), format_saving(0, 0)) == ("75 %", "-")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", ""])
def test_an_address_of_no_service_is_refused(url: str) -> None:
    with pytest.raises(ServiceError, match="is no address of a service"):
        Client(url)
