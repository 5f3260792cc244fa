"""Fixtures: a real browser, and the real service."""

from __future__ import annotations

import csv
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, sync_playwright

from gql_imgproc.standalone import sample_images
from gql_imgproc.standalone.sample_server import serve_images
from gql_imgproc.web.pages import STATIC
from tests.acceptance.conftest import Service

#: Browsers of the system: Playwright's own browser needs its download site.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
#: Products that fill three pages of the list.
THREE_PAGES = 60


def skip_without(requirement: str) -> None:
    """Skip on a laptop, but fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{requirement} is missing")
    pytest.skip(f"{requirement} is missing")


# Scope "module": while Playwright runs, no other test in its process can run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        skip_without("Chromium")
    if not (STATIC / "index.html").is_file():
        skip_without("The built page")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def sample_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a host that serves the sample images."""
    folder = tmp_path_factory.mktemp("images")
    sample_images.create_sample_images(folder)
    with serve_images(folder) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "FETCH_ALLOW_PORTS": "*",
        # As long as the total limit: `HoldingHost` keeps downloads waiting on purpose.
        "FETCH_FIRST_BYTE_SECONDS": "60",
    }
    started = Service(tmp_path_factory.mktemp("service"), (), settings)
    yield started
    started.close()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[OpenPage]:
    """Opens pages, each in its own browser context. Fails on errors in a page and on requests to other hosts."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []

    def allow_own_host_only(route: Route) -> None:
        if route.request.url.startswith((service.url, "data:", "blob:")):
            route.continue_()
        else:
            problems.append(f"requested {route.request.url}")
            route.abort()

    def collect_policy_violations(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            problems.append(message.text)

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 860}, "locale": "en-US"} | options)
        contexts.append(context)
        context.route("**/*", allow_own_host_only)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", collect_policy_violations)
        page.on(
            "websocket",
            lambda socket: (
                None if socket.url.startswith(service.url.replace("http", "ws", 1)) else problems.append(socket.url)
            ),
        )
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page()


@pytest.fixture
def sample_csv(sample_host: str, tmp_path: Path) -> Path:
    """The CSV of the demo."""
    return write_csv(tmp_path / "products.csv", sample_images.sample_csv(sample_host))


class HoldingHost:
    """Holds back each response until `release()`, then answers 404. So a request stays open until then."""

    def __init__(self) -> None:
        self._released = threading.Event()
        released = self._released

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                released.wait(120)
                self.send_response(404)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._released.set()

    def close(self) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def holding_host() -> Iterator[HoldingHost]:
    host = HoldingHost()
    yield host
    host.close()


@pytest.fixture
def held_csv(sample_host: str, holding_host: HoldingHost, tmp_path: Path) -> Path:
    """The CSV of the demo, plus an image on `holding_host`: the request stays open until the host is released."""
    held = [13, "Garden chair", f"{holding_host.url}/chair.jpg"]
    return write_csv(tmp_path / "catalogue.csv", [*sample_images.sample_csv(sample_host), held])


@pytest.fixture
def many_csv(sample_host: str, tmp_path: Path) -> Path:
    """Products for three pages; the image of one does not exist."""
    urls = [f"{sample_host}/gift-card.gif"] * THREE_PAGES
    urls[6] = f"{sample_host}/missing.gif"
    rows = [[number, f"Cup {number}", url] for number, url in enumerate(urls, 1)]
    return write_csv(tmp_path / "cups.csv", [["S. No.", "Product Name", "Input Image Urls"], *rows])


def write_csv(path: Path, rows: Any) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path
