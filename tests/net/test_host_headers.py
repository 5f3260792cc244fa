"""Headers that the operator sets for image hosts."""

from __future__ import annotations

import pytest

from gql_imgproc.net.host_headers import DEFAULT_HEADERS, HostRule, headers_for
from gql_imgproc.net.target import parse_target
from tests.support.image_host import IMAGE, Exchange, fail_to_fetch, open_fetcher, resolve_to, serve

SECRET = {"Authorization": "Basic c2hvcDpzZWNyZXQ="}


@pytest.mark.parametrize(
    ("pattern", "urls", "other_urls"),
    [
        (
            "images.test",
            ["http://images.test/", "https://IMAGES.test./", "http://images.test:81/"],
            ["http://a.images.test/", "http://badimages.test/", "http://images.test.example/"],
        ),
        (
            "*.images.test",
            ["http://a.images.test/", "http://a.b.images.test/"],
            ["http://images.test/", "http://badimages.test/", "http://images.test.example/"],
        ),
        ("images.test:443", ["https://images.test/"], ["http://images.test/", "https://images.test:444/"]),
        ("127.0.0.1", ["http://127.0.0.1:9000/"], ["http://127.0.0.2/"]),
        ("[::1]", ["http://[::1]/", "http://[::1]:81/"], ["http://[::2]/"]),
        ("[::1]:81", ["http://[::1]:81/"], ["http://[::1]/"]),
        ("*", ["http://images.test/", "http://[::1]:81/"], []),
        ("*:81", ["http://images.test:81/"], ["http://images.test/"]),
    ],
)
def test_pattern_matches_hosts(pattern: str, urls: list[str], other_urls: list[str]) -> None:
    rule = HostRule(pattern, {})

    assert [url for url in urls if not rule.matches(parse_target(url))] == []
    assert [url for url in other_urls if rule.matches(parse_target(url))] == []


def test_first_rule_that_matches_replaces_default_headers() -> None:
    rules = (
        HostRule("images.test", {"user-agent": "Shop/1"}),
        HostRule("*", {"User-Agent": "Other/1", "Referer": "x"}),
    )

    assert headers_for(parse_target("http://images.test/"), rules) == {
        "Accept": "image/*,*/*;q=0.5",
        "Accept-Encoding": "identity",
        "user-agent": "Shop/1",
    }
    assert headers_for(parse_target("http://other.test/"), rules)["Referer"] == "x"
    assert headers_for(parse_target("http://other.test/"), rules[:1]) == DEFAULT_HEADERS


async def send_image_to_members(exchange: Exchange) -> None:
    if "Authorization: Basic c2hvcDpzZWNyZXQ=" in exchange.head and "Referer: https://shop.test/" in exchange.head:
        await exchange.respond()
    else:
        await exchange.respond(b"no", "403 Forbidden")


async def test_host_gets_its_headers() -> None:
    rules = (HostRule("127.0.0.1", {**SECRET, "Referer": "https://shop.test/"}),)

    async with serve(send_image_to_members) as host, open_fetcher(rules=rules) as fetcher:
        assert await fetcher.fetch(host.url()) == IMAGE


async def test_denied_access_names_the_setting() -> None:
    error, _ = await fail_to_fetch(send_image_to_members)

    assert error.message == (
        "127.0.0.1 responded with status 403. The host denies access. Make the image public, use another URL, or ask "
        "the operator to set the User-Agent, Referer, headers or credentials for this host in IMGPROC_FETCH_HOSTS_FILE."
    )


async def test_redirect_to_another_host_gets_no_credentials() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.path == "/a.jpg":
            await exchange.respond(b"", "302 Found", f"Location: http://b.test:{exchange.host.port}/b.jpg")
        else:
            await exchange.respond()

    rules = (HostRule("a.test", SECRET),)
    async with serve(script) as host, open_fetcher(rules=rules, resolve=resolve_to("127.0.0.1")) as fetcher:
        assert await fetcher.fetch(host.url("/a.jpg", "a.test")) == IMAGE

    assert ["Authorization" in exchange.head for exchange in host.requests] == [True, False]
