"""The page in a real browser, before the real service."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from ..acceptance.conftest import Service

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

#: How long thirty pictures may take beside other tests, in milliseconds.
DONE_MS = 90_000


def upload(page: Page, service: Service, file: Path) -> None:
    page.goto(service.url)
    page.set_input_files("input[type=file]", str(file))


def test_an_upload_is_watched_to_its_end_and_its_output_downloaded(
    page: Page, service: Service, sample_csv: Path
) -> None:
    upload(page, service, sample_csv)
    page.locator(".running h3 a").first.click()

    expect(page.get_by_text("Download output CSV")).to_be_visible(timeout=DONE_MS)

    first = page.locator(".picture img").first
    expect(first).to_be_visible()
    page.wait_for_function("document.querySelector('.picture img').naturalWidth > 0")
    with page.expect_download() as download:
        page.get_by_text("Download output CSV").click()
    assert download.value.suggested_filename == "products-output.csv"
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    uploaded = list(csv.DictReader(sample_csv.read_text(encoding="utf-8").splitlines()))
    assert [row["Product Name"] for row in rows] == [row["Product Name"] for row in uploaded]
    assert all(row["Output Image Urls"].startswith(f"{service.url}/api/image/") for row in rows)
    if folder := os.environ.get("SCREENSHOTS"):
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=Path(folder) / "page.png")


def test_a_bad_csv_shows_every_problem_with_its_place(page: Page, service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("S. No.,Product Name,Input Image Urls\n1,,https://a.example/x.jpg\nx,Lamp,ftp://a.example/y.jpg\n")

    upload(page, service, bad)

    problems = page.locator(".issues tbody tr")
    expect(problems).to_have_count(3)
    assert [row.locator("td, th").all_inner_texts()[:2] for row in problems.all()] == [
        ["2", "Product Name"],
        ["3", "S. No."],
        ["3", "Input Image Urls"],
    ]


def test_the_page_recovers_when_the_api_is_killed(page: Page, service: Service, sample_csv: Path) -> None:
    upload(page, service, sample_csv)
    page.locator(".running h3 a").first.click()
    expect(page.locator(".summary")).to_be_visible()

    psutil.Process(service.api().pid).kill()

    expect(page.get_by_text("Download output CSV")).to_be_visible(timeout=DONE_MS)
