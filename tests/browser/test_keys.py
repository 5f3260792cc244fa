"""The page and GraphiQL before a service that asks for API keys."""

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
from tests.browser.test_graphiql import SOON_MS, open_tab, run
from tests.browser.test_page import upload_and_open, wait_for_end
from tests.support.api_keys import given_key, given_tenant

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

UNKNOWN = f"gip_{'a' * 12}_{'b' * 40}"
#: All that the browser keeps beyond the page, and the addresses of its history.
KEPT = """() => JSON.stringify([
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
    # From now on everybody is asked.
    given_key(opened, name="first")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def service(folder: Path, database: Database) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*", "PRIVATE_IMAGES": "true"}
    started = Service(folder, ("--workers", "1"), settings)
    yield started
    started.close()


def asked(page: Page, why: str) -> None:
    expect(page.get_by_role("heading", name="API key")).to_be_visible()
    expect(page.locator("#key-reason")).to_contain_text(why)
    expect(page.get_by_label("Key", exact=True)).to_be_focused()


def give(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Use this key").click()


def frames_of(page: Page) -> list[str]:
    """What sockets that the page opens from now on receive."""
    frames: list[str] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    return frames


def test_with_a_key_the_page_does_all_it_did_and_without_it_shows_nothing(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, key_id = given_key(database)
    frames = frames_of(page)

    # Asked, refused for what is no key and for one that is not known, then let in.
    page.goto(service.url)
    asked(page, "This service asks for an API key.")
    give(page, "secret")
    expect(page.get_by_role("alert").filter(has_text="That is no API key")).to_be_visible()
    give(page, UNKNOWN)
    asked(page, "The API key is refused. It is not known.")
    give(page, key)
    expect(page.get_by_text("Nothing here yet")).to_be_visible()

    # Uploaded, watched over the socket, and after a reload still known.
    upload_and_open(page, service, held_csv)
    expect(page.locator(".product")).to_have_count(13)
    holding_host.release()
    wait_for_end(page)
    assert any("requestProgress" in frame for frame in frames)

    # Private pictures show, the source is there to compare with, the output can be had.
    # Of the first row: others may show theirs before.
    page.locator(".product").first.get_by_role("button", name="picture 1: look closer").click()
    look = page.get_by_role("dialog")
    expect(look.locator(".comparison img.before")).to_have_js_property("naturalWidth", 900)
    expect(look.locator(".comparison img").first).to_have_js_property("naturalWidth", 900)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download output CSV").click()
    assert download.value.path().read_bytes().startswith(b"S. No.")
    assert key not in page.evaluate(KEPT)
    assert key not in download.value.url
    assert json.loads(page.evaluate("JSON.stringify({...sessionStorage})")) == {"gql_imgproc.key": key}

    # Revoked: nothing of it is shown any more, and the key is forgotten.
    database.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)
    page.get_by_role("link", name="All requests").click()
    asked(page, "The API key is refused. It was revoked.")
    expect(page.locator(".request")).to_have_count(0)
    assert page.evaluate("sessionStorage.length") == 0

    # Another tenant's key, for this page alone: it sees none of the first one's, and is forgotten on demand.
    other, _ = given_key(database, given_tenant(database, "other"))
    page.get_by_role("checkbox", name="Keep for this tab").uncheck()
    give(page, other)
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.get_by_role("button", name="Forget API key").click()
    asked(page, "This service asks for an API key.")


def test_a_socket_whose_key_has_ended_is_not_tried_again(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, key_id = given_key(database)
    page.goto(service.url)
    give(page, key)
    frames = frames_of(page)
    upload_and_open(page, service, held_csv)
    while not any("requestProgress" in frame for frame in frames):
        page.wait_for_timeout(50)
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))

    # Only the socket tells of it: questions find no answer meanwhile.
    page.route("**/graphql", lambda route: route.abort())
    database.write_now(key_repository.revoke, DEFAULT_TENANT, key_id)

    expect(page.get_by_role("heading", name="API key")).to_be_visible(timeout=40_000)
    asked(page, "The API key is not good any more")
    assert sockets == []
    holding_host.release()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_keeps_nobody_out(open_page: OpenPage, service: Service, axe: str, scheme: Any) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.goto(service.url)
    asked(page, "This service asks for an API key.")
    first = violations(page, axe)
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="That is no API key")).to_be_visible()

    assert (first, violations(page, axe)) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_graphiql_sends_its_header_over_the_socket_too_and_notes_it_nowhere(
    page: Page, service: Service, database: Database, held_csv: Path, holding_host: HoldingHost
) -> None:
    key, _ = given_key(database)
    page.goto(f"{service.url}/graphql")
    expect(page.locator(".result-window .CodeMirror")).to_be_visible(timeout=SOON_MS)
    page.wait_for_load_state("networkidle")
    write_headers = headers_of(page)
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

    assert key not in page.evaluate(KEPT)
    holding_host.release()


def headers_of(page: Page) -> Callable[[dict[str, str]], None]:
    """How to write headers into the editor of the tab."""

    def write(headers: dict[str, str]) -> None:
        page.get_by_role("button", name="Headers", exact=True).click()
        editor = page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror")
        editor.evaluate("(editor, text) => editor.CodeMirror.setValue(text)", json.dumps(headers))

    return write
