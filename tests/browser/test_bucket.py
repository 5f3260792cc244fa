"""The service with its objects in a bucket: a browser gets them from there, since the page's policy lets it."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from gql_imgproc.standalone import sample_images
from tests.acceptance.conftest import COMMAND, Service, environment
from tests.browser.conftest import written
from tests.support.s3_server import S3

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

#: Adds a picture to the page; whether it was shown.
SHOW = """address => new Promise(resolve => {
  const image = document.createElement("img");
  image.onload = () => resolve(true);
  image.onerror = () => resolve(false);
  image.src = address;
  document.body.append(image);
})"""


@pytest.fixture
def service(s3: S3, tmp_path: Path) -> Iterator[Service]:
    # The process has the way to the bucket in its environment; `auto` would take loopback for out of reach.
    settings = {
        "FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "FETCH_ALLOW_PORTS": "*",
        "STORAGE_URL": f"{s3.url}/shop",
        "STORAGE_REDIRECTS": "on",
    }
    started = Service(tmp_path, ("--workers", "1"), settings)
    yield started
    status = started.stop()
    started.close()
    assert status == 0, started.log.read_text()


def test_pictures_and_output_come_from_the_bucket_and_from_no_other_place(
    browser: Browser, service: Service, s3: S3, pictures: str, tmp_path: Path
) -> None:
    # Given what the client uploaded and downloaded, following the redirect.
    header, *products = sample_images.sample_csv(pictures)
    uploaded, output = written(tmp_path / "shop.csv", [header, *products[:3]]), tmp_path / "out.csv"
    command = [*COMMAND, "submit", str(uploaded), "--url", service.url, "--wait", "--output", str(output)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(output.read_text(encoding="utf-8").splitlines()))
    stored = [address for row in rows for address in row["Output Image Urls"].split(",")]

    # When a browser opens the page of the request.
    page = browser.new_page()
    answers: list[tuple[int, str]] = []
    page.on("response", lambda answer: answers.append((answer.status, answer.url)))
    page.goto(service.url)
    page.locator(".request a[href*=requests]").first.click()
    page.get_by_role("button", name="picture 1: look closer").first.click()
    after = page.get_by_role("dialog").locator(".comparison img").first
    expect(after).to_have_js_property("naturalWidth", 900)

    # Then the picture came from the bucket, as the output CSV does, with the name that it has with us.
    assert any(status == 200 and url.startswith(f"{s3.endpoint}/{s3.bucket}/shop/requests/") for status, url in answers)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download output CSV").click()
    assert download.value.suggested_filename == "shop-output.csv"
    assert download.value.path().read_bytes() == output.read_bytes()

    # And the policy goes for redirects: the same server by another name is another place.
    signed = httpx.get(stored[0], follow_redirects=False).headers["location"]
    assert page.evaluate(SHOW, stored[0]) is True
    assert page.evaluate(SHOW, signed) is True
    elsewhere = signed.replace("127.0.0.1", "localhost")
    assert httpx.get(elsewhere).status_code == 200
    assert page.evaluate(SHOW, elsewhere) is False
    page.close()
