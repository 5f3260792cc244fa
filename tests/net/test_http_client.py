"""Name resolution, the check of every connection, and TLS (promise P6)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiodns
import httpx
import pytest

from gql_imgproc.errors import ImageErrorCode
from gql_imgproc.net import checked_resolver, http_client
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.fetch_errors import ForbiddenAddress, HostNotFound
from gql_imgproc.net.target import parse_target
from tests.support.image_host import (
    CLOSED,
    IMAGE,
    LOOPBACK,
    canary,
    fetch_error,
    open_fetcher,
    resolve_to,
    send_image,
    serve,
)
from tests.support.waiting import until

PORT_80_ONLY = replace(LOOPBACK, allow_ports=frozenset({80}))


async def test_dns_rebinding_has_no_effect() -> None:
    # Given a DNS server whose second response is a metadata service.
    lookups: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    async with serve(send_image) as host, open_fetcher(resolve=resolve) as fetcher:
        # When two images are downloaded, then both use the connection to the checked IP address.
        assert await fetcher.fetch(host.url("/", "images.test")) == IMAGE
        assert await fetcher.fetch(host.url("/", "images.test")) == IMAGE
        assert lookups == ["images.test"]

        # A new connection is checked again.
        host.close_connections()
        await asyncio.sleep(0.02)
        error = await fetch_error(fetcher, host.url("/", "images.test"))

    assert error.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert host.connections == 1


async def test_message_does_not_reveal_private_ip_addresses() -> None:
    async with open_fetcher(CLOSED, resolve=resolve_to("10.1.2.3")) as fetcher:
        error = await fetch_error(fetcher, "http://wiki.corp.test/")

    assert error.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "10.1.2.3" not in error.message
    assert "wiki.corp.test" in error.message


async def test_forbidden_port_gets_no_connection() -> None:
    async with serve(send_image) as host, open_fetcher(PORT_80_ONLY) as fetcher:
        error = await fetch_error(fetcher, host.url())

    assert error.code is ImageErrorCode.FORBIDDEN_ADDRESS
    assert "IMGPROC_FETCH_ALLOW_PORTS" in error.message
    assert host.connections == 0


@pytest.mark.parametrize("policy", [CLOSED, PORT_80_ONLY])
async def test_client_checks_every_connection_itself(policy: NetworkPolicy) -> None:
    client = http_client.GuardedClient(policy, max_idle=1)

    async with serve(send_image) as host:
        with pytest.raises(ForbiddenAddress):
            await client.request("GET", parse_target(host.url()), {}, connect_s=2, read_s=2)
        await client.aclose()

    assert host.connections == 0


async def test_line_break_in_a_header_sends_nothing() -> None:
    client = http_client.GuardedClient(LOOPBACK, max_idle=1)

    async with serve(send_image) as host:
        with pytest.raises(httpx.LocalProtocolError):
            await client.request("GET", parse_target(host.url()), {"x": "y\r\nz: 1"}, connect_s=2, read_s=2)
        await client.aclose()

    assert host.connections == 0


async def test_system_resolver_is_used_by_default() -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow_ports="*")

    async with canary() as host, open_fetcher(policy) as fetcher:
        assert await fetcher.fetch(host.url("/", "localhost")) == IMAGE


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_unknown_name_is_retryable(error: Exception) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise error

    async with open_fetcher(resolve=resolve) as fetcher:
        raised = await fetch_error(fetcher, "http://images.test/")

    assert (raised.code, raised.retryable) == (ImageErrorCode.UNREACHABLE, True)
    assert raised.message == "The host name images.test cannot be resolved. Check the spelling of the URL."


async def test_name_without_ip_addresses_is_unreachable() -> None:
    async with open_fetcher(resolve=resolve_to()) as fetcher:
        error = await fetch_error(fetcher, "http://images.test/")

    assert error.code is ImageErrorCode.UNREACHABLE


async def test_concurrent_lookups_of_a_name_are_shared() -> None:
    lookups = 0

    async def resolve(host: str, port: int) -> Sequence[str]:
        nonlocal lookups
        lookups += 1
        await asyncio.sleep(0.05)
        return ["127.0.0.1"]

    async with serve(send_image) as host, open_fetcher(resolve=resolve) as fetcher:
        await asyncio.gather(*(fetcher.fetch(host.url("/", "images.test")) for _ in range(8)))

    assert lookups == 1


async def test_lookups_that_hang_delay_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a DNS server that does not respond for 1,000 names,
    find = aiodns.DNSResolver.getaddrinfo
    hanging: list[str] = []

    def find_or_hang(resolver: aiodns.DNSResolver, host: str, **options: Any) -> asyncio.Future[Any]:
        if host == "localhost":
            return find(resolver, host, **options)
        hanging.append(host)
        return asyncio.get_running_loop().create_future()

    monkeypatch.setattr(aiodns.DNSResolver, "getaddrinfo", find_or_hang)
    policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow_ports="*")
    resolver = checked_resolver.CheckedResolver(policy)
    late = await resolver.look_up([(f"shop-{n}.test", 80) for n in range(1_000)], 5.0)

    # when another name is resolved, then it does not wait for them.
    assert len(late) == len(hanging) == 1_000
    assert await resolver.resolve("localhost", 80, 5.0) == ["::1", "127.0.0.1"]
    # And there is a limit for lookups ahead.
    assert await resolver.look_up([("shop.test", 80)], 5.0) == {("shop.test", 80)}
    assert len(hanging) == 1_000
    await resolver.aclose()


class Dns:
    """Answers when a test says so, and counts."""

    def __init__(self) -> None:
        self.lookups: list[str] = []
        self.answers = asyncio.Event()
        self.error: Exception | None = None

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append(host)
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return ["127.0.0.1"]


async def test_download_uses_the_lookup_ahead_of_it() -> None:
    # Given a lookup that takes longer than a moment,
    dns = Dns()
    resolver = checked_resolver.CheckedResolver(LOOPBACK, dns.resolve)
    images = ("images.test", 80)
    assert await resolver.look_up([images], 5.0) == {images}
    assert await resolver.look_up([images], 5.0) == {images}

    # when it has ended, then the download does not resolve the name again.
    dns.answers.set()
    assert await resolver.look_up([images], 5.0) == set()
    assert await resolver.resolve(*images, 5.0) == ["127.0.0.1"]
    assert dns.lookups == ["images.test"]
    await resolver.aclose()


@pytest.mark.parametrize(
    ("timeout_s", "expected"), [(5.0, HostNotFound), (0.0, TimeoutError)], ids=["no such name", "no answer"]
)
async def test_failed_lookup_ahead_fails_the_downloads_that_begin_together(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float, expected: type[Exception]
) -> None:
    monkeypatch.setattr(checked_resolver, "USED_S", 0.01)
    dns = Dns()
    dns.error = socket.gaierror(-2, "Name or service not known")
    resolver = checked_resolver.CheckedResolver(LOOPBACK, dns.resolve)
    images = ("images.test", 80)
    if timeout_s:
        dns.answers.set()
    assert await resolver.look_up([images], timeout_s) == set()

    for _ in range(2):
        with pytest.raises(expected):
            await resolver.resolve(*images, 5.0)
    assert dns.lookups == ["images.test"]

    # A later one looks the name up again.
    await until(lambda: not resolver._lookups)
    dns.error = None
    dns.answers.set()
    assert await resolver.resolve(*images, 5.0) == ["127.0.0.1"]
    await resolver.aclose()


async def test_ip_addresses_and_forbidden_ports_are_not_looked_up() -> None:
    dns = Dns()
    resolver = checked_resolver.CheckedResolver(PORT_80_ONLY, dns.resolve)

    hosts = [("127.0.0.1", 80), ("::1", 80), ("127.1", 80), ("1.2.3.4.5", 80), ("images.test", 25)]
    assert await resolver.look_up(hosts, 5.0) == set()

    assert dns.lookups == []
    await resolver.aclose()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_verifies_the_host_name(certificate: Path, loop: str) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    server_names: list[str | None] = []
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server_context.sni_callback = lambda _socket, name, _context: server_names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    async def fetch_by_three_names() -> None:
        async with serve(send_image, tls=server_context) as host:
            async with open_fetcher(resolve=resolve_to("127.0.0.1"), ssl_context=trusting) as fetcher:
                assert await fetcher.fetch(host.url("/", "images.test", "https")) == IMAGE
                assert await fetcher.fetch(host.url("/", "images.test", "https")) == IMAGE
                assert host.connections == 1
                error = await fetch_error(fetcher, host.url("/", "other.test", "https"))
                assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, False)
                assert error.message == (
                    "TLS with other.test failed: name does not match; the certificate is for images.test."
                )
            async with open_fetcher(resolve=resolve_to("127.0.0.1")) as fetcher:
                error = await fetch_error(fetcher, host.url("/", "images.test", "https"))
                assert (error.code, error.retryable) == (ImageErrorCode.UNREACHABLE, False)
            assert len(host.requests) == 2

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(fetch_by_three_names())

    assert server_names == ["images.test", "other.test", "images.test"]
