"""What changed since the earlier upload of a file, on the page of a request."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.conftest import Service
from tests.browser.conftest import write_csv
from tests.browser.test_accessibility import axe, violations
from tests.browser.test_page import upload_and_open, wait_for_end

__all__ = ["axe"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


def test_page_counts_and_filters_changes(
    page: Page, service: Service, sample_host: str, tmp_path: Path, axe: str
) -> None:
    # Given a catalogue that was uploaded before, with other rows,
    header = ["S. No.", "Product Name", "Input Image Urls"]
    photo = f"{sample_host}/espresso-front.jpg"
    before = [["1", "Chair", photo], ["2", "Table", photo], ["3", "Lamp", photo]]
    after = [["1", "Chair", photo], ["2", "Round table", photo], ["4", "Shelf", photo], ["5", "Rug", photo]]
    file = tmp_path / "changes.csv"
    for rows in (before, after):
        # when it is uploaded again,
        upload_and_open(page, service, write_csv(file, [header, *rows]))
        wait_for_end(page)
        if rows is before:
            expect(page.locator(".product")).to_have_count(3)
            expect(page.locator(".changes")).to_have_count(0)

    # then one line counts the changes,
    changes = page.get_by_role("group", name="Show products that, since the earlier upload, are")
    expect(changes.locator("label")).to_have_text(["1 changed", "2 new", "1 gone", "1 unchanged"])
    # and each is a filter of the list, which stays after a reload.
    names = page.locator(".product h3 bdi")
    for label, expected in (
        ("1 changed", ["Round table"]),
        ("2 new", ["Shelf", "Rug"]),
        ("1 unchanged", ["Chair"]),
        ("1 gone", ["Lamp"]),
    ):
        changes.get_by_label(label).check()
        expect(names).to_have_text(expected)
        expect(page.locator("#products-title")).to_have_text(f"Products {len(expected)}")
    page.reload()
    expect(names).to_have_text(["Lamp"])
    expect(changes.get_by_label("1 gone")).to_be_checked()
    assert violations(page, axe) == []
    page.get_by_label("All", exact=True).check()
    expect(names).to_have_text(["Chair", "Round table", "Shelf", "Rug"])

    # The link leads to the earlier request.
    page.locator(".changes a").click()
    expect(page.locator(".product h3 bdi")).to_have_text(["Chair", "Table", "Lamp"])
    expect(page).to_have_url(re.compile(r"#/requests/req_\w+"))
