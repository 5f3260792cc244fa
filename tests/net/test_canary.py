"""Promise P6, counted: this machine listens, hostile URLs name it in every known way, and nothing connects."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net.address_policy import NetworkPolicy, check_url
from gql_imgproc.webhooks import client
from gql_imgproc.webhooks.client import DeliveryResponse
from tests.support.image_host import CLOSED, IMAGE, Exchange, ImageHost, canary, fetch_error, open_fetcher, serve

#: Spellings of this machine that some parser reads as an IP address or a name.
THIS_MACHINE = (
    *("127.0.0.1", "127.0.0.1.", "127.0.0.1..", "127.0.0.1...", "127.1", "127.1.", "127.0.1", "127.0.0.2", "127.1.1.1"),
    *(
        "127.255.255.254",
        "2130706433",
        "2130706433.",
        "2130706434",
        "127.65535",
        "127.0.65535",
        "127.0x1",
        "127.00.0.1",
    ),
    *("0x7f000001", "0X7F000001", "0x7f000001.", "0x7f.1", "0x7F.0.1", "0x7f.0x0.0x0.0x1", "0x0000007f.0.0.1"),
    *("0x000000000007f000001", "127.0x0.0.0x1", "0x7f.0.0.01"),
    *("017700000001", "0177.0.0.1", "0177.1", "0000177.0.0.1", "0177.0x0.0.1", "0177.00.00.01", "0017700000001"),
    *("127.0.0.01", "127.0.0.001", "127.00.00.01", "127.000000000000000.0.1"),
    *("0", "0.0.0.0", "0.0", "0.0.0", "0x0", "00", "0x", "0.", "0.0.0.0.", "00.00.00.00", "0.0.0.1"),
    *("１２７.0.0.1", "①②⑦.⓪.⓪.①", "𝟏𝟐𝟕.𝟎.𝟎.𝟏", "𝟭𝟮𝟳.𝟬.𝟬.𝟭", "¹²⁷.⁰.⁰.¹", "₁₂₇.₀.₀.₁"),  # noqa: RUF001
    *("127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "127.0.0.1。", "0ｘ7f.1", "０x7f000001", "２１３０７０６４３３"),  # noqa: RUF001
    *("127.0.0.\u00ad1", "127.0.0.1\u200b", "12\u200d7.0.0.1", "\u2060127.0.0.1", "\ufeff127.0.0.1"),
    *("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127%2E0.0.1", "127.0.0.1%2e", "%30x7f.1", "127%E3%80%820.0.1"),
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::127.0.0.1]", "[::7f00:1]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0.0.0.0]"),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::127.0.0.1]"),
    *("[2002:7f00:1::]", "[2002:7f00:1::1]", "[2001:0:7f00:1::]", "[2001:0:808:808::80ff:fffe]"),
    *("[2a00::5efe:127.0.0.1]", "[2a00::200:5efe:7f00:1]", "[fe80::1]", "[fec0::1]", "[fd00:ec2::254]"),
    *("[::1%25lo]", "[::1%lo]", "[fe80::1%25lo]", "[%3a%3a1]", "[::1%2500]"),
    *("localhost", "LOCALHOST", "localhost.", "LocalHost", "www.localhost", "localhost.localdomain", "ip6-localhost"),
    *("127.0.0.1.nip.example", "7f000001.nip.example", "metadata.google.internal"),
    *("one.test", "ONE.test.", "both.test", "last.test", "six.test", "mapped.test", "nat64.test", "zero.test"),
    *("scoped.test", "teredo.test", "ünicode.test", "xn--nicode-2ya.test"),
)
#: Ambiguous URLs in which some parser finds this machine.
AMBIGUOUS = (
    *("http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}@example.com/", "http://@127.0.0.1:{port}/"),
    *("http://example.com:80@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@example.com/"),
    *("http:\\\\127.0.0.1:{port}/", "http://example.com\\.127.0.0.1:{port}/", "http:/127.0.0.1:{port}/"),
    *("http:127.0.0.1:{port}/", "//127.0.0.1:{port}/", "127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "http://127.0.0.1:{port}:80/"),
    *("\thttp://127.0.0.1:{port}/", "ht\ttp://127.0.0.1:{port}/", "http://127.0.0.1\n:{port}/"),
    *("http://127.0.0.1 :{port}/", "http://127.0.0.1\r\nHost: example.com:{port}/", "http://127.0.0.1\x00.example.com:{port}/"),
    *("http://127.0.0.1%00:{port}/", "http://127.0.0.1%20:{port}/", "http://127.0.0.1%09:{port}/"),
    *("http://loc%61lhost:{port}/", "http://%2531%2532%2537.0.0.1:{port}/", "http://127.0.0.1%2f@example.com:{port}/"),
    *("http://[127.0.0.1]:{port}/", "http://::1:{port}/", "http://[::1]]:{port}/", "http://[::1:{port}/", "http://[[::1]]:{port}/"),
    *("http://ｌｏｃａｌｈｏｓｔ:{port}/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/", "http://1٢7.0.0.1:{port}/"),  # noqa: RUF001
    *("http://127..0.0.1:{port}/", "http://.127.0.0.1:{port}/", "http://127.0.0.1.1:{port}/", "http://4294967297:{port}/"),
    *("http://0x17f000001:{port}/", "http://-127.0.0.1:{port}/", "http://127.0.0.1,example.com:{port}/"),
    *("ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/", "ws://127.0.0.1:{port}/", "http+unix://127.0.0.1:{port}/"),
)  # fmt: skip
#: The IP addresses of the names. The tests of redirects allow `127.0.0.3`.
DNS = {
    "open.test": ["127.0.0.3"],
    "images.test": ["127.0.0.3"],
    "one.test": ["127.0.0.1"],
    "both.test": ["93.184.215.14", "127.0.0.1"],
    "last.test": ["93.184.215.14", "2606:4700::1111", "8.8.8.8", "1.1.1.1", "9.9.9.9", "127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "teredo.test": ["2001:0:7f00:1::"],
    "zero.test": ["0.0.0.0"],
    "scoped.test": ["fe80::1%lo"],
    "xn--nicode-2ya.test": ["127.0.0.1"],
    "localhost": ["127.0.0.1", "::1"],
    "www.localhost": ["127.0.0.1"],
    "localhost.localdomain": ["127.0.0.1"],
    "ip6-localhost": ["::1"],
    "127.0.0.1.nip.example": ["127.0.0.1"],
    "7f000001.nip.example": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254"],
}
ONE_ALLOWED = NetworkPolicy(allow_networks=(ip_network("127.0.0.3/32"),), allow_ports="*")
NEXT = "{next}"


@dataclass(frozen=True, slots=True)
class Chain:
    """Redirects that end at the canary; `{next}` is the next one, on the same host."""

    status: int
    locations: Sequence[str]
    code: ImageErrorCode = ImageErrorCode.FORBIDDEN_ADDRESS
    tls: bool = False


CHAINS = {
    **{f"{status}": Chain(status, ["http://127.0.0.1:{canary}/"]) for status in (301, 302, 303, 307, 308)},
    **{f"{status} by a name": Chain(status, ["http://one.test:{canary}/"]) for status in (301, 302, 303, 307, 308)},
    "protocol-relative": Chain(302, ["//127.0.0.1:{canary}/"]),
    "protocol-relative by a name": Chain(302, ["//one.test:{canary}/"]),
    "two hops": Chain(302, [NEXT, "http://127.0.0.1:{canary}/"]),
    "five hops": Chain(302, [NEXT, NEXT, NEXT, NEXT, "http://127.0.0.1:{canary}/"]),
    "via another allowed name": Chain(302, ["http://open.test:{open}{next}", "http://one.test:{canary}/"]),
    "a name with two IP addresses": Chain(302, [NEXT, "http://both.test:{canary}/"]),
    "a name that changes": Chain(302, ["http://changing.test:{open}{next}", "http://changing.test:{canary}/"]),
    "IPv6": Chain(302, ["http://[::1]:{canary}/"]),
    "IPv4 in IPv6": Chain(302, ["http://[::ffff:7f00:1]:{canary}/"]),
    "NAT64": Chain(302, ["http://[64:ff9b::7f00:1]:{canary}/"]),
    "decimal": Chain(302, ["http://2130706433:{canary}/"]),
    "octal": Chain(302, ["http://0177.1:{canary}/"]),
    "hexadecimal": Chain(302, ["HTTP://0X7F.1:{canary}/"]),
    "full width": Chain(302, ["http://１２７.0.0.1:{canary}/"]),  # noqa: RUF001
    "zero": Chain(302, ["http://0:{canary}/"]),
    "trailing dots": Chain(302, ["http://127.0.0.1..:{canary}/"]),
    "localhost": Chain(302, ["http://localhost:{canary}/"]),
    "from http to https": Chain(302, ["https://127.0.0.1:{canary}/"]),
    "from https to http": Chain(302, ["http://127.0.0.1:{canary}/"], tls=True),
    "from https, protocol-relative": Chain(307, [NEXT, "//127.0.0.1:{canary}/"], tls=True),
    "user info": Chain(302, ["http://open.test@127.0.0.1:{canary}/"], ImageErrorCode.UNREACHABLE),
    "a tab": Chain(302, ["http://127.0.0.1\t:{canary}/"], ImageErrorCode.UNREACHABLE),
    "backslashes": Chain(302, ["http:\\\\127.0.0.1:{canary}/"], ImageErrorCode.UNREACHABLE),
    "another scheme": Chain(302, ["gopher://127.0.0.1:{canary}/"], ImageErrorCode.UNREACHABLE),
}


async def resolve_from_table(host: str, port: int) -> Sequence[str]:
    return DNS[host.lower().rstrip(".")]


def changing_dns() -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A hostile DNS server: an allowed IP address in its first response, and this machine in all others."""
    lookups: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host != "changing.test":
            return await resolve_from_table(host, port)
        lookups.append(host)
        return ["127.0.0.3"] if len(lookups) == 1 else ["127.0.0.1"]

    return resolve


async def assert_it_listens(host: ImageHost) -> None:
    """Verify the canary: it counts connections that are made."""
    before = host.connections
    ips = ["127.0.0.1", "127.255.255.254", "0.0.0.0", *(["::1"] if has_ipv6() else [])]
    for ip in ips:
        _, writer = await asyncio.open_connection(ip, host.port)
        writer.close()
    await asyncio.sleep(0.05)
    assert host.connections == before + len(ips)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def post(url: str, policy: NetworkPolicy) -> DeliveryResponse:
    return await client.post(url, "{}", {}, policy, 5, resolve=changing_dns())


def test_tables_have_enough_cases() -> None:
    assert len(set(THIS_MACHINE)) == len(THIS_MACHINE) >= 100
    assert len(CHAINS) >= 15


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_this_machine_is_downloaded_from(scheme: str) -> None:
    async with canary() as host, open_fetcher(CLOSED, resolve=resolve_from_table) as fetcher:
        for name in THIS_MACHINE:
            error = await fetch_error(fetcher, host.url("/a.jpg", name, scheme))
            assert (error.code, error.retryable) == (ImageErrorCode.FORBIDDEN_ADDRESS, False), name
            assert "IMGPROC_FETCH_ALLOW_NETWORKS" in error.message, name
        for template in AMBIGUOUS:
            url = template.replace("http:", f"{scheme}:").format(port=host.port)
            error = await fetch_error(fetcher, url)
            assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, False), url
        await asyncio.sleep(0.05)
        assert host.connections == 0
        await assert_it_listens(host)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_spelling_of_this_machine_receives_a_webhook(scheme: str) -> None:
    async with canary() as host:
        for name in THIS_MACHINE:
            result = await client.post(host.url("/hook", name, scheme), "{}", {}, CLOSED, 5, resolve=resolve_from_table)
            assert result.http_status is None, name
            assert "IMGPROC_FETCH_ALLOW_NETWORKS" in str(result.error), name
        for template in AMBIGUOUS:
            url = template.replace("http:", f"{scheme}:").format(port=host.port)
            result = await client.post(url, "{}", {}, CLOSED, 5, resolve=resolve_from_table)
            assert result.http_status is None, url
            problem = check_url(url, CLOSED)
            assert problem is not None, url
            assert result.error == problem.message, url
        await asyncio.sleep(0.05)
        assert host.connections == 0
        await assert_it_listens(host)


async def test_allowed_networks_are_connected_to() -> None:
    policy = NetworkPolicy((ip_network("127.0.0.0/8"),), "*")
    async with canary() as host, open_fetcher(policy, resolve=resolve_from_table) as fetcher:
        for name in ("127.0.0.1", "0x7f.1", "2130706433", "one.test"):
            assert await fetcher.fetch(host.url("/a.jpg", name)) == IMAGE
            assert (await post(host.url("/hook", name), policy)).http_status == 200
        assert host.connections == 8


def redirecting(canary_port: int) -> Callable[[Exchange], Awaitable[None]]:
    names = list(CHAINS)

    async def script(exchange: Exchange) -> None:
        chain, hop = (int(part) for part in exchange.path.strip("/").split("/"))
        case = CHAINS[names[chain]]
        location = case.locations[hop].format(canary=canary_port, open=exchange.host.port, next=f"/{chain}/{hop + 1}")
        head = f"HTTP/1.1 {case.status} Moved\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n"
        await exchange.send(head.encode())

    return script


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback IP address")
async def test_no_redirect_reaches_this_machine(tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext) -> None:
    async with canary() as forbidden:
        script = redirecting(forbidden.port)
        async with serve(script, "127.0.0.3") as plain, serve(script, "127.0.0.3", tls_server) as secure:
            for number, (name, chain) in enumerate(CHAINS.items()):
                host = secure if chain.tls else plain
                before = len(plain.requests) + len(secure.requests)
                start = host.url(f"/{number}/0", "images.test", "https" if chain.tls else "http")
                async with open_fetcher(ONE_ALLOWED, resolve=changing_dns(), ssl_context=tls_trusting) as fetcher:
                    error = await fetch_error(fetcher, start)
                assert (error.code, error.retryable) == (chain.code, False), name
                assert len(plain.requests) + len(secure.requests) - before == len(chain.locations), name
        await asyncio.sleep(0.05)
        assert forbidden.connections == 0
        await assert_it_listens(forbidden)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback IP address")
async def test_every_spelling_is_checked_after_a_redirect() -> None:
    async with canary() as forbidden:

        async def script(exchange: Exchange) -> None:
            location = forbidden.url("/a.jpg", THIS_MACHINE[int(exchange.path.strip("/"))])
            await exchange.send(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\r\n".encode())

        async with (
            serve(script, "127.0.0.3") as allowed_host,
            open_fetcher(ONE_ALLOWED, resolve=resolve_from_table) as fetcher,
        ):
            for number, name in enumerate(THIS_MACHINE):
                error = await fetch_error(fetcher, allowed_host.url(f"/{number}", "127.0.0.3"))
                assert (error.code, error.retryable) == (ImageErrorCode.FORBIDDEN_ADDRESS, False), name
            assert len(allowed_host.requests) == len(THIS_MACHINE)
        await asyncio.sleep(0.05)
        assert forbidden.connections == 0
        await assert_it_listens(forbidden)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a second loopback IP address")
async def test_webhook_follows_no_redirect(
    tls_server: ssl.SSLContext, tls_trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_tls", lambda: tls_trusting)

    async with canary() as forbidden:
        script = redirecting(forbidden.port)
        async with serve(script, "127.0.0.3") as plain, serve(script, "127.0.0.3", tls_server) as secure:
            for number, (name, chain) in enumerate(CHAINS.items()):
                host = secure if chain.tls else plain
                before = len(plain.requests) + len(secure.requests)
                start = host.url(f"/{number}/0", "images.test", "https" if chain.tls else "http")
                result = await post(start, ONE_ALLOWED)
                assert result.http_status == chain.status, name
                assert "redirect" in str(result.error), name
                assert len(plain.requests) + len(secure.requests) - before == 1, name
        await asyncio.sleep(0.05)
        assert forbidden.connections == 0
        await assert_it_listens(forbidden)
