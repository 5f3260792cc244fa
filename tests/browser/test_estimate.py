"""The upload form: several files of each image, and an estimate before the upload."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service
from tests.browser.conftest import OpenPage, write_csv
from tests.browser.test_accessibility import PHONE, WIDE, violations
from tests.browser.test_accessibility import axe as axe
from tests.browser.test_page import DONE_MS, read_id

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


def count_requests(service: Service) -> int:
    answer = httpx.post(f"{service.url}/graphql", json={"query": "{ requests { totalCount } }"}).json()
    count: int = answer["data"]["requests"]["totalCount"]
    return count


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone", "wide"])
def test_file_is_estimated_and_then_uploaded_with_several_outputs(
    open_page: OpenPage, service: Service, axe: str, sample_host: str, tmp_path: Path, size: Any, scheme: Any
) -> None:
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    before = count_requests(service)
    # Given a file with a dead link, and two outputs of each image,
    dead = [13, "Garden chair", f"{sample_host}/no-such-chair.jpg"]
    file = write_csv(tmp_path / "spring.csv", [*sample_images.sample_csv(sample_host), dead])
    page.goto(service.url)
    page.get_by_label("Estimate first").check()
    page.locator("summary").click()
    for _ in range(3):
        page.get_by_role("button", name="Add an output").click()
    page.get_by_role("button", name="Remove output 2").click()
    fill_output(page, 1, "large", "As above", "")
    thumbnail = fill_output(page, 2, "thumbnail", "WebP", "80")
    thumbnail.get_by_label("Height").fill("80")
    thumbnail.get_by_label("To fit").select_option("Cut off what exceeds it")
    thumbnail.get_by_label("Effort").select_option("Fast")
    page.get_by_label("Serve each browser the smallest format").check()
    check(page, axe, size, f"options-{scheme}")

    # when it is dropped, then the page shows what an upload would save, and nothing is uploaded.
    page.set_input_files("input[type=file]", str(file))
    item = page.locator(".upload").filter(has_text="spring.csv")
    expect(item.locator(".save")).to_have_text(re.compile(r"\d+% smaller"), timeout=DONE_MS)
    expect(item).to_contain_text("31 of 31 images measured")
    expect(item.locator("li")).to_contain_text("1 image would fail: Dead link or access denied.")
    expect(item.get_by_role("link")).to_have_attribute("href", f"{sample_host}/no-such-chair.jpg")
    check(page, axe, size, f"estimate-{scheme}")
    assert count_requests(service) == before

    # When it is uploaded, then the request has these outputs.
    with page.expect_response(lambda response: "UploadCsvSuccess" in response.text()) as accepted:
        item.get_by_role("button", name="Upload now").click()
    fields = "negotiate outputs { name format maxWidth maxHeight fit effort }"
    query = f"query ($id: ID!) {{ request(id: $id) {{ options {{ {fields} }} }} }}"
    body = {"query": query, "variables": {"id": read_id(accepted.value)}}
    request = httpx.post(f"{service.url}/graphql", json=body).json()["data"]["request"]
    assert request["options"]["negotiate"] is True
    assert request["options"]["outputs"] == [
        {
            "name": "large",
            "format": "ORIGINAL",
            "maxWidth": None,
            "maxHeight": None,
            "fit": "INSIDE",
            "effort": "BALANCED",
        },
        {"name": "thumbnail", "format": "WEBP", "maxWidth": 80, "maxHeight": 80, "fit": "COVER", "effort": "FAST"},
    ]
    expect(item.get_by_role("button", name="Upload now")).to_have_count(0)


def test_estimate_of_an_invalid_file_shows_its_problems(page: Page, service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("S. No.,Product Name,Input Image Urls\n1,,https://a.example/x.jpg\n")
    page.goto(service.url)
    page.get_by_label("Estimate first").check()
    page.set_input_files("input[type=file]", str(bad))

    expect(page.locator(".issues tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="Upload now")).to_have_count(0)


def fill_output(page: Page, number: int, name: str, format: str, width: str) -> Locator:
    output = page.get_by_role("group", name=f"Output {number}")
    output.get_by_label("Name").fill(name)
    output.get_by_label("Format").select_option(format)
    output.get_by_label("Width").fill(width)
    return output


def check(page: Page, axe: str, size: Any, state: str) -> None:
    assert violations(page, axe) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    if screenshots := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(screenshots) / f"{state}.png", full_page=True)
