"""The page in a real browser, before the real service."""

from __future__ import annotations

import csv
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import image_host
from tests.acceptance.conftest import Service
from tests.browser.conftest import HoldingHost, OpenPage, written

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

#: How long some hundred pictures may take beside other tests, in milliseconds.
DONE_MS = 90_000
#: How long a killed API may take to be back and noticed, in milliseconds.
BACK_MS = 30_000

#: Notes what the progress bar says from now on; gone after a reload.
NOTE_PROGRESS = """() => {
  const bar = document.querySelector('main [role=progressbar]');
  const note = () => window.noted.push(Number(bar.getAttribute('aria-valuenow')));
  window.noted = [];
  note();
  new MutationObserver(note).observe(bar, { attributeFilter: ['aria-valuenow'] });
}"""


def upload(page: Page, service: Service, file: Path) -> None:
    page.goto(service.url)
    page.set_input_files("input[type=file]", str(file))


def upload_and_open(page: Page, service: Service, file: Path, webhook: str = "") -> None:
    """Uploads a file and goes to the page of its request."""
    page.goto(service.url)
    if webhook:
        page.locator("summary").click()
        page.get_by_label("Webhook address").fill(webhook)
    with page.expect_response(lambda answer: "UploadCsvSuccess" in answer.text()) as accepted:
        page.set_input_files("input[type=file]", str(file))
    request = accepted.value.json()["data"]["uploadCsv"]["request"]["id"]
    page.locator(f".request a[href$={request}]").click()
    expect(page.get_by_role("heading", level=1, name=file.name)).to_be_focused()
    expect(page.locator(".summary")).to_be_visible()


def place_of(locator: Locator) -> dict[str, int]:
    """Where it is, in whole pixels."""
    box = locator.bounding_box()
    assert box is not None
    return {name: round(value) for name, value in box.items()}


def wait_for_end(page: Page) -> None:
    expect(page.get_by_role("link", name="Download output CSV")).to_be_visible(timeout=DONE_MS)


def test_an_upload_is_watched_to_its_end_compared_and_downloaded(
    page: Page, service: Service, sample_csv: Path
) -> None:
    upload_and_open(page, service, sample_csv)
    page.evaluate(NOTE_PROGRESS)
    wait_for_end(page)

    noted = page.evaluate("window.noted")
    assert noted == sorted(noted)
    assert (noted[-1], len(set(noted)) > 2) == (100, True)
    expect(page.locator(".counts")).to_contain_text("30 of 30 pictures done")

    page.get_by_role("button", name="Espresso machine, steel, picture 1: look closer").click()
    look = page.get_by_role("dialog", name="Espresso machine, steel")
    edge = look.get_by_role("slider", name="Edge between before and after")
    expect(edge).to_have_attribute("aria-valuetext", "50% before, 50% after")
    before, after = look.locator(".comparison img.before"), look.locator(".comparison img").first
    # Not `wait_for_function`: that evaluates text in the page, which its policy forbids.
    expect(before).to_have_js_property("naturalWidth", 900)
    expect(after).to_have_js_property("naturalWidth", 900)
    assert place_of(before) == place_of(after)
    edge.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuetext", "60% before, 40% after")
    assert before.evaluate("image => getComputedStyle(image).clipPath") == "inset(0px 40% 0px 0px)"
    expect(look.locator(".side")).to_have_text([re.compile(r"Before \d+ kB"), re.compile(r"After [\d.]+ kB")])
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "compare.png")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Espresso machine, steel, picture 1: look closer")).to_be_focused()

    with page.expect_download() as download:
        page.get_by_role("link", name="Download output CSV").click()
    assert download.value.suggested_filename == "products-output.csv"
    rows = list(csv.DictReader(download.value.path().read_text(encoding="utf-8").splitlines()))
    uploaded = list(csv.DictReader(sample_csv.read_text(encoding="utf-8").splitlines()))
    assert [row["Product Name"] for row in rows] == [row["Product Name"] for row in uploaded]
    assert all(row["Output Image Urls"].startswith(f"{service.url}/api/image/") for row in rows)
    if folder:
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
    with page.expect_download() as template:
        page.get_by_role("link", name="the template", exact=True).first.click()
    assert template.value.path().read_text().startswith("S. No.,Product Name,Input Image Urls")
    page.get_by_role("button", name="Dismiss bad.csv").click()
    expect(page.locator(".issues")).to_have_count(0)


def test_remarks_on_a_file_that_was_accepted_can_be_read(
    page: Page, service: Service, pictures: str, tmp_path: Path
) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes(f"S. No.,Product Name,Input Image Urls\n1,Käse,{pictures}/clock.jpg\n".encode("cp1252"))

    upload_and_open(page, service, latin)
    page.get_by_text("1 remark on the file").click()

    expect(page.get_by_role("region", name="Remark")).to_contain_text("it was read as Windows-1252")
    expect(page.locator(".product h3")).to_have_text("Käse No. 1")


def test_the_page_recovers_when_the_api_is_killed(
    page: Page, service: Service, held_csv: Path, holding_host: HoldingHost
) -> None:
    upload_and_open(page, service, held_csv)
    page.evaluate(NOTE_PROGRESS)

    psutil.Process(service.api().pid).kill()

    banner = page.get_by_text("Connection lost.")
    expect(banner).to_be_visible(timeout=BACK_MS)
    holding_host.release()
    expect(banner).to_have_count(0, timeout=BACK_MS)
    wait_for_end(page)
    noted = page.evaluate("window.noted")
    assert noted == sorted(noted)
    assert (noted[0] < 100, noted[-1]) == (True, 100)


def test_a_reload_goes_on_where_it_was(page: Page, service: Service, held_csv: Path, holding_host: HoldingHost) -> None:
    upload_and_open(page, service, held_csv)
    expect(page.locator(".counts")).to_contain_text("30 of 31 pictures done", timeout=DONE_MS)

    page.reload()

    expect(page.locator(".counts")).to_contain_text("30 of 31 pictures done")
    holding_host.release()
    wait_for_end(page)
    expect(page.locator(".counts")).to_contain_text("1 failed")


def test_products_are_searched_filtered_and_paged(page: Page, service: Service, many_csv: Path) -> None:
    names = page.locator(".product h3")
    pages = page.get_by_role("navigation", name="Pages of products")
    upload_and_open(page, service, many_csv)
    wait_for_end(page)

    expect(pages).to_contain_text(span(1, 24, 60))
    pages.get_by_role("button", name="Next").click()
    expect(pages).to_contain_text(span(25, 48, 60))
    expect(page.get_by_role("heading", name="Products")).to_be_focused()
    pages.get_by_role("button", name="Last page").click()
    expect(pages).to_contain_text(span(37, 60, 60))
    pages.get_by_role("button", name="Previous").click()
    expect(pages).to_contain_text(span(13, 36, 60))
    page.reload()
    expect(pages).to_contain_text(span(13, 36, 60))
    expect(names.first).to_have_text("Cup 13 No. 13")

    page.get_by_role("searchbox", name="Search products by name").fill("CUP 5")
    expect(names).to_have_count(11)
    expect(page.get_by_role("status").filter(has_text="11 products.")).to_have_count(1)
    page.get_by_role("searchbox").fill("")
    page.get_by_role("radio", name="Failed", exact=True).check()
    expect(names).to_have_text(["Cup 7 No. 7"])
    expect(page.locator(".picture.failed p")).to_contain_text(
        "127.0.0.1 answered with status 404. There is no picture at the address."
    )
    page.reload()
    expect(names).to_have_text(["Cup 7 No. 7"])
    page.get_by_role("searchbox").fill("nothing like this")
    page.get_by_role("button", name="Show all products").click()
    expect(names).to_have_count(24)


def span(first: object, last: object, total: object) -> str:
    return f"{first}\N{EN DASH}{last} of {total}"


def test_a_request_is_cancelled_its_webhook_sent_again_and_deleted(
    page: Page, service: Service, held_csv: Path, pictures: str
) -> None:
    upload_and_open(page, service, held_csv, webhook=f"{pictures}/hook")

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the request").click()
    expect(page.locator(".badge").first).to_have_text("Cancelled")

    page.get_by_role("button", name="Resend webhook").click()
    expect(page.get_by_role("status").filter(has_text="The webhook is sent again.")).to_have_count(1)

    request = page.url.rpartition("/")[2].partition("?")[0]
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Make pictures smaller")).to_be_focused()
    expect(page.locator(f".request a[href*={request}]")).to_have_count(0)
    page.goto(f"{service.url}/#/requests/{request}")
    expect(page.get_by_role("heading", name="No such request")).to_be_visible()


def test_failed_pictures_are_tried_again_and_a_source_that_is_gone_is_told(
    page: Page, service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    sample_images.create_sample_images(folder)
    late = folder / "clock.jpg"
    moved = late.rename(folder / "not-yet")
    with image_host(folder) as port:
        rows = [["S. No.", "Product Name", "Input Image Urls"], [1, "Clock", f"http://127.0.0.1:{port}/clock.jpg"]]
        upload_and_open(page, service, written(tmp_path / "clock.csv", rows))
        retry = page.get_by_role("button", name="Retry 1 failed picture")
        expect(retry).to_be_visible(timeout=DONE_MS)

        moved.rename(late)
        retry.click()
        expect(page.locator(".badge").first).to_have_text("Done", timeout=DONE_MS)

    page.get_by_role("button", name="Clock, picture 1: look closer").click()
    expect(page.locator(".remark")).to_have_text(
        "There is nothing to compare with: the source can\u2019t be had any more. 127.0.0.1 could not be connected to."
    )
    expect(page.locator(".stage img")).not_to_have_js_property("naturalWidth", 0)


def test_an_upload_goes_on_while_another_request_is_looked_at(
    page: Page, service: Service, sample_csv: Path, pictures: str, tmp_path: Path
) -> None:
    # Given a request, and an upload that is held on its way,
    upload_and_open(page, service, sample_csv)
    second = written(
        tmp_path / "second.csv", [["S. No.", "Product Name", "Input Image Urls"], [1, "Clock", f"{pictures}/clock.jpg"]]
    )
    page.get_by_role("link", name="All requests").click()
    on_the_way: list[Route] = []

    def hold(route: Route) -> None:
        if "multipart" in route.request.headers.get("content-type", ""):
            on_the_way.append(route)
        else:
            route.fallback()

    page.route("**/graphql", hold)
    page.set_input_files("input[type=file]", str(second))
    expect(page.locator(".upload")).to_contain_text("second.csv")

    # when the other request is looked at meanwhile,
    page.locator(".request a", has_text="products.csv").first.click()
    expect(page.get_by_role("heading", level=1, name="products.csv")).to_be_focused()
    page.get_by_role("link", name="All requests").click()

    # then the file is still on its way, and arrives once.
    expect(page.locator(".upload")).to_contain_text("second.csv")
    expect(page.locator(".request", has_text="second.csv")).to_have_count(0)
    assert len(on_the_way) == 1
    on_the_way[0].continue_()
    expect(page.locator(".request", has_text="second.csv")).to_have_count(1)
    expect(page.locator(".upload")).to_have_count(0)


def test_what_others_deleted_is_gone_from_the_page_and_the_list(
    open_page: OpenPage, service: Service, sample_csv: Path
) -> None:
    page, others = open_page(), open_page()
    for each in (page, others):
        each.clock.install()
    upload_and_open(page, service, sample_csv)
    wait_for_end(page)
    request = page.url.rpartition("/")[2].partition("?")[0]
    others.goto(service.url)
    listed = others.locator(f".request h3 a[href$={request}]")
    expect(listed).to_have_count(1)

    mutation = "mutation($i: DeleteRequestInput!) { deleteRequest(input: $i) { __typename } }"
    answer = httpx.post(f"{service.url}/graphql", json={"query": mutation, "variables": {"i": {"id": request}}})
    assert answer.json() == {"data": {"deleteRequest": {"__typename": "DeleteRequestSuccess"}}}

    page.clock.fast_forward("00:31")
    expect(page.get_by_role("heading", name="No such request")).to_be_visible()
    others.clock.fast_forward("00:16")
    expect(listed).to_have_count(0)


def test_without_websockets_the_page_asks_and_says_so(
    page: Page, service: Service, held_csv: Path, holding_host: HoldingHost
) -> None:
    page.route_web_socket("**/graphql", lambda socket: socket.close(code=1011))

    upload_and_open(page, service, held_csv)

    expect(page.locator(".counts")).to_contain_text("30 of 31 pictures done", timeout=DONE_MS)
    expect(page.get_by_text("Live updates don\u2019t get through.")).to_be_visible(timeout=BACK_MS)
    holding_host.release()
    wait_for_end(page)


def test_a_clock_that_is_wrong_shows_no_wrong_age(page: Page, service: Service, sample_csv: Path) -> None:
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=5))

    upload_and_open(page, service, sample_csv)

    expect(page.locator(".request-head time")).to_have_text("now")


def test_a_product_of_many_pictures_shows_the_first_and_all_on_demand(
    page: Page, service: Service, pictures: str, tmp_path: Path
) -> None:
    urls = ",".join([*(f"{pictures}/gift-card.gif?{n}" for n in range(7)), f"{pictures}/missing.gif"])
    upload_and_open(
        page,
        service,
        written(tmp_path / "cups.csv", [["S. No.", "Product Name", "Input Image Urls"], [1, "Cup", urls]]),
    )
    wait_for_end(page)

    shown = page.locator(".picture")
    expect(shown).to_have_count(6)
    unfold = page.get_by_role("button", name="All pictures of Cup")
    expect(unfold).to_have_text("Show all 8 pictures, 1 more failed")
    unfold.click()
    expect(shown).to_have_count(8)
    expect(unfold).to_have_text("Show fewer")


def test_numbers_are_written_as_the_browser_does(open_page: OpenPage, service: Service, sample_csv: Path) -> None:
    page = open_page(locale="de-DE")
    upload_and_open(page, service, sample_csv)
    wait_for_end(page)

    expect(page.locator(".save b")).to_have_text(re.compile(r"^\d+\s%$"))
    expect(page.locator(".byte-bar").first).to_have_text(re.compile(r"\d,\d+\sMB now"))
