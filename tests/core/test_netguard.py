"""May we talk to this address (promise P6)?"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.core import netguard
from gql_imgproc.core.netguard import AddressProblemCode, NetworkPolicy, check_ip, check_url

CLOSED = NetworkPolicy()
ANY_PORT = NetworkPolicy(allow_ports="*")
INVALID = AddressProblemCode.INVALID
FORBIDDEN = AddressProblemCode.FORBIDDEN


def code(url: str, policy: NetworkPolicy = CLOSED) -> AddressProblemCode | None:
    problem = check_url(url, policy)
    return problem.code if problem else None


@pytest.mark.parametrize(
    "ip",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
        *("127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2"),
        *("172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.1", "192.88.99.1"),
        *("192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1"),
        *("239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe"),
        *("::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b:1::10.0.0.1", "100::1"),
        *("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1"),
        *("2002:7f00:1::", "2002:808:808::1", "2a00::5efe:10.0.0.1", "2a00::200:5efe:10.0.0.1", "3fff::1"),
        *("fe80::1", "fe80::1%eth0", "fe80::5efe:10.0.0.1", "fec0::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254"),
        *("ff02::1", "ff0e::1", "5f00::1", "4000::1"),
    ],
)
def test_what_is_not_public_is_forbidden(ip: str) -> None:
    problem = check_ip(ip, CLOSED)

    assert problem is not None
    assert problem.code is FORBIDDEN
    assert "IMGPROC_FETCH_ALLOW_NETWORKS" in problem.message


@pytest.mark.parametrize(
    "ip",
    [
        *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
        *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.0.1"),
        *("192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "2606:4700::1111"),
        *("2001:4860:4860::8888", "2a00:1450:4001::1", "2620:fe::fe"),
    ],
)
def test_what_is_public_may_be_connected_to(ip: str) -> None:
    assert check_ip(ip, CLOSED) is None


@given(st.ip_addresses(v=4))
def test_every_ipv4_address_that_python_calls_local_is_forbidden(ip: IPv4Address) -> None:
    if ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_link_local or ip.is_unspecified:
        assert check_ip(ip, CLOSED) is not None


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_that_python_calls_local_is_forbidden(ip: IPv6Address) -> None:
    if ip.ipv4_mapped is None and (not ip.is_global or ip.is_multicast or ip.is_reserved):
        assert check_ip(ip, CLOSED) is not None


def test_the_owner_opens_networks() -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))

    assert check_ip("10.1.2.3", policy) is None
    assert check_ip("::ffff:10.1.2.3", policy) is None
    assert check_ip("fd00::1", policy) is None
    assert check_ip("127.0.0.1", policy) is not None
    assert check_ip("fe80::1", policy) is not None
    # The hidden one is open, the tunnel to it is not.
    assert check_ip("2002:a01:203::", policy) is not None


def test_an_open_translator_leads_to_public_hosts_only() -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("64:ff9b::/96"),))

    assert check_ip("64:ff9b::8.8.8.8", policy) is None
    assert check_ip("64:ff9b::127.0.0.1", policy) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "127.0.0.1..", "127.1", "127.0.1", "2130706433", "2130706433.", "0x7f000001"),
        *("0X7F000001", "0x7f.1", "0x7f.0.0.0x1", "0x7f.0x0.0x0.0x1", "017700000001", "0177.0.0.1", "0177.1"),
        *("00000177.0.0.1", "0x0000007f.0.0.1", "0177.0x0.0.1", "127.0.0.01", "127.0.0.08", "0", "0.0.0.0", "0x"),
        *("010.0.0.1", "012.0.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "192.168.1"),
        *("１２７.0.0.1", "①②⑦.⓪.⓪.①", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1"),  # noqa: RUF001
        *("127.0.0.\u00ad1", "127.0.0.1\u200b", "0ｘ7f.1", "%31%32%37.0.0.1", "127%2e0%2e0%2e1"),  # noqa: RUF001
        *(
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::127.0.0.1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::FFFF:7F00:1]",
        ),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[fd00:ec2::254]"),
    ],
)
def test_a_forbidden_address_is_seen_in_any_spelling(host: str) -> None:
    for url in (
        f"http://{host}/",
        f"https://{host}",
        f"HTTP://{host}?x=1",
        f"http://{host}:80/a.jpg",
        f"http://{host}#f",
    ):
        assert code(url) is FORBIDDEN, url


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://cdn.example.com/pictures/a.jpg?size=1,2&x=%20#top",
        "HTTPS://CDN.Example.COM/A.JPG",
        "https://example.com./a.jpg",
        "https://example.com:443/a.jpg",
        "http://example.com:/a.jpg",
        "https://my_bucket.example.com/a.jpg",
        "https://bücher.example/grün.jpg",
        "https://xn--bcher-kva.example/a.jpg",
        "https://例え.テスト/a.jpg",
        "https://localhost/a.jpg",
        "https://1.example.com/a.jpg",
        "https://127.0.0.1.example.com/a.jpg",
        "https://0x7f.example/a.jpg",
        "https://example.com/a.jpg?to=http://127.0.0.1/",
        "https://example.com/@user:password",
        "https://8.8.8.8/a.jpg",
        "https://134744072/a.jpg",
        "https://[2606:4700::1111]/a.jpg",
        "https://example.com/" + "x" * 2_028,
    ],
)
def test_an_ordinary_address_passes(url: str) -> None:
    assert check_url(url, CLOSED) is None
    assert httpx.URL(url).raw_host


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "empty"),
        ("example.com/a.jpg", "http://"),
        ("//example.com/a.jpg", "http://"),
        ("http:example.com", "http://"),
        ("http:/example.com", "http://"),
        ("ftp://example.com/a.jpg", "http://"),
        ("file:///etc/passwd", "http://"),
        ("gopher://127.0.0.1:6379/_x", "http://"),
        ("data:image/png;base64,AAAA", "http://"),
        ("javascript:alert(1)", "http://"),
        ("https://", "names no host"),
        ("https:///a.jpg", "names no host"),
        ("https://./a.jpg", "names no host"),
        ("https://:443/a.jpg", "names no host"),
        ("https://user@example.com/", "user name"),
        ("https://user:secret@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com\\@127.0.0.1/", "user name"),
        ("https://example.com\\.evil.example/", "cannot be read"),
        ("https://example.com:x/", "cannot be read"),
        ("https://example.com:80:80/", "cannot be read"),
        ("https://example.com:-1/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://::1/", "cannot be read"),
        ("https://[v1.x]/", "looks like an IP"),
        ("https://[]/", "looks like an IP"),
        ("https://[2606:4700::1111%25eth0]/", "zone"),
        ("https://example.com:0/", "between 1 and 65535"),
        ("https://example.com:65536/", "between 1 and 65535"),
        ("https://example.com:" + "9" * 1_000 + "/", "between 1 and 65535"),
        ("https://256.256.256.256/", "looks like an IP"),
        ("https://1.2.3.4.5/", "looks like an IP"),
        ("https://4294967296/", "looks like an IP"),
        ("https://" + "9" * 2_000 + "/", "looks like an IP"),
        ("https://example.1/", "looks like an IP"),
        ("https://011.8.8.8/", "leading zeros"),
        ("https://08.8.8.8/", "leading zeros"),
        ("https://a..b/", "not a name"),
        ("https://.example.com/", "not a name"),
        ("https://-a.com/", "not a name"),
        ("https://ex%61mple.com/", "not a name"),
        ("https://a*b.com/", "not a name"),
        ("https://☃.net/", "not a name"),
        ("https://" + "a" * 64 + ".com/", "not a name"),
        ("https://" + "a." * 127 + "com/", "not a name"),
        (" https://example.com/", "space"),
        ("https://example.com/a b.jpg", "space"),
        ("https://example.com/a\u00a0b.jpg", "space"),
        ("https://example.com/a\u2028b.jpg", "space"),
        ("https://example.com/a\tb.jpg", "space"),
        ("https://exa\nmple.com/a.jpg", "space"),
        ("https://example.com/a\r\nHost: evil", "space"),
        ("https://example.com/\x00", "control"),
        ("https://example.com/\x1b[2J", "control"),
        ("https://example.com/\x7f", "control"),
        ("https://example.com/\x85", "control"),
        ("https://example.com/\ud800", "control"),
        ("https://example.com/" + "x" * 2_029, "2,048"),
    ],
)
def test_a_malformed_address_is_refused_with_its_reason(url: str, word: str) -> None:
    problem = check_url(url, ANY_PORT)

    assert problem is not None
    assert problem.code is INVALID
    assert word in problem.message
    assert problem.message.endswith(".")


def test_ports_are_opened_by_the_owner() -> None:
    problem = check_url("https://example.com:8443/a.jpg", CLOSED)

    assert problem is not None
    assert problem.code is FORBIDDEN
    assert problem.message == (
        "The address uses port 8443; allowed are: 80, 443. Use one of them, "
        "or have 8443 added to IMGPROC_FETCH_ALLOW_PORTS."
    )
    assert code("https://example.com:8443/", NetworkPolicy(allow_ports=frozenset({8443}))) is None
    assert code("https://example.com/", NetworkPolicy(allow_ports=frozenset({8443}))) is FORBIDDEN
    assert code("http://example.com/", NetworkPolicy(allow_ports=frozenset({443}))) is FORBIDDEN
    assert code("https://example.com:6379/", ANY_PORT) is None


@pytest.mark.parametrize("zeros", [1, 5, 7, 1_000])
def test_zeros_before_a_port_hide_nothing_of_it(zeros: int) -> None:
    assert code(f"https://example.com:{'0' * zeros}443/") is None
    assert code(f"https://example.com:{'0' * zeros}8022/") is FORBIDDEN
    assert code(f"https://example.com:{'0' * zeros}/") is INVALID


def test_the_message_names_the_address_and_the_setting() -> None:
    problem = check_url("http://0x7f.1/", CLOSED)

    assert problem is not None
    assert problem.message == (
        "The address 127.0.0.1 belongs to this machine, not to a public host. Use a public address, "
        "or have 127.0.0.1/32 added to IMGPROC_FETCH_ALLOW_NETWORKS."
    )


AUTHORITY = st.text(st.sampled_from("aZ09.-_:@[]%\\x\u3002１é"), max_size=20)  # noqa: RUF001
PATH = st.text(max_size=20)


@settings(max_examples=500)
@given(st.sampled_from(["http://", "https://", "HTTP://", ""]), AUTHORITY, st.sampled_from(["", "/", "?", "#"]), PATH)
def test_what_passes_can_be_fetched_and_the_short_path_agrees_with_the_careful_one(
    scheme: str, authority: str, separator: str, path: str
) -> None:
    url = scheme + authority + separator + path

    problem = check_url(url, CLOSED)

    assert problem == netguard._check_carefully(url, CLOSED)
    if problem is None:
        parsed = httpx.URL(url)
        assert parsed.raw_host
        assert not parsed.userinfo
        assert parsed.port in (None, 80, 443)
