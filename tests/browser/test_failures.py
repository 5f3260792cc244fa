"""Failed images by cause and by host, and the output CSV of a running request."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from tests.acceptance.conftest import Service
from tests.browser.conftest import HoldingHost, OpenPage, write_csv
from tests.browser.test_accessibility import PHONE, WIDE, violations
from tests.browser.test_accessibility import axe as axe
from tests.browser.test_page import DONE_MS, upload_and_open, wait_for_end

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone", "wide"])
def test_failures_of_one_cause_or_one_host_are_retried(
    open_page: OpenPage, service: Service, axe: str, tmp_path: Path, size: Any, scheme: Any
) -> None:
    # Given two hosts, of which each lacks an image, and one serves a text in place of another image,
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    folder = tmp_path / "images"
    folder.mkdir()
    sample_images.create_sample_images(folder)
    clock = (folder / "clock.jpg").read_bytes()
    (folder / "text.jpg").write_text("This is not an image.")
    with serve_images(folder) as first, serve_images(folder) as second:
        paths = [(first, "clock"), (first, "late"), (second, "late"), (second, "text")]
        urls = [f"http://127.0.0.1:{port}/{name}.jpg" for port, name in paths]
        rows = [[number, f"Clock {number}", url] for number, url in enumerate(urls, 1)]
        upload_and_open(
            page,
            service,
            write_csv(tmp_path / "clocks.csv", [["S. No.", "Product Name", "Input Image Urls"], *rows]),
        )
        wait_for_end(page)

        # when the request ends, then the page counts failures by cause and by host.
        failures = page.get_by_role("region", name="Why 3 images failed")
        expect(failures.get_by_role("listitem")).to_have_text(
            [
                "2Dead link or access denied Retry these",
                "1Not an image Retry these",
                f"2127.0.0.1:{second} of 2Retry these",
                f"1127.0.0.1:{first} of 2Retry these",
            ]
        )
        assert violations(page, axe) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        if screenshots := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(screenshots) / f"failures-{scheme}.png", full_page=True)

        # When those of one cause are retried, then the other image stays as it is.
        (folder / "late.jpg").write_bytes(clock)
        (folder / "text.jpg").write_bytes(clock)
        failures.get_by_role("button", name="Retry these: Dead link or access denied").click()
        expect(page.get_by_role("heading", name="Why 1 image failed")).to_be_visible(timeout=DONE_MS)
        wait_for_end(page)

        # When those of its host are retried, then none is left.
        page.get_by_role("button", name=f"Retry these: 127.0.0.1:{second}").click()
        expect(page.locator(".badge").first).to_have_text("Done", timeout=DONE_MS)
        expect(page.locator(".counts")).to_contain_text("4 of 4 images done")
        expect(page.locator(".failures")).to_have_count(0)


def test_output_so_far_is_downloaded_while_a_request_runs(
    open_page: OpenPage, service: Service, held_csv: Path, holding_host: HoldingHost
) -> None:
    page = open_page()
    upload_and_open(page, service, held_csv)
    expect(page.locator(".counts")).to_contain_text("30 of 31 images done", timeout=DONE_MS)

    so_far = page.get_by_role("link", name="Download CSV so far")
    with page.expect_download() as download:
        so_far.click()
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    holding_host.release()
    wait_for_end(page)

    assert [bool(row["Output Image Urls"].strip(",")) for row in rows] == [True] * 12 + [False]
    expect(so_far).to_have_count(0)
