"""Addresses as strangers write them: what is judged to be harmless is what a client would connect to."""

from __future__ import annotations

from ipaddress import ip_address

import httpx
from hypothesis import event, given
from hypothesis import strategies as st

from gql_imgproc.net.address_policy import AddressProblemCode, NetworkPolicy, check_url, parse_ip_literals
from tests.fuzz.limits import bounded, within

CLOSED = NetworkPolicy()
#: Digits, dots, brackets and letters that some reader takes for others.
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
WRITTEN = st.lists(
    st.sampled_from(PIECES) | st.text(LOOKALIKES, max_size=6) | st.text(max_size=4), min_size=1, max_size=7
).map("".join)
PORTS = st.builds("{}{}".format, st.sampled_from(["", "0", "0" * 6, "0" * 5_000]), st.sampled_from([80, 443, 8022, 22]))
HOSTS = st.lists(
    st.sampled_from(PIECES) | st.text(LOOKALIKES, max_size=3) | st.text(max_size=3), min_size=1, max_size=3
).map("".join)
ADDRESSES = st.one_of(
    WRITTEN,
    WRITTEN.map("http://".__add__),
    HOSTS.map(lambda host: f"http://{host}.example/"),
    HOSTS.map(lambda host: f"https://shop.{host}/x"),
    st.builds("http://shop.example:{}{}".format, PORTS, st.sampled_from(["", "/", "?", "#", "0", ":"])),
    st.text(max_size=40).map("https://".__add__),
    WRITTEN.map(lambda text: "http://" + text * 400),
)


@bounded(2_500, seconds=2)
@given(ADDRESSES)
def test_what_passes_means_the_same_host_to_the_client(url: str) -> None:
    # When an address is judged, whatever it is, then there is an answer soon.
    with within(0.2):
        problem = check_url(url, CLOSED)

    # What is refused is told in a sentence that can be shown.
    if problem is not None:
        event("refused")
        assert problem.message.isprintable()
        assert problem.message.endswith(".")
        return
    event("passed")

    # What passes is an address to the client too, of the host and the port that were judged.
    parsed = httpx.URL(url)
    assert parsed.scheme in ("http", "https")
    assert not parsed.userinfo
    assert parsed.port in (None, 80, 443)
    authority = url.split("://", 1)[1]
    for end in "/?#":
        authority = authority.partition(end)[0]
    written = authority.rpartition(":")[0] if authority.rpartition(":")[2].isdecimal() else authority.removesuffix(":")
    meant = httpx.URL(f"http://{written}/").raw_host
    assert parsed.raw_host == meant
    # It is a name, or an address that may be connected to; and the client's own spelling of it passes as well.
    host = parsed.raw_host.decode()
    for address in parse_ip_literals(host) or ():
        assert ip_address(address).is_global
    spelled = f"{parsed.scheme}://{f'[{host}]' if ':' in host else host}/"
    assert len(spelled) > 2_048 or check_url(spelled, CLOSED) is None


@bounded(1_000, seconds=2)
@given(st.text(LOOKALIKES, max_size=30) | WRITTEN)
def test_a_closed_guard_is_closed_whatever_is_opened_beside(url: str) -> None:
    # Given an address that is refused for how it is written, when all ports are opened,
    problem = check_url(url, CLOSED)
    wide = check_url(url, NetworkPolicy(allow_ports="*"))

    # then it is refused still.
    if problem is not None and problem.code is AddressProblemCode.INVALID:
        assert wide is not None
    if problem is None:
        assert wide is None
