"""API keys on the page, for keys with the scope ADMIN."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from gql_imgproc.database.engine import Database
from tests.acceptance.conftest import Service
from tests.browser.conftest import OpenPage
from tests.browser.test_accessibility import PHONE, WIDE, violations
from tests.browser.test_accessibility import axe as axe
from tests.browser.test_keys import database as database
from tests.browser.test_keys import enter_key, expect_key_form
from tests.browser.test_keys import folder as folder
from tests.browser.test_keys import service as service
from tests.support.api_keys import given_key

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone", "wide"])
def test_admin_manages_keys(
    open_page: OpenPage, service: Service, database: Database, axe: str, size: Any, scheme: Any
) -> None:
    admin, _ = given_key(database)
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    secret = page.locator(".notice code")
    found: dict[str, Any] = {}

    def check(state: str) -> None:
        found[state] = violations(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], state
        if screenshots := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=Path(screenshots) / f"keys-{state}-{scheme}.png", full_page=True)

    # A new key is shown once, with the scopes and the expiry that were chosen.
    page.goto(service.url)
    enter_key(page, admin)
    page.get_by_role("link", name="API keys").click()
    expect(page.get_by_role("heading", name="API keys", exact=True)).to_be_visible()
    own = page.get_by_role("listitem").filter(has_text="the key you use now")
    expect(own).to_contain_text(f"gip_{admin.split('_')[1]}_…")
    name = f"nightly import {scheme}"
    page.get_by_label("Name of a new key").fill(name)
    page.get_by_label("write:").uncheck()
    page.get_by_label("Expires").select_option("in 30 days")
    page.get_by_role("button", name="Create key").click()
    expect(secret).to_have_text(re.compile("^gip_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}$"))
    first = secret.inner_text()
    cards = page.get_by_role("listitem").filter(has_text=name)
    created = cards.filter(has_text=first.split("_")[1])
    expect(created.locator(".facts")).to_have_text(re.compile(r"read\s*created now\s*never used\s*expires "))
    expect(created.locator(".badge")).to_have_text("valid")
    check("created")
    page.get_by_role("button", name="Copied").click()
    expect(secret).to_have_count(0)
    assert first not in page.content()

    # A key that is replaced stays valid for a day, next to the new one.
    created.get_by_role("button", name="Replace").click()
    expect(secret).to_have_text(re.compile("^gip_"))
    second = secret.inner_text()
    assert second != first
    expect(created.locator(".badge")).to_have_text("replaced")
    expect(created.get_by_role("button", name="Replace")).to_have_count(0)
    expect(cards.filter(has_text=second.split("_")[1]).locator(".badge")).to_have_text("valid")

    # A key is revoked after a question.
    created.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog", name=f"Revoke {name}?")
    expect(dialog).to_be_visible()
    check("question")
    dialog.get_by_role("button", name="Keep").click()
    expect(created.locator(".badge")).to_have_text("replaced")
    created.get_by_role("button", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke the key").click()
    expect(created).to_be_hidden()
    page.get_by_text("expired or revoked").click()
    expect(created.locator(".badge")).to_have_text("revoked")
    expect(created.get_by_role("button")).to_have_count(0)
    check("revoked")

    # After a reload, no secret is left.
    page.reload()
    expect(own).to_be_visible()
    assert second not in page.content()
    assert found == {state: [] for state in found}

    # The page asks for another key when its own is revoked.
    own.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("dialog")).to_contain_text("this page will ask for another one")
    page.get_by_role("button", name="Revoke the key").click()
    expect_key_form(page, "revoked")


def test_refusals_are_shown(open_page: OpenPage, service: Service, database: Database) -> None:
    admin, _ = given_key(database)
    page = open_page()
    page.goto(service.url)
    enter_key(page, admin)
    page.get_by_role("link", name="API keys").click()

    page.get_by_label("Name of a new key").fill("  ")
    page.get_by_role("button", name="Create key").click()

    expect(page.locator(".notice.bad")).to_contain_text("name")
    expect(page.get_by_role("listitem").filter(has_text="the key you use now")).to_be_visible()
