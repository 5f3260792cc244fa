"""A request with 100,000 products costs the browser no more than one page of products."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Connection, update

from gql_imgproc.database.engine import Database
from gql_imgproc.database.tables import images, products, requests
from gql_imgproc.enums import ImageOutcome, ImageStatus, Priority, ProductStatus, RequestPhase, RequestStatus
from gql_imgproc.ids import DEFAULT_TENANT, IdPrefix, encode_global_id, new_id
from gql_imgproc.requests.repository.create import NewProduct, NewRequest, insert_first_chunk
from tests.acceptance.conftest import Service
from tests.browser.test_page import span

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(240)]

PRODUCTS = 100_000
#: A page of products has about 400 elements, whatever the size of the file.
MAX_ELEMENTS = 1_000
#: JavaScript heap, in bytes; 4 MB were measured.
MAX_HEAP_BYTES = 16 * 2**20
#: Time for one page, on a machine that runs other tests as well. An idle machine needs a twentieth.
PAGE_TIMEOUT_MS = 20_000


@pytest.fixture
def large_request(service: Service) -> str:
    """ID of a finished request, written directly to the database: ingestion is not tested here."""
    request_id = new_id()
    new = NewRequest(request_id, DEFAULT_TENANT, Priority.NORMAL, "large.csv", {}, [], None, None, PRODUCTS, PRODUCTS)
    rows = [NewProduct(n, str(n + 1), f"Cup {n + 1}", ["https://x.example/cup.jpg"]) for n in range(PRODUCTS)]

    def write(connection: Connection) -> None:
        # In one transaction, so that no worker ever claims its images.
        insert_first_chunk(connection, new, rows)
        completed: dict[str, Any] = {"status": RequestStatus.COMPLETED, "phase": RequestPhase.DONE}
        completed |= {"processed_products": PRODUCTS, "processed_images": PRODUCTS}
        kept: dict[str, Any] = {"status": ImageStatus.COMPLETED, "outcome": ImageOutcome.KEPT, "due_at": None}
        kept |= {"object_name": "0-1.jpg", "input_bytes": 10, "output_bytes": 10, "sha256": "0" * 64}
        kept |= {"format": "image/jpeg", "width": 1, "height": 1}
        finished = {"status": ProductStatus.COMPLETED, "processed_images": 1}
        connection.execute(update(requests).where(requests.c.id == request_id).values(**completed))
        connection.execute(update(products).where(products.c.request_id == request_id).values(**finished))
        connection.execute(update(images).where(images.c.request_id == request_id).values(**kept))

    database = Database(f"sqlite:///{service.data / 'imgproc.db'}")
    database.write_now(write)
    database.close()
    return encode_global_id(IdPrefix.REQUEST, request_id)


def test_large_request_costs_browser_one_page(page: Page, service: Service, large_request: str) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    names = page.locator(".product h3")
    pages = page.get_by_role("navigation", name="Pages of products")

    page.goto(f"{service.url}/#/requests/{large_request}")
    expect(pages).to_contain_text(span(1, 24, "100,000"), timeout=PAGE_TIMEOUT_MS)
    for number in range(1, 11):
        pages.get_by_role("button", name="Next").click()
        expect(pages).to_contain_text(span(24 * number + 1, 24 * number + 24, "100,000"), timeout=PAGE_TIMEOUT_MS)
    pages.get_by_role("button", name="Last page").click()
    expect(pages).to_contain_text(span("99,977", "100,000", "100,000"), timeout=PAGE_TIMEOUT_MS)
    expect(names.last).to_have_text("Cup 100000 No. 100000")
    page.get_by_role("searchbox").fill("CUP 9999")
    expect(page.locator("#products-title")).to_have_text("Products 11", timeout=PAGE_TIMEOUT_MS)

    session.send("HeapProfiler.collectGarbage")
    measured = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    assert page.evaluate("document.querySelectorAll('*').length") < MAX_ELEMENTS
    assert measured["JSHeapUsedSize"] < MAX_HEAP_BYTES
