"""Webhook endpoints on the page, for keys with the scope ADMIN."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from playwright.sync_api import expect
from standardwebhooks import Webhook

from gql_imgproc.database.engine import Database
from gql_imgproc.ids import DEFAULT_TENANT
from gql_imgproc.security.scopes import Scope
from tests.acceptance.conftest import Service
from tests.acceptance.test_webhook import receiver
from tests.browser.conftest import OpenPage
from tests.browser.test_accessibility import PHONE, WIDE, violations
from tests.browser.test_accessibility import axe as axe
from tests.browser.test_keys import database as database
from tests.browser.test_keys import enter_key
from tests.browser.test_keys import folder as folder
from tests.support.api_keys import given_key

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def service(folder: Path, database: Database) -> Iterator[Service]:
    settings = {
        "FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "FETCH_ALLOW_PORTS": "*",
        "SECRETS_KEY": Fernet.generate_key().decode(),
    }
    started = Service(folder, ("--workers", "1"), settings)
    yield started
    started.close()


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone", "wide"])
def test_admin_manages_endpoints(
    open_page: OpenPage, service: Service, database: Database, axe: str, size: Any, scheme: Any
) -> None:
    admin, _ = given_key(database)
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    secret = page.locator(".notice code")
    found: dict[str, Any] = {}

    def check(state: str) -> None:
        found[state] = violations(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state

    with receiver([204]) as (url, received):
        page.goto(service.url)
        enter_key(page, admin)
        page.get_by_role("link", name="Webhooks").click()
        expect(page.get_by_role("heading", name="Webhooks", exact=True)).to_be_visible()

        # An invalid URL is refused with the reason.
        page.get_by_label("URL of a new endpoint").fill("ftp://shop.example/")
        page.get_by_role("button", name="Create endpoint").click()
        expect(page.locator(".notice.bad")).to_contain_text("http")
        check("refused")

        # The secret of a new endpoint is shown once, and verifies a test.
        page.get_by_label("URL of a new endpoint").fill(f"{url}&{size['width']}")
        page.get_by_label("progressed").check()
        page.get_by_role("button", name="Create endpoint").click()
        expect(secret).to_have_text(re.compile("^whsec_"))
        text = secret.inner_text()
        card = page.get_by_role("listitem").filter(has_text=f"token=***&{size['width']}")
        expect(card).to_contain_text("completed, failed, cancelled, progressed")
        check("created")
        page.get_by_role("button", name="Copied").click()
        expect(secret).to_have_count(0)
        card.get_by_role("button", name="Send test").click()
        expect(card.get_by_text("webhook.test")).to_be_visible()
        while "delivered" not in card.inner_text():
            page.wait_for_timeout(100)
            card.get_by_role("button", name="Reload deliveries").click()
        check("log")
        ((headers, body),) = received
        assert Webhook(text).verify(body, headers) is not None

        # A new secret is another one; the endpoint can be disabled and enabled.
        card.get_by_role("button", name="New secret").click()
        expect(secret).to_have_text(re.compile("^whsec_"))
        assert secret.inner_text() != text
        card.get_by_role("button", name="Disable").click()
        expect(card.locator(".badge")).to_have_text("disabled")
        expect(secret).to_have_count(0)
        check("disabled")
        card.get_by_role("button", name="Enable").click()
        expect(card.locator(".badge")).to_have_text("enabled")
        page.get_by_role("button", name="New secret for uploads").click()
        expect(secret).to_have_text(re.compile("^whsec_"))

    assert found == {state: [] for state in found}
    page.reload()
    expect(page.get_by_text("token=***").first).to_be_visible()
    expect(secret).to_have_count(0)


def test_other_keys_see_no_link(open_page: OpenPage, service: Service, database: Database) -> None:
    user, _ = given_key(database, DEFAULT_TENANT, Scope.READ, Scope.WRITE)
    page = open_page()
    with page.expect_response(lambda response: "ViewerScopes" in (response.request.post_data or "")):
        page.goto(service.url)
        enter_key(page, user)
    expect(page.get_by_text("No requests yet")).to_be_visible()
    expect(page.get_by_role("link", name="Webhooks")).to_have_count(0)

    page.goto(f"{service.url}/#/webhooks")
    expect(page.locator(".notice.bad")).to_contain_text("requires an API key with the scope ADMIN")
