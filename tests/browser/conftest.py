"""A real browser before the real service."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, sync_playwright

from gql_imgproc.local import samples
from gql_imgproc.local.image_host import image_host
from gql_imgproc.web.pages import STATIC

from ..acceptance.conftest import Service

#: A browser of the system's: Playwright's own cannot be had without its download site.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]


def lacking(what: str) -> None:
    """A laptop may do without; CI must not."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


# Not for the whole session: while Playwright runs, no other test in its process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        lacking("Chromium")
    if not (STATIC / "index.html").is_file():
        lacking("The built page")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a host that serves the sample pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    samples.make(folder)
    with image_host(folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"FETCH_ALLOW_NETWORKS": "127.0.0.0/8", "FETCH_ALLOW_PORTS": "*"}
    started = Service(tmp_path_factory.mktemp("service"), (), settings)
    yield started
    started.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """A page in a browser of its own; nothing may go wrong in it, and it may ask no other host."""
    context = browser.new_context(viewport={"width": 1200, "height": 860}, accept_downloads=True)
    faults: list[str] = []

    def only_ours(route: Route) -> None:
        if _ours(route.request.url, service):
            route.continue_()
        else:
            faults.append(f"asked another host: {route.request.url}")
            route.abort()

    context.route("**/*", only_ours)
    opened = context.new_page()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if _forbidden(message) else None)
    opened.on("websocket", lambda socket: None if _ours(socket.url, service) else faults.append(socket.url))
    yield opened
    context.close()
    assert faults == []


def _ours(url: str, service: Service) -> bool:
    return url.startswith((f"{service.url}/", service.url.replace("http", "ws", 1) + "/", "data:", "blob:"))


def _forbidden(message: ConsoleMessage) -> bool:
    """Whether the browser says that the page tried what its policy forbids."""
    return "Content Security Policy" in message.text


@pytest.fixture
def sample_csv(pictures: str, tmp_path: Path) -> Path:
    """The CSV of the demo."""
    path = tmp_path / "products.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(samples.manifest(pictures))
    return path
