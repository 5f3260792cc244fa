"""GraphiQL in a real browser, before the real service: no other host, no violation of the policy, a silent console."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service
from tests.acceptance.netns_hosts import host

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

#: How long something may take beside other tests, in milliseconds.
SOON_MS = 20_000
DONE_MS = 60_000
TITLES = [
    *("Requests", "Request", "Progress", "Upload", "Products", "Product", "Node", "Viewer", "Limits"),
    *("Retry", "Cancel", "ResendWebhook", "Delete"),
    *("Keys", "CreateKey", "RotateKey", "RevokeKey", "AuditLog"),
]
WITHOUT_VARIABLES = ("Requests", "Viewer", "Limits", "Keys", "AuditLog")
BY_ID = ("Request", "Progress", "Node", "Retry", "Cancel", "ResendWebhook", "Delete")
#: What a browser without a graphics card and on a page that is not secure has not.
WITHOUT = """
HTMLCanvasElement.prototype.getContext = () => null;
Object.defineProperty(navigator, "clipboard", { value: undefined });
"""


@pytest.fixture
def graphiql(page: Page, service: Service) -> Iterator[Page]:
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.add_init_script(WITHOUT)
    page.goto(f"{service.url}/graphql")
    expect(page.locator(".result-window .CodeMirror")).to_be_visible(timeout=SOON_MS)
    page.wait_for_load_state("networkidle")
    yield page
    assert said == []


@pytest.fixture
def held() -> Iterator[tuple[str, Callable[[], None]]]:
    """Address of a host whose pictures come when they are let go, and what lets them go."""
    free = Event()
    picture = sample_images.render_sample("gift-card.gif")

    def answer(path: str) -> bytes:
        free.wait(DONE_MS / 1000)
        return picture

    with host(answer) as port:
        yield f"http://127.0.0.1:{port}", free.set
        free.set()


@pytest.fixture
def shop(held: tuple[str, Callable[[], None]], tmp_path: Path) -> Path:
    """A CSV of three pictures that are held back."""
    rows = "".join(f"{n},Shirt,{held[0]}/{n}.gif\n" for n in (1, 2, 3))
    csv = tmp_path / "shop.csv"
    csv.write_text(f"S. No.,Product Name,Input Image Urls\n{rows}")
    return csv


def open_tab(page: Page, title: str) -> None:
    page.get_by_role("tab", name=title, exact=True).click()
    expect(query(page)).to_contain_text(re.compile(rf"(query|mutation|subscription) {title}\b"))


def query(page: Page) -> Locator:
    return page.locator(".graphiql-query-editor .CodeMirror-code")


def variables(page: Page) -> object:
    editor = page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror")
    return json.loads(editor.evaluate("editor => editor.CodeMirror.getValue()"))


def run(page: Page) -> None:
    """By the keyboard, from the editor."""
    # Not in its middle, where the toolbar may float above a long document.
    query(page).click(position={"x": 4, "y": 4})
    page.keyboard.press("Control+Enter")


def expect_result(page: Page, text: str, within_ms: int = SOON_MS) -> None:
    expect(page.locator(".result-window")).to_contain_text(text, timeout=within_ms)


def send_file(page: Page, csv: Path) -> str:
    """Uploads by the panel; the identifier of the request."""
    page.set_input_files(".upload-panel input[type=file]", str(csv))
    page.locator(".upload-panel button[type=submit]").click()
    answer = page.get_by_label("Answer")
    expect(answer).to_contain_text("UploadCsvSuccess", timeout=SOON_MS)
    return str(json.loads(answer.inner_text())["data"]["uploadCsv"]["request"]["id"])


def test_every_operation_has_a_tab_and_the_keyboard_runs_it(graphiql: Page) -> None:
    titles = graphiql.get_by_role("tab").all_inner_texts()
    run(graphiql)

    assert titles == TITLES
    expect_result(graphiql, '"totalCount"')
    open_tab(graphiql, "Limits")
    run(graphiql)
    expect_result(graphiql, '"maxPageSize": 100')


def test_a_tab_that_was_just_chosen_runs_as_itself(graphiql: Page) -> None:
    # For a tenth of a second GraphiQL has the name and the syntax tree of the tab before.
    with graphiql.expect_websocket():
        graphiql.get_by_role("tab", name="Progress", exact=True).click()
        graphiql.evaluate("document.querySelector('.graphiql-execute-button').click()")

    # The newest request of the service, if another test has made one.
    told = re.compile(r'"requestProgress"|There is no such request\.')
    expect(graphiql.locator(".result-window")).to_contain_text(told, timeout=SOON_MS)


def test_an_upload_by_the_panel_is_watched_to_its_end(
    graphiql: Page, service: Service, shop: Path, held: tuple[str, Callable[[], None]]
) -> None:
    # Given an upload,
    id = send_file(graphiql, shop)

    # when its prefilled subscription is run,
    graphiql.get_by_role("button", name="Show the subscription").click()
    assert variables(graphiql) == {"id": id}
    with graphiql.expect_websocket() as socket:
        run(graphiql)
    assert socket.value.url == service.url.replace("http", "ws") + "/graphql"

    # then the state is told before the first picture, and again when they have come, and then it ends.
    expect_result(graphiql, '"processedImages": 0')
    stop = graphiql.get_by_role("button", name="Stop query (Ctrl-Enter)")
    expect(stop).to_be_visible()
    held[1]()
    expect_result(graphiql, '"status": "COMPLETED"', DONE_MS)
    expect_result(graphiql, '"processedImages": 3')
    expect_result(graphiql, f"{service.url}/api/download/{id}")
    expect(stop).to_have_count(0)
    if folder := os.environ.get("SCREENSHOTS"):
        graphiql.screenshot(path=Path(folder) / "graphiql.png")


def test_after_an_upload_every_tab_is_about_it(
    graphiql: Page, shop: Path, held: tuple[str, Callable[[], None]]
) -> None:
    held[1]()
    open_tab(graphiql, "Cancel")

    id = send_file(graphiql, shop)

    about = {}
    for title in TITLES:
        if title not in WITHOUT_VARIABLES:
            open_tab(graphiql, title)
            about[title] = variables(graphiql)
    product = about.pop("Product")
    assert product["productId"].startswith("prd_")  # type: ignore[index]
    assert about == {
        "Upload": {"input": {"file": None, "priority": "NORMAL", "options": {"quality": 50}}},
        "Products": {"nameContains": ""},
        "CreateKey": {"input": {"name": "shop", "scopes": ["READ", "WRITE"]}},
        "RotateKey": {"keyId": ""},
        "RevokeKey": {"keyId": ""},
        **{title: {"id": id} for title in BY_ID},
    }
    open_tab(graphiql, "Product")
    run(graphiql)
    expect_result(graphiql, '"productName": "Shirt"')


def test_what_an_upload_filled_in_outlives_a_reload(
    graphiql: Page, shop: Path, held: tuple[str, Callable[[], None]]
) -> None:
    held[1]()
    id = send_file(graphiql, shop)
    # GraphiQL stores its tabs half a second after the last change.
    graphiql.wait_for_function("id => localStorage.getItem('graphiql:tabState').includes(id)", arg=id)

    graphiql.reload()
    expect(graphiql.locator(".result-window .CodeMirror")).to_be_visible(timeout=SOON_MS)

    open_tab(graphiql, "Delete")
    assert variables(graphiql) == {"id": id}


def test_the_mutation_in_its_tab_takes_the_file_of_the_panel(
    graphiql: Page, service: Service, shop: Path, held: tuple[str, Callable[[], None]]
) -> None:
    held[1]()
    open_tab(graphiql, "Upload")
    run(graphiql)
    expect_result(graphiql, "Choose a file in the panel “Upload a CSV” first.")

    graphiql.set_input_files(".upload-panel input[type=file]", str(shop))
    run(graphiql)

    expect_result(graphiql, '"__typename": "UploadCsvSuccess"')
    expect_result(graphiql, '"totalImages": 3')


def test_a_refused_file_shows_its_problems_and_changes_no_tab(graphiql: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("S. No.,Product Name,Input Image Urls\n1,,https://a.example/x.jpg\n")
    open_tab(graphiql, "Request")
    before = variables(graphiql)

    graphiql.set_input_files(".upload-panel input[type=file]", str(bad))
    graphiql.locator(".upload-panel button[type=submit]").click()

    expect(graphiql.get_by_label("Answer")).to_contain_text("PRODUCT_NAME_EMPTY", timeout=SOON_MS)
    assert variables(graphiql) == before
    expect(graphiql.get_by_role("button", name="Show the subscription")).to_have_count(0)


def test_the_curl_command_of_the_panel_names_this_service(graphiql: Page, service: Service, shop: Path) -> None:
    graphiql.set_input_files(".upload-panel input[type=file]", str(shop))

    graphiql.get_by_text("The same with curl").click()

    shown = graphiql.locator(".upload-panel details").last
    expect(shown).to_contain_text(f"curl {service.url}/graphql")
    expect(shown).to_contain_text("-F 0=@'shop.csv'")


def test_the_schema_can_be_explored(graphiql: Page) -> None:
    graphiql.get_by_role("button", name="Show Documentation Explorer").click()

    explorer = graphiql.locator(".graphiql-doc-explorer")
    explorer.get_by_text("Subscription", exact=True).click()
    explorer.get_by_text("requestProgress", exact=True).click()

    expect(explorer).to_contain_text("the stream completes after the event with a final status")
    expect(explorer).to_contain_text("Which request.")


def test_the_query_can_be_copied_without_a_clipboard(graphiql: Page) -> None:
    graphiql.get_by_role("button", name="Copy query (Shift-Ctrl-C)").click()

    field = graphiql.get_by_label("The rest of the input")
    field.fill("")
    field.press("Control+v")
    assert "query Requests {" in field.input_value()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_is_as_light_or_dark_as_the_system(graphiql: Page, scheme: str, dark: bool) -> None:
    graphiql.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]

    for part in (".graphiql-container", ".upload-panel h2"):
        name = "background-color" if part == ".graphiql-container" else "color"
        colour = graphiql.locator(part).evaluate(f"part => getComputedStyle(part)['{name}']")
        lightness = sum(float(number) for number in re.findall(r"[\d.]+", colour)[:3]) / 3
        assert (lightness < 128) is (dark if name == "background-color" else not dark), colour


def test_the_policy_lets_no_script_in_but_ours(service: Service) -> None:
    answer = httpx.get(f"{service.url}/graphql", headers={"Accept": "text/html"})

    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts
    for attributes, inline in scripts:
        assert 'src="/static/' in attributes
        assert inline == ""


def test_scripts_come_compressed(service: Service) -> None:
    sizes = {}
    for coding in ("br", "gzip", "identity"):
        answer = httpx.get(f"{service.url}/static/graphiql/graphiql.js", headers={"Accept-Encoding": coding})
        sizes[coding] = int(answer.headers["content-length"])

    assert sizes["br"] < sizes["gzip"] < sizes["identity"] / 4
