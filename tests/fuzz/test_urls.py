"""Hostile URLs: an allowed URL has the same host and port for the HTTP client."""

from __future__ import annotations

from ipaddress import ip_address

import httpx
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblemCode, check_url
from gql_imgproc.net.ip_literals import parse_ip_literals
from tests.fuzz.limits import cpu_limit, fuzz_settings

CLOSED = NetworkPolicy()
#: Digits, dots, brackets and letters that some parser reads as others.
LOOKALIKES = "0127.:/@#?[]%x\\ \t\n\u3002\uff0e\uff61\uff10\u0661"
LOOKALIKES += "\u2460\uff41\u24d0\u212a\u017f\u00ad\u200b\u202e\u00df\u0130\u1e9e\ufe00\U0001d7ce"
PIECES = (
    "http://",
    "https://",
    "HTTPS://",
    "http:/",
    "http:\\\\",
    "//",
    "file://",
    "shop.example",
    "SHOP.Example",
    "bücher.example",
    "xn--bcher-kva.example",
    "xn--",
    "xn--a-ecp.ru",
    "faß.de",
    "127.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "2130706433",
    "127.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[fe80::1%25eth0]",
    "169.254.169.254",
    "localhost",
    "user:pass@",
    "@",
    ":80",
    ":443",
    ":22",
    ":",
    ":99999999999999999999",
    ".",
    "..",
    "%2e",
    "%00",
    "%31",
    "a" * 63,
    "a" * 64,
    "/path",
    "/../..",
    "?q=http://127.0.0.1",
    "#@127.0.0.1",
    "\r\nHost: x",
    "\0",
    "\ud800",
    "é",
)
TEXTS = st.lists(
    st.sampled_from(PIECES) | st.text(LOOKALIKES, max_size=6) | st.text(max_size=4), min_size=1, max_size=7
).map("".join)
PORTS = st.builds("{}{}".format, st.sampled_from(["", "0", "0" * 6, "0" * 5_000]), st.sampled_from([80, 443, 8022, 22]))
HOSTS = st.lists(
    st.sampled_from(PIECES) | st.text(LOOKALIKES, max_size=3) | st.text(max_size=3), min_size=1, max_size=3
).map("".join)
URLS = st.one_of(
    TEXTS,
    TEXTS.map("http://".__add__),
    HOSTS.map(lambda host: f"http://{host}.example/"),
    HOSTS.map(lambda host: f"https://shop.{host}/x"),
    st.builds("http://shop.example:{}{}".format, PORTS, st.sampled_from(["", "/", "?", "#", "0", ":"])),
    st.text(max_size=40).map("https://".__add__),
    TEXTS.map(lambda text: "http://" + text * 400),
)


# `test_fast_and_slow_url_checks_agree` is the short version of this test.
@pytest.mark.slow
@fuzz_settings(2_500, seconds=2)
@given(URLS)
def test_allowed_url_has_the_same_host_for_the_client(url: str) -> None:
    # When any URL is checked, then the check is fast.
    with cpu_limit(0.2):
        problem = check_url(url, CLOSED)

    # A refused URL has a printable message.
    if problem is not None:
        event("refused")
        assert problem.message.isprintable()
        assert problem.message.endswith(".")
        return
    event("allowed")

    # The client parses the same host and port from an allowed URL.
    parsed = httpx.URL(url)
    assert parsed.scheme in ("http", "https")
    assert not parsed.userinfo
    assert parsed.port in (None, 80, 443)
    authority = url.split("://", 1)[1]
    for end in "/?#":
        authority = authority.partition(end)[0]
    host_part = (
        authority.rpartition(":")[0] if authority.rpartition(":")[2].isdecimal() else authority.removesuffix(":")
    )
    expected = httpx.URL(f"http://{host_part}/").raw_host
    assert parsed.raw_host == expected
    # The host is a name or a public IP address, and the client's own spelling of the URL is allowed, too.
    host = parsed.raw_host.decode()
    for ip in parse_ip_literals(host) or ():
        assert ip_address(ip).is_global
    normalized = f"{parsed.scheme}://{f'[{host}]' if ':' in host else host}/"
    assert len(normalized) > 2_048 or check_url(normalized, CLOSED) is None


@fuzz_settings(1_000, seconds=2)
@given(st.text(LOOKALIKES, max_size=30) | TEXTS)
def test_allowing_all_ports_allows_no_malformed_url(url: str) -> None:
    # When all ports are allowed,
    problem = check_url(url, CLOSED)
    wide = check_url(url, NetworkPolicy(allow_ports="*"))

    # then a malformed URL is still refused.
    if problem is not None and problem.code is UrlProblemCode.INVALID:
        assert wide is not None
    if problem is None:
        assert wide is None
