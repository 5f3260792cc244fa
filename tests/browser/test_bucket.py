"""With objects in a bucket, the browser loads them from there: the page's content security policy allows it."""

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
from tests.browser.conftest import write_csv
from tests.support.s3_server import S3

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(180)]

#: Adds an image to the page; returns whether it loaded.
LOAD_IMAGE = """url => new Promise(resolve => {
  const image = document.createElement("img");
  image.onload = () => resolve(true);
  image.onerror = () => resolve(false);
  image.src = url;
  document.body.append(image);
})"""


@pytest.fixture
def service(s3: S3, tmp_path: Path) -> Iterator[Service]:
    # With `auto` there would be no redirects, since the bucket is on loopback.
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


def test_images_and_output_csv_load_from_the_bucket_only(
    browser: Browser, service: Service, s3: S3, sample_host: str, tmp_path: Path
) -> None:
    # Given a finished request, whose output CSV `submit` downloaded through the redirect,
    header, *products = sample_images.sample_csv(sample_host)
    uploaded, output = write_csv(tmp_path / "shop.csv", [header, *products[:3]]), tmp_path / "out.csv"
    command = [*COMMAND, "submit", str(uploaded), "--url", service.url, "--wait", "--output", str(output)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(output.read_text(encoding="utf-8").splitlines()))
    stored = [url for row in rows for url in row["Output Image Urls"].split(",")]

    # when a browser opens the page of the request,
    page = browser.new_page()
    responses: list[tuple[int, str]] = []
    page.on("response", lambda response: responses.append((response.status, response.url)))
    page.goto(service.url)
    page.locator(".request a[href*=requests]").first.click()
    page.get_by_role("button", name="image 1: compare").first.click()
    after = page.get_by_role("dialog").locator(".comparison img").first
    expect(after).to_have_js_property("naturalWidth", 900)

    # then the image and the output CSV come from the bucket, and the CSV has its usual file name.
    assert any(status == 200 and url.startswith(f"{s3.endpoint}/{s3.bucket}/shop/images/") for status, url in responses)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download output CSV").click()
    assert download.value.suggested_filename == "shop-output.csv"
    assert download.value.path().read_bytes() == output.read_bytes()

    # The policy also applies to redirects: another host name is blocked, even if it is the same server.
    signed = httpx.get(stored[0], follow_redirects=False).headers["location"]
    assert page.evaluate(LOAD_IMAGE, stored[0]) is True
    assert page.evaluate(LOAD_IMAGE, signed) is True
    other_host = signed.replace("127.0.0.1", "localhost")
    assert httpx.get(other_host).status_code == 200
    assert page.evaluate(LOAD_IMAGE, other_host) is False
    page.close()
