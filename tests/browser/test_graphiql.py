"""GraphiQL in a real browser with the real service: no other host, no policy violation, no console message."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import httpx
import pytest
from graphql import build_schema
from playwright.sync_api import Locator, Page, expect

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import Service
from tests.acceptance.netns_hosts import host

SCHEMA = Path(__file__).parents[2] / "schema.graphql"
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

#: Timeout for one step on a machine that runs other tests as well, in milliseconds.
STEP_MS = 20_000
DONE_MS = 60_000
TABS = ["Requests", "Request", "Progress", "Upload", "Products", "Retry", "Cancel"]
IN_MENU = [
    *("Preview", "Estimate", "Limits", "Product", "Node", "Nodes", "Viewer", "ResendWebhook", "Delete"),
    *("Keys", "CreateKey", "RotateKey", "RevokeKey", "AuditLog"),
    *("RequestsChanged", "WebhookEndpoints", "CreateWebhookEndpoint", "RotateWebhookSecret", "TestWebhookEndpoint"),
    *("WebhookDeliveries", "DisableWebhookEndpoint", "EnableWebhookEndpoint"),
]
WITHOUT_VARIABLES = ("Requests", "Viewer", "Limits", "Keys", "AuditLog", "RequestsChanged", "WebhookEndpoints")
BY_ENDPOINT_ID = ("TestWebhookEndpoint", "WebhookDeliveries", "DisableWebhookEndpoint", "EnableWebhookEndpoint")
BY_ID = ("Request", "Progress", "Node", "Retry", "Cancel", "ResendWebhook", "Delete")
#: Removes what browsers lack without a graphics card or on a page without HTTPS.
WITHOUT_FEATURES = """
HTMLCanvasElement.prototype.getContext = () => null;
Object.defineProperty(navigator, "clipboard", { value: undefined });
"""


@pytest.fixture
def graphiql(page: Page, service: Service) -> Iterator[Page]:
    messages: list[str] = []
    page.on("console", lambda message: messages.append(f"{message.type}: {message.text}"))
    page.add_init_script(WITHOUT_FEATURES)
    page.goto(f"{service.url}/graphql")
    expect(page.locator(".result-window .CodeMirror")).to_be_visible(timeout=STEP_MS)
    page.wait_for_load_state("networkidle")
    yield page
    assert messages == []


@pytest.fixture
def held_host() -> Iterator[tuple[str, Callable[[], None]]]:
    """URL of a host that holds back its images, and the function that releases them."""
    released = Event()
    image = sample_images.render_sample("gift-card.gif")

    def answer(path: str) -> bytes:
        released.wait(DONE_MS / 1000)
        return image

    with host(answer) as port:
        yield f"http://127.0.0.1:{port}", released.set
        released.set()


@pytest.fixture
def shop(held_host: tuple[str, Callable[[], None]], tmp_path: Path) -> Path:
    """A CSV with three images on `held_host`."""
    rows = "".join(f"{n},Shirt,{held_host[0]}/{n}.gif\n" for n in (1, 2, 3))
    csv = tmp_path / "shop.csv"
    csv.write_text(f"S. No.,Product Name,Input Image Urls\n{rows}")
    return csv


def open_tab(page: Page, title: str) -> None:
    if title in IN_MENU:
        page.get_by_label("More samples").select_option(title)
    else:
        page.get_by_role("tab", name=title, exact=True).click()
    pattern = re.compile(rf"(query|mutation|subscription) {title}\b")
    expect(query(page)).to_contain_text(pattern, timeout=STEP_MS)


def query(page: Page) -> Locator:
    return page.locator(".graphiql-query-editor .CodeMirror-code")


def variables(page: Page) -> object:
    editor = page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror")
    return json.loads(editor.evaluate("editor => editor.CodeMirror.getValue()"))


def run(page: Page) -> None:
    """Run the operation with the keyboard, from the editor."""
    # At the corner, since the toolbar may cover the middle of a long document.
    query(page).click(position={"x": 4, "y": 4})
    page.keyboard.press("Control+Enter")


def expect_result(page: Page, text: str, within_ms: int = STEP_MS) -> None:
    expect(page.locator(".result-window")).to_contain_text(text, timeout=within_ms)


def send_file(page: Page, csv: Path) -> str:
    """Upload with the panel. Returns the request ID."""
    page.set_input_files(".upload-panel input[type=file]", str(csv))
    page.locator(".upload-panel button[type=submit]").click()
    answer = page.get_by_label("Answer")
    expect(answer).to_contain_text("UploadCsvSuccess", timeout=STEP_MS)
    return str(json.loads(answer.inner_text())["data"]["uploadCsv"]["request"]["id"])


def test_every_operation_has_a_sample_that_the_keyboard_runs(graphiql: Page) -> None:
    titles = graphiql.get_by_role("tab").all_inner_texts()
    _, *others = graphiql.get_by_label("More samples").locator("option").all_inner_texts()
    run(graphiql)

    assert (titles, others) == (TABS, IN_MENU)
    expect_result(graphiql, '"totalCount"')
    open_tab(graphiql, "Limits")
    run(graphiql)
    expect_result(graphiql, '"maxPageSize": 100')


def test_sample_of_the_menu_opens_once_in_a_tab_that_survives_a_reload(graphiql: Page) -> None:
    # Given two samples of the menu, one of which was chosen twice,
    for title in ("Viewer", "Keys", "Viewer"):
        open_tab(graphiql, title)
    run(graphiql)
    expect_result(graphiql, '"viewer"')

    # when the page is loaded again,
    graphiql.wait_for_function("() => (localStorage.getItem('graphiql:tabState') ?? '').includes('query Keys')")
    graphiql.reload()
    expect(graphiql.locator(".result-window .CodeMirror")).to_be_visible(timeout=STEP_MS)

    # then each has one tab.
    assert graphiql.get_by_role("tab").all_inner_texts() == [*TABS, "Viewer", "Keys"]
    expect(query(graphiql)).to_contain_text("query Viewer")


def test_newly_opened_tab_runs_its_own_operation(graphiql: Page) -> None:
    # For 0.1 s GraphiQL still has the name and the syntax tree of the previous tab.
    with graphiql.expect_websocket():
        graphiql.get_by_role("tab", name="Progress", exact=True).click()
        graphiql.evaluate("document.querySelector('.graphiql-execute-button').click()")

    # The newest request of the service, or an error if no other test created one.
    result = re.compile(r'"requestProgress"|"code": "NOT_FOUND"')
    expect(graphiql.locator(".result-window")).to_contain_text(result, timeout=STEP_MS)


def test_subscription_follows_an_upload_to_its_end(
    graphiql: Page, service: Service, shop: Path, held_host: tuple[str, Callable[[], None]]
) -> None:
    # Given an upload,
    id = send_file(graphiql, shop)

    # when its prefilled subscription is run,
    graphiql.get_by_role("button", name="Show the subscription").click()
    assert variables(graphiql) == {"id": id}
    with graphiql.expect_websocket() as socket:
        run(graphiql)
    assert socket.value.url == service.url.replace("http", "ws") + "/graphql"

    # then it returns the state before the first image, the final state, and ends.
    expect_result(graphiql, '"processedImages": 0')
    stop = graphiql.get_by_role("button", name="Stop query (Ctrl-Enter)")
    expect(stop).to_be_visible()
    held_host[1]()
    expect_result(graphiql, '"status": "COMPLETED"', DONE_MS)
    expect_result(graphiql, '"processedImages": 3')
    expect_result(graphiql, f"{service.url}/api/download/{id}")
    expect(stop).to_have_count(0)
    if folder := os.environ.get("SCREENSHOTS"):
        graphiql.screenshot(path=Path(folder) / "graphiql.png")


def test_upload_fills_the_variables_of_every_tab(
    graphiql: Page, shop: Path, held_host: tuple[str, Callable[[], None]]
) -> None:
    held_host[1]()
    open_tab(graphiql, "Cancel")

    id = send_file(graphiql, shop)

    filled = {}
    for title in (*TABS, *IN_MENU):
        if title not in WITHOUT_VARIABLES:
            open_tab(graphiql, title)
            filled[title] = variables(graphiql)
    product = filled.pop("Product")
    assert product["productId"].startswith("prd_")  # type: ignore[index]
    assert filled.pop("Nodes") == {"id": id, "productId": product["productId"]}  # type: ignore[index]
    assert filled == {
        "Upload": {"input": {"file": None, "priority": "NORMAL", "options": {"quality": 50}}},
        "Preview": {"input": {"file": None}},
        "Estimate": {"input": {"file": None}},
        "Products": {"nameContains": ""},
        "CreateKey": {"input": {"name": "shop", "scopes": ["READ", "WRITE"]}},
        "RotateKey": {"keyId": ""},
        "RevokeKey": {"keyId": ""},
        "CreateWebhookEndpoint": {
            "input": {
                "url": "https://shop.example.com/hooks/images",
                "eventTypes": ["REQUEST_COMPLETED", "REQUEST_FAILED"],
            }
        },
        "RotateWebhookSecret": {"input": {"endpointId": None}},
        **{title: {"endpointId": ""} for title in BY_ENDPOINT_ID},
        **{title: {"id": id} for title in BY_ID},
    }
    open_tab(graphiql, "Product")
    run(graphiql)
    expect_result(graphiql, '"productName": "Shirt"')


def test_filled_variables_survive_a_reload(
    graphiql: Page, shop: Path, held_host: tuple[str, Callable[[], None]]
) -> None:
    held_host[1]()
    id = send_file(graphiql, shop)
    # GraphiQL stores its tabs half a second after the last change.
    graphiql.wait_for_function("id => localStorage.getItem('graphiql:tabState').includes(id)", arg=id)

    graphiql.reload()
    expect(graphiql.locator(".result-window .CodeMirror")).to_be_visible(timeout=STEP_MS)

    open_tab(graphiql, "Delete")
    assert variables(graphiql) == {"id": id}


def test_mutation_in_its_tab_uses_the_file_of_the_panel(
    graphiql: Page, service: Service, shop: Path, held_host: tuple[str, Callable[[], None]]
) -> None:
    held_host[1]()
    open_tab(graphiql, "Upload")
    run(graphiql)
    expect_result(graphiql, "Choose a file in the panel “Upload a CSV” first.")

    graphiql.set_input_files(".upload-panel input[type=file]", str(shop))
    run(graphiql)

    expect_result(graphiql, '"__typename": "UploadCsvSuccess"')
    expect_result(graphiql, '"totalImages": 3')


def test_rejected_file_shows_its_problems_and_changes_no_tab(graphiql: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("S. No.,Product Name,Input Image Urls\n1,,https://a.example/x.jpg\n")
    open_tab(graphiql, "Request")
    before = variables(graphiql)

    graphiql.set_input_files(".upload-panel input[type=file]", str(bad))
    graphiql.locator(".upload-panel button[type=submit]").click()

    expect(graphiql.get_by_label("Answer")).to_contain_text("PRODUCT_NAME_EMPTY", timeout=STEP_MS)
    assert variables(graphiql) == before
    expect(graphiql.get_by_role("button", name="Show the subscription")).to_have_count(0)


def test_curl_command_has_the_url_of_this_service(graphiql: Page, service: Service, shop: Path) -> None:
    graphiql.set_input_files(".upload-panel input[type=file]", str(shop))

    graphiql.get_by_text("As a curl command").click()

    command = graphiql.locator(".upload-panel details").last
    expect(command).to_contain_text(f"curl {service.url}/graphql")
    expect(command).to_contain_text("-F 0=@'shop.csv'")


def test_documentation_explorer_shows_the_schema(graphiql: Page) -> None:
    subscription = build_schema(SCHEMA.read_text(encoding="utf-8")).subscription_type
    assert subscription is not None
    field = subscription.fields["requestProgress"]

    graphiql.get_by_role("button", name="Show Documentation Explorer").click()

    explorer = graphiql.locator(".graphiql-doc-explorer")
    explorer.get_by_text("Subscription", exact=True).click()
    explorer.get_by_text("requestProgress", exact=True).click()

    expect(explorer).to_contain_text(str(field.args["id"].description))


def test_query_can_be_copied_without_the_clipboard_api(graphiql: Page) -> None:
    graphiql.get_by_role("button", name="Copy query (Shift-Ctrl-C)").click()

    field = graphiql.get_by_label("Other input fields")
    field.fill("")
    field.press("Control+v")
    assert "query Requests {" in field.input_value()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_graphiql_follows_the_color_scheme_of_the_system(graphiql: Page, scheme: str, dark: bool) -> None:
    graphiql.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]

    for part in (".graphiql-container", ".upload-panel h2"):
        name = "background-color" if part == ".graphiql-container" else "color"
        colour = graphiql.locator(part).evaluate(f"part => getComputedStyle(part)['{name}']")
        lightness = sum(float(number) for number in re.findall(r"[\d.]+", colour)[:3]) / 3
        assert (lightness < 128) is (dark if name == "background-color" else not dark), colour


def test_content_security_policy_allows_own_scripts_only(service: Service) -> None:
    answer = httpx.get(f"{service.url}/graphql", headers={"Accept": "text/html"})

    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts
    for attributes, inline in scripts:
        assert 'src="/static/' in attributes
        assert inline == ""


def test_scripts_are_served_compressed(service: Service) -> None:
    sizes = {}
    for coding in ("br", "gzip", "identity"):
        answer = httpx.get(f"{service.url}/static/graphiql/graphiql.js", headers={"Accept-Encoding": coding})
        sizes[coding] = int(answer.headers["content-length"])

    assert sizes["br"] < sizes["gzip"] < sizes["identity"] / 4
