"""Share links of file services."""

from __future__ import annotations

import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net import image_fetcher
from gql_imgproc.net.share_links import ShareLink, find_share_link
from tests.support.image_host import IMAGE, Exchange, Script, fetch_error, open_fetcher, serve

DRIVE = "https://drive.google.com/uc?export=download&id=1aB-c_D"
ONEDRIVE = "https://api.onedrive.com/v1.0/shares/u!{}/root/content"


@pytest.mark.parametrize(
    ("url", "direct_url"),
    [
        ("https://drive.google.com/file/d/1aB-c_D/view?usp=sharing", DRIVE),
        ("https://drive.google.com/file/u/0/d/1aB-c_D/edit#top", DRIVE),
        ("http://drive.google.com/open?id=1aB-c_D&authuser=0", DRIVE),
        ("https://drive.google.com/uc?id=1aB-c_D", DRIVE),
        ("https://drive.google.com/u/0/uc?id=1aB-c_D&export=download", DRIVE),
        ("https://drive.google.com/u/1/open?id=1aB-c_D", DRIVE),
        ("https://drive.google.com/a/shop.example/file/d/1aB-c_D/view", DRIVE),
        ("https://docs.google.com/uc?id=1aB-c_D", DRIVE),
        ("https://docs.google.com/file/d/1aB-c_D/edit", DRIVE),
        ("https://drive.google.com/file/d/1aB-c_D/view?resourcekey=0-x", f"{DRIVE}&resourcekey=0-x"),
        ("https://www.dropbox.com/s/abc/a%20b.jpg?dl=0", "https://www.dropbox.com/s/abc/a%20b.jpg?dl=1"),
        (
            "https://www.dropbox.com/scl/fi/abc/a.jpg?rlkey=x&raw=1",
            "https://www.dropbox.com/scl/fi/abc/a.jpg?rlkey=x&dl=1",
        ),
        ("https://dropbox.com/s/abc/a.jpg", "https://dropbox.com/s/abc/a.jpg?dl=1"),
        ("https://1drv.ms/i/s!Abc?e=x", ONEDRIVE.format("aHR0cHM6Ly8xZHJ2Lm1zL2kvcyFBYmM_ZT14")),
        (
            "https://onedrive.live.com/?id=A!1&authkey=!B",
            ONEDRIVE.format("aHR0cHM6Ly9vbmVkcml2ZS5saXZlLmNvbS8_aWQ9QSExJmF1dGhrZXk9IUI"),
        ),
        (
            "https://shop-my.sharepoint.com/:i:/g/personal/me/Eabc?e=x",
            "https://shop-my.sharepoint.com/:i:/g/personal/me/Eabc?e=x&download=1",
        ),
    ],
)
def test_share_link_has_a_direct_url(url: str, direct_url: str) -> None:
    link = find_share_link(url)

    assert link is not None
    assert link.direct_url == direct_url


@pytest.mark.parametrize(
    "url",
    [
        "https://drive.google.com/drive/folders/1abc?usp=sharing",
        "https://drive.google.com/drive/u/0/folders/1abc",
        "https://www.dropbox.com/sh/abc/def?dl=0",
        "https://www.dropbox.com/scl/fo/abc/def?rlkey=x",
        "https://1drv.ms/f/s!Abc",
        "https://shop.sharepoint.com/:f:/s/images/Eabc",
    ],
)
async def test_link_of_a_folder_says_how_to_get_the_files(url: str) -> None:
    async with open_fetcher() as fetcher:
        error = await fetch_error(fetcher, url)

    assert (error.code, error.retryable) == (ImageErrorCode.NOT_AN_IMAGE, False)
    assert error.message == (
        'The link leads to a folder. Share each image with "Anyone with the link", and use its own link.'
    )


@pytest.mark.parametrize("path", ["t/abc", "home/a.jpg", "preview/a.jpg?role=personal"])
async def test_page_of_dropbox_says_how_to_get_the_file(path: str) -> None:
    async with open_fetcher() as fetcher:
        error = await fetch_error(fetcher, f"https://www.dropbox.com/{path}")

    assert (error.code, error.retryable) == (ImageErrorCode.NOT_AN_IMAGE, False)
    assert error.message.startswith("The link leads to a web page. Share the file itself")


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/file/d/1/view",
        "https://drive.google.com.evil.example/file/d/1/view",
        "https://drive.google.com:8443/file/d/1/view",
        "https://evil.example/?u=https://drive.google.com/file/d/1/view",
        "https://drive.google.com/thumbnail?id=1",
        "https://docs.google.com/document/d/1/edit",
        "https://dl.dropboxusercontent.com/s/abc/a.jpg",
        "https://1drv.ms/i/c/abc/IQabc?width=256&height=256",
        "https://onedrive.live.com/download?resid=A!1&authkey=!B",
        "https://shop.sharepoint.com/images/a.jpg",
        "ftp://drive.google.com/file/d/1/view",
    ],
)
def test_other_url_is_no_share_link(url: str) -> None:
    assert find_share_link(url) is None


def send(body: bytes, status: str = "200 OK") -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.respond(body, status)

    return script


async def test_file_of_a_share_link_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(send(IMAGE)) as host, open_fetcher() as fetcher:
        monkeypatch.setattr(image_fetcher, "find_share_link", lambda _: ShareLink(host.url("/direct"), "Share it."))
        assert await fetcher.fetch("https://drive.google.com/file/d/1/view") == IMAGE

    assert [exchange.path for exchange in host.requests] == ["/direct"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (send(b"\n<!doctype html>Sign in"), "127.0.0.1 sent a web page instead of the file. Share it."),
        (send(b"no", "403 Forbidden"), "127.0.0.1 responded with status 403. Share it."),
        (send(b"no", "404 Not Found"), "127.0.0.1 responded with status 404. Share it."),
        (
            send(b"no", "503 Busy"),
            "127.0.0.1 responded with status 503. The error may be temporary; retry the request later.",
        ),
    ],
)
async def test_share_link_without_a_file_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, script: Script, message: str
) -> None:
    async with serve(script) as host, open_fetcher() as fetcher:
        monkeypatch.setattr(image_fetcher, "find_share_link", lambda _: ShareLink(host.url("/direct"), "Share it."))
        error = await fetch_error(fetcher, "https://drive.google.com/file/d/1/view")

    assert error.message == message
    assert len(host.requests) == 1
