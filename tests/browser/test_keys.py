"""The page and GraphiQL with a service that requires API keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from gql_imgproc.access import key_repository
from gql_imgproc.database.engine import Database
from gql_imgproc.database.migrations import upgrade
from gql_imgproc.ids import DEFAULT_TENANT
from tests.acceptance.conftest import Service
from tests.browser.conftest import HoldingHost, OpenPage
from tests.browser.test_accessibility import axe as axe
from tests.browser.test_accessibility import violations
from tests.browser.test_graphiql import STEP_MS, open_tab, run
from tests.browser.test_page import upload_and_open, wait_for_end
from tests.support.api_keys import given_key, given_tenant

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

UNKNOWN = f"gip_{'a' * 12}_{'b' * 40}"
#: Everything that the browser stores beyond the session, and all URLs it loaded.
BROWSER_DATA = """() => JSON.stringify([
  location.href, document.cookie, {...localStorage}, performance.getEntriesByType('resource').map(entry => entry.name),
])"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "data").mkdir()
    upgrade(f"sqlite:///{folder / 'data' / 'imgproc.db'}")
    return folder


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{folder / 'data' / 'imgproc.db'}")
    # From the first key on, the service requires one.
    given_key(opened, name="first")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def service(folder: Path, database: Database) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*", "PRIVATE_IMAGES": "true"}
    started = Service(folder, ("--workers", "1"), settings)
    yield started
    started.close()


def expect_key_form(page: Page, reason: str) -> None:
    expect(page.get_by_role("heading", name="API key")).to_be_visible()
    expect(page.locator("#key-reason")).to_contain_text(reason)
    expect(page.get_by_label("Key", exact=True)).to_be_focused()


def enter_key(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def record_frames(page: Page) -> list[str]:
    """Frames received by all WebSockets that the page opens from now on."""
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    return frames


def test_page_works_with_a_key_and_shows_nothing_without(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, key_id = given_key(database)
    frames = record_frames(page)

    # The page rejects text that is no key and an unknown key, then accepts a valid key.
    page.goto(service.url)
    expect_key_form(page, "This service requires an API key.")
    enter_key(page, "secret")
    expect(page.get_by_role("alert").filter(has_text="Invalid API key: it must start")).to_be_visible()
    enter_key(page, UNKNOWN)
    expect_key_form(page, "not known")
    enter_key(page, key)
    expect(page.get_by_text("No requests yet")).to_be_visible()

    # An upload works, and the WebSocket delivers its progress.
    upload_and_open(page, service, held_csv)
    expect(page.locator(".product")).to_have_count(13)
    holding_host.release()
    wait_for_end(page)
    assert any("requestProgress" in frame for frame in frames)

    # Private images, the source for comparison and the output CSV load. Use the first row: others may load earlier.
    page.locator(".product").first.get_by_role("button", name="image 1: compare").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".comparison img.before")).to_have_js_property("naturalWidth", 900)
    expect(dialog.locator(".comparison img").first).to_have_js_property("naturalWidth", 900)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download output CSV").click()
    assert download.value.path().read_bytes().startswith(b"S. No.")
    assert key not in page.evaluate(BROWSER_DATA)
    assert key not in download.value.url
    assert json.loads(page.evaluate("JSON.stringify({...sessionStorage})")) == {"gql_imgproc.key": key}

    # After the key is revoked, the page shows no data and removes the key.
    database.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)
    # Not by the link: the page may have noticed it and removed the link.
    page.evaluate("location.hash = '#/'")
    expect_key_form(page, "revoked")
    expect(page.locator(".request")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0

    # The key of another tenant shows no data of the first one, is not stored, and is removed on request.
    other, _ = given_key(database, given_tenant(database, "other"))
    page.get_by_role("checkbox", name="Remember in this tab").uncheck()
    enter_key(page, other)
    expect(page.get_by_text("No requests yet")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_role("button", name="Forget API key").click()
    expect_key_form(page, "This service requires an API key.")


def test_socket_with_revoked_key_does_not_reconnect(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, key_id = given_key(database)
    page.goto(service.url)
    enter_key(page, key)
    frames = record_frames(page)
    upload_and_open(page, service, held_csv)
    while not any("requestProgress" in frame for frame in frames):
        page.wait_for_timeout(50)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))

    # Queries fail meanwhile, so only the WebSocket reports the revocation.
    page.route("**/graphql", lambda route: route.abort())
    database.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)

    expect(page.get_by_role("heading", name="API key")).to_be_visible(timeout=40_000)
    expect_key_form(page, "API key")
    expect(page.locator("#key-reason")).not_to_contain_text("This service requires")
    assert sockets == []
    holding_host.release()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_key_form_is_accessible(open_page: OpenPage, service: Service, axe: str, scheme: Any) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.goto(service.url)
    expect_key_form(page, "This service requires an API key.")
    first = violations(page, axe)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="Invalid API key: it must start")).to_be_visible()

    assert (first, violations(page, axe)) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_graphiql_sends_the_key_over_the_socket_and_stores_it_nowhere(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, _ = given_key(database)
    page.goto(f"{service.url}/graphql")
    expect(page.locator(".result-window .CodeMirror")).to_be_visible(timeout=STEP_MS)
    page.wait_for_load_state("networkidle")
    write_headers = header_writer(page)
    write_headers({"Authorization": f"Bearer {key}"})
    run(page)
    expect(page.locator(".result-window")).to_contain_text("totalCount")
    page.set_input_files(".upload-panel input[type=file]", str(held_csv))
    page.locator(".upload-panel button[type=submit]").click()
    expect(page.get_by_label("Answer")).to_contain_text("UploadCsvSuccess")

    open_tab(page, "Progress")
    write_headers({"authorization": f"Bearer {key}"})
    run(page)
    expect(page.locator(".result-window")).to_contain_text("requestProgress")

    assert key not in page.evaluate(BROWSER_DATA)
    holding_host.release()


def header_writer(page: Page) -> Callable[[dict[str, str]], None]:
    """Returns a function that writes headers into the editor of the current tab."""

    def write(headers: dict[str, str]) -> None:
        page.get_by_role("button", name="Headers", exact=True).click()
        editor = page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror")
        editor.evaluate("(editor, text) => editor.CodeMirror.setValue(text)", json.dumps(headers))

    return write
