"""Which URLs, ports and IP addresses are allowed (promise P6)."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import httpx
import idna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql_imgproc.net import address_policy
from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblemCode, check_ip, check_url

CLOSED = NetworkPolicy()
ANY_PORT = NetworkPolicy(allow_ports="*")
INVALID = UrlProblemCode.INVALID
FORBIDDEN = UrlProblemCode.FORBIDDEN


def code(url: str, policy: NetworkPolicy = CLOSED) -> UrlProblemCode | None:
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
def test_ip_address_that_is_not_public_is_forbidden(ip: str) -> None:
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
def test_public_ip_address_is_allowed(ip: str) -> None:
    assert check_ip(ip, CLOSED) is None


#: IANA's registries of special-purpose networks, with multicast, deprecated and unassigned networks.
SPECIAL = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32"),
    *("::/128", "::1/128", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64"),
    *("2001::/23", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:30::/28", "2001:db8::/32"),
    *("2002::/16", "3fff::/20", "4000::/2", "5f00::/16", "8000::/1", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
)


@given(st.sampled_from([ip_network(block) for block in SPECIAL]), st.data())
def test_special_networks_are_forbidden_entirely(network: IPv4Network | IPv6Network, data: st.DataObject) -> None:
    ip = network[data.draw(st.integers(0, network.num_addresses - 1))]

    for form in (ip, IPv6Address(f"::ffff:{ip}")) if isinstance(ip, IPv4Address) else (ip,):
        problem = check_ip(form, CLOSED)
        assert problem is not None
        assert problem.code is FORBIDDEN


@given(st.integers(0, 2**128 - 1), st.sampled_from([0x0000_5EFE, 0x0200_5EFE]))
def test_isatap_is_forbidden_with_any_prefix(number: int, marker: int) -> None:
    ip = IPv6Address(number & ~(0xFFFF_FFFF << 32) | marker << 32)

    assert check_ip(ip, CLOSED) is not None


@given(st.ip_addresses(v=4))
def test_ipv4_that_python_calls_local_is_forbidden(ip: IPv4Address) -> None:
    if ip.is_private or ip.is_multicast or ip.is_reserved or ip.is_link_local or ip.is_unspecified:
        assert check_ip(ip, CLOSED) is not None


@given(st.ip_addresses(v=6))
def test_ipv6_that_python_calls_local_is_forbidden(ip: IPv6Address) -> None:
    if ip.ipv4_mapped is None and (not ip.is_global or ip.is_multicast or ip.is_reserved):
        assert check_ip(ip, CLOSED) is not None


def test_operator_can_allow_networks() -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("10.0.0.0/8"), ip_network("fd00::/8")))

    assert check_ip("10.1.2.3", policy) is None
    assert check_ip("::ffff:10.1.2.3", policy) is None
    assert check_ip("fd00::1", policy) is None
    assert check_ip("127.0.0.1", policy) is not None
    assert check_ip("fe80::1", policy) is not None
    # The embedded IPv4 host is allowed, the tunnel to it is not.
    assert check_ip("2002:a01:203::", policy) is not None


@pytest.mark.parametrize(
    ("network", "public", "private"),
    [
        ("64:ff9b::/96", "64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1"),
        ("64:ff9b:1::/48", "64:ff9b:1::8.8.8.8", "64:ff9b:1::10.0.0.1"),
        ("::ffff:0:0:0/96", "::ffff:0:8.8.8.8", "::ffff:0:127.0.0.1"),
        ("::/96", "::8.8.8.8", "::169.254.169.254"),
        ("2002::/16", "2002:808:808::1", "2002:a9fe:a9fe::1"),
        # Teredo: the server comes first, the client last with inverted bits.
        ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:7f00:1::f7f7:f7f7"),
        ("2001::/32", "2001:0:808:808::f7f7:f7f7", "2001:0:808:808::80ff:fffe"),
        ("2a00::/16", "2a00::5efe:8.8.8.8", "2a00::5efe:10.0.0.1"),
        ("::/0", "::ffff:8.8.8.8", "::ffff:127.0.0.1"),
    ],
)
def test_allowed_translator_or_tunnel_reaches_public_hosts_only(network: str, public: str, private: str) -> None:
    policy = NetworkPolicy(allow_networks=(ip_network(network),))

    assert check_ip(public, policy) is None
    assert check_ip(private, policy) is not None


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
def test_forbidden_ip_address_is_detected_in_any_spelling(host: str) -> None:
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
        "https://cdn.example.com/images/a.jpg?size=1,2&x=%20#top",
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
def test_ordinary_url_is_allowed(url: str) -> None:
    assert check_url(url, CLOSED) is None
    assert httpx.URL(url).raw_host


@pytest.mark.parametrize(
    ("url", "reason"),
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
        ("https://", "has no host"),
        ("https:///a.jpg", "has no host"),
        ("https://./a.jpg", "has no host"),
        ("https://:443/a.jpg", "has no host"),
        ("https://user@example.com/", "user name"),
        ("https://user:secret@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com\\@127.0.0.1/", "user name"),
        ("https://example.com\\.evil.example/", "host or port"),
        ("https://example.com:x/", "host or port"),
        ("https://example.com:80:80/", "host or port"),
        ("https://example.com:-1/", "host or port"),
        ("https://[::1/", "host or port"),
        ("https://::1/", "host or port"),
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
        ("https://a..b/", "not a valid name"),
        ("https://.example.com/", "not a valid name"),
        ("https://-a.com/", "not a valid name"),
        ("https://ex%61mple.com/", "not a valid name"),
        ("https://a*b.com/", "not a valid name"),
        ("https://☃.net/", "not a valid name"),
        ("https://" + "a" * 64 + ".com/", "not a valid name"),
        ("https://" + "a." * 127 + "com/", "not a valid name"),
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
def test_malformed_url_is_refused_with_its_reason(url: str, reason: str) -> None:
    problem = check_url(url, ANY_PORT)

    assert problem is not None
    assert problem.code is INVALID
    assert reason in problem.message
    assert problem.message.endswith(".")


def test_operator_can_allow_ports() -> None:
    problem = check_url("https://example.com:8443/a.jpg", CLOSED)

    assert problem is not None
    assert problem.code is FORBIDDEN
    assert problem.message == (
        "The URL uses port 8443; allowed ports: 80, 443. Use one of them, "
        "or ask the operator to add 8443 to IMGPROC_FETCH_ALLOW_PORTS."
    )
    assert code("https://example.com:8443/", NetworkPolicy(allow_ports=frozenset({8443}))) is None
    assert code("https://example.com/", NetworkPolicy(allow_ports=frozenset({8443}))) is FORBIDDEN
    assert code("http://example.com/", NetworkPolicy(allow_ports=frozenset({443}))) is FORBIDDEN
    assert code("https://example.com:6379/", ANY_PORT) is None


@pytest.mark.parametrize("zeros", [1, 5, 7, 1_000])
def test_leading_zeros_do_not_hide_a_port(zeros: int) -> None:
    assert code(f"https://example.com:{'0' * zeros}443/") is None
    assert code(f"https://example.com:{'0' * zeros}8022/") is FORBIDDEN
    assert code(f"https://example.com:{'0' * zeros}/") is INVALID


def test_message_names_the_ip_address_and_the_setting() -> None:
    problem = check_url("http://0x7f.1/", CLOSED)

    assert problem is not None
    assert problem.message == (
        "The IP address 127.0.0.1 belongs to this machine, not to a public host. Use a public host, "
        "or ask the operator to add 127.0.0.1/32 to IMGPROC_FETCH_ALLOW_NETWORKS."
    )


#: Parts of hostile hosts, including characters that some parsers skip, fold, decode or read as a delimiter.
PIECES = (
    *("a", "b.c", "example.com", "LOCALHOST", "127.0.0.1", "8.8.8.8", "0x7f", "0177", "1", "::1", "[", "]", "[::1]"),
    *(".", "..", "@", ":", ":80", "/", "\\", "?", "#", "%", "%2e", "%40", "%00", "\t", "\n", " ", "-", "_", "xn--"),
    *("\u3002", "\uff0e", "\uff61", "１", "①", "𝟏", "é", "ß", "ı", "İ", "ſ", "\u212a", "ﬀ", "℀", "㏂", "٠"),  # noqa: RUF001
    *(
        "\u00ad",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u0338",
        "\ufe0f",
        ";",
        ",",
        "&",
        "=",
        "!",
        "$",
        "'",
        "*",
        "|",
        "{",
        '"',
    ),
)
AUTHORITY = st.one_of(
    st.text(st.sampled_from("aZ09.-_:@[]%\\x\u3002１é"), max_size=20),  # noqa: RUF001
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.tuples(st.sampled_from(["a.example", "8.8.8.8", "é.example"]), st.sampled_from(PIECES)).map("".join),
)
PATH = st.text(max_size=20)


@settings(max_examples=1_500)
@given(st.sampled_from(["http://", "https://", "HTTP://", ""]), AUTHORITY, st.sampled_from(["", "/", "?", "#"]), PATH)
def test_fast_and_slow_url_checks_agree(scheme: str, authority: str, separator: str, path: str) -> None:
    url = scheme + authority + separator + path

    problem = check_url(url, CLOSED)

    assert problem == address_policy._check_url_slowly(url, CLOSED)
    if problem is None:
        # An independent parser: host and port are all characters between the slashes and the next delimiter.
        written = re.split(r"[/?#]", url.partition("://")[2])[0].lower()
        host = written if written.endswith("]") else re.sub(r":[0-9]*$", "", written)
        parsed = httpx.URL(url)
        assert parsed.raw_host == idna_encoded(host.strip("[]"))
        assert parsed.scheme == scheme.removesuffix("://").lower()
        assert not parsed.userinfo
        assert parsed.port in (None, 80, 443)


def idna_encoded(host: str) -> bytes:
    return host.encode() if host.isascii() else idna.encode(host)
