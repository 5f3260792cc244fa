"""The page in a real browser with the real service."""

from __future__ import annotations

import csv
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Locator, Page, Response, Route, expect

from gql_imgproc.client import Client
from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from tests.acceptance.conftest import Service
from tests.browser.conftest import HoldingHost, OpenPage, write_csv
from tests.csvfile.test_workbook import make_workbook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

#: Timeout for a request on a machine that runs other tests as well, in milliseconds.
DONE_MS = 90_000
#: Timeout until the page notices that a killed API is back, in milliseconds.
RECONNECT_MS = 30_000

#: Records the values of the progress bar from now on, until a reload.
RECORD_PROGRESS = """() => {
  const bar = document.querySelector('main [role=progressbar]');
  const record = () => window.recorded.push(Number(bar.getAttribute('aria-valuenow')));
  window.recorded = [];
  record();
  new MutationObserver(record).observe(bar, { attributeFilter: ['aria-valuenow'] });
}"""


def upload(page: Page, service: Service, file: Path) -> None:
    page.goto(service.url)
    page.set_input_files("input[type=file]", str(file))


def upload_and_open(page: Page, service: Service, file: Path, webhook: str = "") -> None:
    """Upload a file and open the page of its request."""
    page.goto(service.url)
    if webhook:
        page.locator("summary").click()
        page.get_by_label("Webhook URL").fill(webhook)
    with page.expect_response(lambda response: "UploadCsvSuccess" in response.text()) as accepted:
        page.set_input_files("input[type=file]", str(file))
    page.locator(f".request a[href='#/requests/{read_id(accepted.value)}']").click()
    expect(page.get_by_role("heading", level=1, name=file.name)).to_be_focused()
    expect(page.locator(".summary")).to_be_visible()


def read_id(accepted: Response) -> str:
    id: str = accepted.json()["data"]["uploadCsv"]["request"]["id"]
    return id


def bounding_box(locator: Locator) -> dict[str, int]:
    """Position and size, in whole pixels."""
    box = locator.bounding_box()
    assert box is not None
    return {name: round(value) for name, value in box.items()}


def wait_for_end(page: Page) -> None:
    expect(page.get_by_role("link", name="Download output CSV")).to_be_visible(timeout=DONE_MS)


def test_upload_progress_comparison_and_download(page: Page, service: Service, sample_csv: Path) -> None:
    upload_and_open(page, service, sample_csv)
    page.evaluate(RECORD_PROGRESS)
    wait_for_end(page)

    recorded = page.evaluate("window.recorded")
    assert recorded == sorted(recorded)
    assert (recorded[-1], len(set(recorded)) > 2) == (100, True)
    expect(page.locator(".counts")).to_contain_text("30 of 30 images done")

    page.get_by_role("button", name="Espresso machine, steel, image 1: compare").click()
    dialog = page.get_by_role("dialog", name="Espresso machine, steel")
    edge = dialog.get_by_role("slider", name="Edge between before and after")
    expect(edge).to_have_attribute("aria-valuetext", "50% before, 50% after")
    before, after = dialog.locator(".comparison img.before"), dialog.locator(".comparison img").first
    # `wait_for_function` would evaluate text in the page, which its policy forbids.
    expect(before).to_have_js_property("naturalWidth", 900)
    expect(after).to_have_js_property("naturalWidth", 900)
    assert bounding_box(before) == bounding_box(after)
    edge.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuetext", "60% before, 40% after")
    assert before.evaluate("image => getComputedStyle(image).clipPath") == "inset(0px 40% 0px 0px)"
    expect(dialog.locator(".side")).to_have_text([re.compile(r"Before [\d.]+ kB"), re.compile(r"After [\d.]+ kB")])
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "compare.png")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Espresso machine, steel, image 1: compare")).to_be_focused()

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


def test_options_of_the_panel_are_those_of_the_request(page: Page, service: Service, sample_csv: Path) -> None:
    # Given options that differ from the defaults,
    page.goto(service.url)
    page.locator("summary").click()
    page.get_by_label("Effort").select_option("Fast")
    page.get_by_label("Largest width").fill("120")
    page.get_by_label("Grey").check()
    page.get_by_label("Metadata").select_option("None")
    page.get_by_label("File names").fill("photo-{n}")
    page.get_by_label("Process unchanged images again").check()

    # when a file is uploaded with them,
    with page.expect_response(lambda response: "UploadCsvSuccess" in response.text()) as accepted:
        page.set_input_files("input[type=file]", str(sample_csv))
    page.locator(f".request a[href='#/requests/{read_id(accepted.value)}']").click()
    wait_for_end(page)

    # then its images were processed with them.
    query = """query ($id: ID!) { request(id: $id) { options { effort maxWidth filters metadata fileName }
        products(first: 1) { nodes { images { outcome width outputUrl } } } } }"""
    body = {"query": query, "variables": {"id": read_id(accepted.value)}}
    request = httpx.post(f"{service.url}/graphql", json=body).json()["data"]["request"]
    assert request["options"] == {
        "effort": "FAST",
        "maxWidth": 120,
        "filters": ["GRAYSCALE"],
        "metadata": "NONE",
        "fileName": "photo-{n}",
    }
    (image, *_) = request["products"]["nodes"][0]["images"]
    assert (image["outcome"], image["width"]) == ("COMPRESSED", 120)
    assert image["outputUrl"].endswith("/photo-1.jpg")


def test_invalid_csv_shows_row_and_column_of_every_problem(page: Page, service: Service, tmp_path: Path) -> None:
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


def test_columns_of_a_file_that_is_not_recognized_are_chosen(
    page: Page, service: Service, sample_host: str, tmp_path: Path
) -> None:
    # Given a list whose columns no profile has,
    listing = tmp_path / "list.csv"
    listing.write_text(f"Article,Photo,Text\nClock,{sample_host}/clock.jpg,round\nCard,{sample_host}/gift-card.gif,\n")

    # when it is dropped, then a dialog shows its columns and first rows, and sends nothing yet;
    upload(page, service, listing)
    dialog = page.get_by_role("dialog", name="Columns of list.csv")
    expect(dialog.locator("tbody tr")).to_have_count(2)
    expect(dialog.get_by_label("Use of Photo")).to_have_value("images")
    dialog.get_by_label("Use of Photo").select_option("Not used")
    expect(dialog.get_by_role("button", name="Upload")).to_be_disabled()
    dialog.get_by_label("Use of Photo").select_option("Image URLs")
    dialog.get_by_label("Use of Article").select_option("Product name")

    # when the columns are chosen, then the file is processed with them.
    with page.expect_response(lambda response: "UploadCsvSuccess" in response.text()) as accepted:
        dialog.get_by_role("button", name="Upload").click()
    request = accepted.value.json()["data"]["uploadCsv"]["request"]
    assert (request["profile"], request["totalImages"]) == ("CUSTOM", 2)
    page.locator(f".request a[href='#/requests/{request['id']}']").click()
    expect(page.locator(".product h3").first).to_contain_text("Clock")

    # When the columns of a recognized file are to be chosen too, then Escape leaves without an upload.
    page.goto(service.url)
    page.locator("summary").click()
    page.get_by_label("Choose the columns of my file").check()
    page.set_input_files("input[type=file]", str(listing))
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".upload")).to_have_count(0)


def test_a_workbook_comes_back_as_excel_file_and_csv(
    page: Page, service: Service, sample_host: str, tmp_path: Path
) -> None:
    # Given a workbook whose second sheet has the products of a shop,
    book = tmp_path / "shop.xlsx"
    rows = [["Handle", "Title", "Image Src"], ["clock", "Clock", f"{sample_host}/clock.jpg"]]
    book.write_bytes(make_workbook(("Notes", [["Remember"]]), ("Products", rows)))

    # when that sheet is chosen,
    upload(page, service, book)
    with page.expect_response(lambda response: "UploadCsvSuccess" in response.text()) as accepted:
        page.get_by_role("dialog").get_by_label("Sheet").select_option("Products")
    request = accepted.value.json()["data"]["uploadCsv"]["request"]
    assert (request["profile"], request["totalImages"]) == ("SHOPIFY", 1)
    page.locator(f".request a[href='#/requests/{request['id']}']").click()

    # then the output is offered as a workbook and as CSV, with the report and the images.
    wait_for_end(page)
    names = ["Download output Excel file", "Download output CSV", "Download report", "Download images (ZIP)"]
    files = []
    for name in names:
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        files.append(download.value.suggested_filename)
    assert files == ["shop-output.xlsx", "shop-output.csv", "shop-report.csv", "shop-images.zip"]


def test_warnings_of_an_accepted_file_are_shown(page: Page, service: Service, sample_host: str, tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes(f"S. No.,Product Name,Input Image Urls\n1,Käse,{sample_host}/clock.jpg\n".encode("cp1252"))

    upload_and_open(page, service, latin)
    page.get_by_text("1 warning about the file").click()

    expect(page.get_by_role("region", name="Warning")).to_contain_text("Windows-1252")
    expect(page.locator(".product h3")).to_have_text("Käse No. 1")


def test_file_of_a_shop_is_named_and_has_a_report(
    page: Page, service: Service, sample_host: str, tmp_path: Path
) -> None:
    shop = tmp_path / "shop.csv"
    rows = f"a,Lamp,{sample_host}/clock.jpg\nb,Desk,ftp://a.example/x.jpg\n"
    shop.write_text(f"Handle,Title,Image Src\n{rows}")

    upload_and_open(page, service, shop)
    wait_for_end(page)

    expect(page.get_by_text("Shopify export, 1 invalid row left as it was")).to_be_visible()
    with page.expect_download() as report:
        page.get_by_role("link", name="Download report").click()
    assert report.value.path().read_text(encoding="utf-8-sig").splitlines()[2].startswith("3,,,,SKIPPED")
    with page.expect_download() as output:
        page.get_by_role("link", name="Download output CSV").click()
    assert output.value.path().read_text().splitlines()[2] == "b,Desk,ftp://a.example/x.jpg"


def test_page_recovers_after_the_api_is_killed(
    page: Page, service: Service, held_csv: Path, holding_host: HoldingHost
) -> None:
    upload_and_open(page, service, held_csv)
    page.evaluate(RECORD_PROGRESS)

    psutil.Process(service.api().pid).kill()

    banner = page.get_by_text("Connection lost.")
    expect(banner).to_be_visible(timeout=RECONNECT_MS)
    holding_host.release()
    expect(banner).to_have_count(0, timeout=RECONNECT_MS)
    wait_for_end(page)
    recorded = page.evaluate("window.recorded")
    assert recorded == sorted(recorded)
    assert (recorded[0] < 100, recorded[-1]) == (True, 100)


def test_reload_shows_the_same_progress(
    page: Page, service: Service, held_csv: Path, holding_host: HoldingHost
) -> None:
    upload_and_open(page, service, held_csv)
    expect(page.locator(".counts")).to_contain_text("30 of 31 images done", timeout=DONE_MS)

    page.reload()

    expect(page.locator(".counts")).to_contain_text("30 of 31 images done")
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
    expect(page.locator(".image.failed p")).to_contain_text("404")
    page.reload()
    expect(names).to_have_text(["Cup 7 No. 7"])
    page.get_by_role("searchbox").fill("nothing like this")
    page.get_by_role("button", name="Show all products").click()
    expect(names).to_have_count(24)


def span(first: object, last: object, total: object) -> str:
    return f"{first}\N{EN DASH}{last} of {total}"


def test_request_is_cancelled_its_webhook_resent_and_deleted(
    page: Page, service: Service, held_csv: Path, sample_host: str
) -> None:
    upload_and_open(page, service, held_csv, webhook=f"{sample_host}/hook")

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Keep running").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the request").click()
    expect(page.locator(".badge").first).to_have_text("Cancelled")

    page.get_by_role("button", name="Resend webhook").click()
    expect(page.get_by_role("status").filter(has_text="The webhook will be sent again.")).to_have_count(1)

    request = page.url.rpartition("/")[2].partition("?")[0]
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_role("button", name="Delete")).to_be_focused()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete permanently").click()
    expect(page.get_by_role("heading", name="Make images smaller")).to_be_focused()
    expect(page.locator(f".request a[href*={request}]")).to_have_count(0)
    page.goto(f"{service.url}/#/requests/{request}")
    expect(page.get_by_role("heading", name="No such request")).to_be_visible()


def test_failed_images_are_retried_and_a_missing_source_is_reported(
    page: Page, service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    sample_images.create_sample_images(folder)
    late = folder / "clock.jpg"
    moved = late.rename(folder / "not-yet")
    with serve_images(folder) as port:
        rows = [["S. No.", "Product Name", "Input Image Urls"], [1, "Clock", f"http://127.0.0.1:{port}/clock.jpg"]]
        upload_and_open(page, service, write_csv(tmp_path / "clock.csv", rows))
        retry = page.get_by_role("button", name="Retry 1 failed image")
        expect(retry).to_be_visible(timeout=DONE_MS)

        moved.rename(late)
        retry.click()
        expect(page.locator(".badge").first).to_have_text("Done", timeout=DONE_MS)

    page.get_by_role("button", name="Clock, image 1: compare").click()
    expect(page.locator(".remark")).to_contain_text("The original image is not available for comparison. ")
    expect(page.locator(".remark")).to_contain_text("127.0.0.1")
    expect(page.locator(".stage img")).not_to_have_js_property("naturalWidth", 0)


def test_upload_continues_during_navigation(
    page: Page, service: Service, sample_csv: Path, sample_host: str, tmp_path: Path
) -> None:
    # Given a request, and an upload that is held back,
    upload_and_open(page, service, sample_csv)
    second = write_csv(
        tmp_path / "second.csv",
        [["S. No.", "Product Name", "Input Image Urls"], [1, "Clock", f"{sample_host}/clock.jpg"]],
    )
    page.get_by_role("link", name="All requests").click()
    previews: list[Route] = []
    held_routes: list[Route] = []

    def hold(route: Route) -> None:
        if "multipart" not in route.request.headers.get("content-type", ""):
            route.fallback()
        elif previews:
            held_routes.append(route)
        else:
            previews.append(route)
            route.fallback()

    page.route("**/graphql", hold)
    page.set_input_files("input[type=file]", str(second))
    expect(page.locator(".upload")).to_contain_text("Recognized: product list")

    # when the other request is opened meanwhile,
    page.locator(".request a", has_text="products.csv").first.click()
    expect(page.get_by_role("heading", level=1, name="products.csv")).to_be_focused()
    page.get_by_role("link", name="All requests").click()

    # then the upload is still running, and arrives once.
    expect(page.locator(".upload")).to_contain_text("second.csv")
    expect(page.locator(".request", has_text="second.csv")).to_have_count(0)
    assert len(held_routes) == 1
    held_routes[0].continue_()
    expect(page.locator(".request", has_text="second.csv")).to_have_count(1)
    expect(page.locator(".upload")).to_have_count(0)


def test_request_deleted_elsewhere_disappears_from_page_and_list(
    open_page: OpenPage, service: Service, sample_csv: Path
) -> None:
    page, others = open_page(), open_page()
    page.clock.install()
    upload_and_open(page, service, sample_csv)
    wait_for_end(page)
    request = page.url.rpartition("/")[2].partition("?")[0]
    others.goto(service.url)
    listed = others.locator(f".request h3 a[href$={request}]")
    expect(listed).to_have_count(1)

    mutation = "mutation($i: DeleteRequestInput!) { deleteRequest(input: $i) { __typename } }"
    response = httpx.post(f"{service.url}/graphql", json={"query": mutation, "variables": {"i": {"id": request}}})
    assert response.json() == {"data": {"deleteRequest": {"__typename": "DeleteRequestSuccess"}}}

    page.clock.fast_forward("00:31")
    expect(page.get_by_role("heading", name="No such request")).to_be_visible()
    # The list receives changes, and does not poll.
    expect(listed).to_have_count(0)


def test_page_polls_without_websockets(page: Page, service: Service, held_csv: Path, holding_host: HoldingHost) -> None:
    page.route_web_socket("**/graphql", lambda socket: socket.close(code=1011))

    upload_and_open(page, service, held_csv)

    expect(page.locator(".counts")).to_contain_text("30 of 31 images done", timeout=DONE_MS)
    expect(page.get_by_text("Live updates are blocked.")).to_be_visible(timeout=RECONNECT_MS)
    holding_host.release()
    wait_for_end(page)


def test_wrong_computer_clock_does_not_change_ages(page: Page, service: Service, sample_csv: Path) -> None:
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=5))

    upload_and_open(page, service, sample_csv)

    expect(page.locator(".request-head time")).to_have_text("now")


def test_product_with_many_images_shows_the_first_and_all_on_demand(
    page: Page, service: Service, sample_host: str, tmp_path: Path
) -> None:
    urls = ",".join([*(f"{sample_host}/gift-card.gif?{n}" for n in range(7)), f"{sample_host}/missing.gif"])
    upload_and_open(
        page,
        service,
        write_csv(tmp_path / "cups.csv", [["S. No.", "Product Name", "Input Image Urls"], [1, "Cup", urls]]),
    )
    wait_for_end(page)

    visible_images = page.locator(".image")
    expect(visible_images).to_have_count(6)
    unfold = page.get_by_role("button", name="All images of Cup")
    expect(unfold).to_have_text("Show all 8 images, 1 more failed")
    unfold.click()
    expect(visible_images).to_have_count(8)
    expect(unfold).to_have_text("Show fewer")


def test_further_outputs_are_linked_below_their_image(
    page: Page, service: Service, sample_host: str, tmp_path: Path
) -> None:
    rows = [["S. No.", "Product Name", "Input Image Urls"], [1, "Cup", f"{sample_host}/clock.jpg"]]
    outputs = [{"name": "full"}, {"name": "thumb", "format": "WEBP", "maxWidth": 40}]
    with Client(service.url) as client:
        request = client.upload(write_csv(tmp_path / "cups.csv", rows), options={"outputs": outputs})

    page.goto(f"{service.url}#/requests/{request.id}")
    wait_for_end(page)

    link = page.get_by_role("list", name="Cup, image 1: further outputs").get_by_role("link")
    expect(link).to_have_text(["thumb"])
    response = httpx.get(f"{service.url}{link.get_attribute('href')}")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/webp")


def test_numbers_use_the_locale_of_the_browser(open_page: OpenPage, service: Service, sample_csv: Path) -> None:
    page = open_page(locale="de-DE")
    upload_and_open(page, service, sample_csv)
    wait_for_end(page)

    expect(page.locator(".save b")).to_have_text(re.compile(r"^\d+\s%$"))
    expect(page.locator(".byte-bar").first).to_have_text(re.compile(r"\d,\d+\sMB now"))


def test_requests_are_filtered_by_file_name_and_status(
    page: Page, service: Service, sample_host: str, held_csv: Path, holding_host: HoldingHost, tmp_path: Path
) -> None:
    # Given a request that is done, and one that runs,
    rows = [["S. No.", "Product Name", "Input Image Urls"], [1, "Card", f"{sample_host}/gift-card.gif"]]
    upload_and_open(page, service, write_csv(tmp_path / "winter-cards.csv", rows))
    wait_for_end(page)
    upload_and_open(page, service, held_csv)
    page.get_by_role("link", name="All requests").click()
    names = page.locator(".request h3")
    search = page.get_by_role("searchbox", name="Search requests by file name")
    status = page.get_by_label("Status of the requests")

    # when a part of a name is searched in any case, then only such requests are listed and counted.
    search.fill("WINTER-c")
    expect(names).to_have_text(["winter-cards.csv"])
    expect(page.get_by_role("heading", name="Requests 1", exact=True)).to_be_visible()
    search.fill("nothing like this")
    expect(page.get_by_text("No matching requests")).to_be_visible()

    # When the requests in progress are listed, then the list follows their status.
    search.fill("")
    status.select_option("In progress")
    expect(names).to_have_text(["catalogue.csv"])
    holding_host.release()
    expect(page.get_by_text("No matching requests")).to_be_visible(timeout=DONE_MS)

    # A new upload is shown whatever the filter was.
    page.set_input_files("input[type=file]", str(write_csv(tmp_path / "spring-cards.csv", rows)))
    expect(names.first).to_have_text("spring-cards.csv")
    expect(status).to_have_value("")
