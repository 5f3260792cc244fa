"""axe-core finds no violation in any state of the page: light and dark, on a phone and on a wide screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from gql_imgproc.web import pages
from tests.acceptance.conftest import Service
from tests.browser.conftest import HoldingHost, OpenPage, skip_without
from tests.browser.test_page import upload, upload_and_open, wait_for_end

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

AXE = Path(pages.__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
PHONE, WIDE = {"width": 390, "height": 844}, {"width": 1920, "height": 1080}


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        skip_without("axe-core (run `npm ci` in frontend)")
    return AXE.read_text(encoding="utf-8")


def violations(page: Page, axe: str) -> list[Any]:
    """Rule and elements of each violation."""
    page.evaluate(f"if (!window.axe) {{ {axe} }}")
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [(violation["id"], [node["target"] for node in violation["nodes"]]) for violation in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, WIDE], ids=["phone", "wide"])
def test_every_page_state_is_accessible(
    open_page: OpenPage,
    service: Service,
    axe: str,
    held_csv: Path,
    holding_host: HoldingHost,
    tmp_path: Path,
    size: Any,
    scheme: Any,
) -> None:
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    bad = tmp_path / "bad.csv"
    bad.write_text("S. No.,Product Name,Input Image Urls\n1,,https://a.example/x.jpg\n")
    found: dict[str, Any] = {}

    def check(state: str) -> None:
        found[state] = violations(page, axe)
        # No content overflows to the side.
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    unknown = tmp_path / "unknown.csv"
    unknown.write_text("Article,Photo\nChair,https://a.example/x.jpg\n")
    upload(page, service, unknown)
    expect(page.get_by_role("dialog")).to_be_visible()
    check("choosing columns")
    page.keyboard.press("Escape")
    upload(page, service, bad)
    expect(page.locator(".issues")).to_be_visible()
    page.locator("summary").click()
    check("upload rejected, options open")
    upload_and_open(page, service, held_csv)
    expect(page.locator(".product")).to_have_count(13)
    check("running")
    holding_host.release()
    wait_for_end(page)
    expect(page.locator(".image.failed").first).to_be_visible()
    check("done, some failed")
    page.locator(".image button").first.click()
    expect(page.get_by_role("slider")).to_be_visible()
    check("comparing")
    page.get_by_role("button", name="Full size").click()
    check("comparing in full size")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete").click()
    check("delete confirmation")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("nothing like this")
    expect(page.get_by_text("No matching products")).to_be_visible()
    check("no matching products")
    page.get_by_role("link", name="All requests").click()
    expect(page.locator(".request").first).to_be_visible()
    check("list of requests")
    page.goto(f"{service.url}/#/requests/unknown")
    expect(page.get_by_role("heading", name="No such request")).to_be_visible()
    check("no such request")

    assert {state: problems for state, problems in found.items() if problems} == {}
    assert len(found) == 10
