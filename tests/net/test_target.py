"""The fast path of parsing URLs gives the same result as httpx."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gql_imgproc.net import target
from gql_imgproc.net.target import Target, parse_target

ORDINARY = [
    "http://images.test/",
    "https://images.test:8443/a/b-1.jpg?width=100&v=1,2",
    "http://127.0.0.1:8080/gr%C3%BCn.jpg",
    "http://my_shop.example.com/@1/a:b;c=d!.jpg?url=http://x/y",
]
UNUSUAL = [
    "http://images.test",
    "http://images.test:80/",
    "https://images.test:443/",
    "HTTP://IMAGES.test/",
    "http://images.test/a/../b",
    "http://images.test/100%.jpg",
    "http://images.test/a b.jpg",
    "http://images.test/grün.jpg#top",
    "http://grün.test/",
    "http://[::1]:8080/",
]


def parse_with_httpx(url: str) -> Target:
    parsed = httpx.URL(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    return Target(parsed.scheme, parsed.raw_host.decode(), port, parsed.netloc.decode(), parsed.raw_path.decode())


@pytest.mark.parametrize("url", ORDINARY)
def test_ordinary_url_takes_the_fast_path(url: str) -> None:
    assert target._ORDINARY_URL.fullmatch(url) is not None
    assert parse_target(url) == parse_with_httpx(url)


@pytest.mark.parametrize("url", UNUSUAL)
def test_url_that_needs_encoding_is_parsed_by_httpx(url: str) -> None:
    assert target._ORDINARY_URL.fullmatch(url) is None
    assert parse_target(url) == parse_with_httpx(url)


@given(
    st.sampled_from(["a.test", "127.0.0.1", "a_b.c-d.test", "a.test:8080", "a.test:80"]),
    st.text("abZ019_.~!$&'()*+,;=:@/-%?#[]|^` ü", max_size=20),
)
def test_every_url_is_parsed_as_httpx_does(authority: str, path: str) -> None:
    url = f"https://{authority}/{path}"

    assert parse_target(url) == parse_with_httpx(url)
