"""Resolves host names to IP addresses that the network policy allows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import TypeAlias

import aiodns

from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblem, UrlProblemCode, check_ip, check_port
from gql_imgproc.net.fetch_errors import ForbiddenAddress, HostNotFound
from gql_imgproc.net.host_categories import HostCategories
from gql_imgproc.net.ip_literals import parse_ip_literals

#: Returns the IP addresses of a host name and port.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
_Host: TypeAlias = tuple[str, int]
_Lookup: TypeAlias = asyncio.Task[Sequence[str] | Exception]

#: Lookups in progress, above which `look_up` starts none. Each is a few datagrams; more would overload a DNS server.
MAX_LOOKUPS = 1_000
#: How often a DNS server is asked, each time with twice the timeout. The deadline of the lookup comes first.
DNS_TRIES = 5
#: How long `look_up` waits for new lookups, in seconds, divided by the number of those that are late already.
LOOK_UP_S = 0.25
#: How long a name is looked up that a proxy will resolve, in seconds: behind a proxy there may be no DNS server.
PROXIED_LOOKUP_S = 1.0
#: How long the outcome of `look_up` is remembered, in seconds: until a download uses it, and from then on. Downloads
#: that begin together share it; a retry does not.
UNUSED_S, USED_S = 30.0, 0.5


class CheckedResolver:
    """Lookups need no threads, so one that hangs delays no other. Belongs to the event loop of the first one."""

    def __init__(self, policy: NetworkPolicy, resolve: Resolve | None = None) -> None:
        self.categories = HostCategories()
        self._policy = policy
        self._resolve = resolve or self._resolve_with_dns
        self._dns: aiodns.DNSResolver | None = None
        #: Those in progress, and those of `look_up` whose outcome is remembered.
        self._lookups: dict[_Host, _Lookup] = {}
        #: Lookups of `look_up` whose outcome no download has used.
        self._unused: set[_Lookup] = set()

    async def look_up(self, hosts: Iterable[_Host], timeout_s: float) -> set[_Host]:
        """Start lookups that `resolve` will need, wait for them a moment, and return the hosts without an outcome."""
        late = sum(not lookup.done() for lookup in self._lookups.values())
        lookups: dict[_Host, _Lookup] = {}
        refused: set[_Host] = set()
        for host in hosts:
            if _is_literal(host[0]) or check_port(host[1], self._policy) is not None:
                continue
            if host not in self._lookups and late + len(lookups) >= MAX_LOOKUPS:
                refused.add(host)
                continue
            lookups[host] = self._start(host, timeout_s)
            self._unused.add(lookups[host])
        if lookups:
            await asyncio.wait(lookups.values(), timeout=LOOK_UP_S / (1 + late))
        return refused | {host for host, lookup in lookups.items() if not lookup.done()}

    async def resolve(self, host: str, port: int, timeout_s: float) -> Sequence[str]:
        """Return the IP addresses of a host. If one of them is forbidden, raise ForbiddenAddress.

        Raises TimeoutError when the name is not resolved in time.
        """
        if (problem := check_port(port, self._policy)) is not None:
            raise ForbiddenAddress(problem)
        try:
            literals = parse_ip_literals(host)
        except ValueError:
            raise HostNotFound(f"{host} is not a valid IP address.") from None
        if literals is not None:
            for literal in literals:
                if (problem := check_ip(literal, self._policy)) is not None:
                    raise ForbiddenAddress(problem)
            self.categories.record(host, literals)
            return [str(literals[0])]
        ips = list(dict.fromkeys(await self._get_outcome((host, port), timeout_s)))
        if not ips:
            raise HostNotFound(f"The name {host} has no IP address.")
        if any(check_ip(ip, self._policy) is not None for ip in ips):
            # The message has no IP addresses: a caller must not be able to read the DNS of a private network.
            raise ForbiddenAddress(
                UrlProblem(
                    UrlProblemCode.FORBIDDEN,
                    f"The host {host} is in a network that is not public. Use a public host, "
                    "or ask the operator to add its network to IMGPROC_FETCH_ALLOW_NETWORKS.",
                )
            )
        self.categories.record(host, ips)
        return ips

    async def check(self, host: str, port: int) -> None:
        """Check what a proxy is asked for. A name that is not resolved here in a moment is left to the proxy."""
        try:
            await self.resolve(host, port, PROXIED_LOOKUP_S)
        except (HostNotFound, TimeoutError):
            if _is_literal(host):
                raise

    async def aclose(self) -> None:
        for lookup in self._lookups.values():
            lookup.cancel()
        if self._dns is not None:
            await self._dns.close()

    async def _get_outcome(self, host: _Host, timeout_s: float) -> Sequence[str]:
        """Concurrent callers share one lookup."""
        lookup = self._start(host, timeout_s)
        outcome = await asyncio.shield(lookup)
        if lookup in self._unused:
            self._unused.discard(lookup)
            self._forget_later(host, lookup, USED_S)
        match outcome:
            case TimeoutError():
                raise TimeoutError from outcome
            case Exception():
                raise HostNotFound(f"The name {host[0]} cannot be resolved.") from outcome
        return outcome

    def _start(self, host: _Host, timeout_s: float) -> _Lookup:
        """Return the lookup that is in progress or remembered, or start one. It ends without its callers."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = asyncio.create_task(self._find(host, timeout_s), name="lookup", context=Context())
            self._lookups[host] = lookup
            lookup.add_done_callback(
                lambda ended: self._forget_later(host, ended, UNUSED_S if ended in self._unused else 0.0)
            )
        return lookup

    async def _find(self, host: _Host, timeout_s: float) -> Sequence[str] | Exception:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._resolve(*host)
        except (OSError, UnicodeError, aiodns.error.DNSError) as error:
            return error

    def _forget_later(self, host: _Host, lookup: _Lookup, seconds: float) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._forget_later, host, lookup, 0.0)
            return
        self._unused.discard(lookup)
        if self._lookups.get(host) is lookup:
            del self._lookups[host]

    async def _resolve_with_dns(self, host: str, port: int) -> Sequence[str]:
        # Reads /etc/hosts and /etc/resolv.conf as getaddrinfo does. Not opened earlier: a worker process is a fork.
        if self._dns is None:
            self._dns = aiodns.DNSResolver(tries=DNS_TRIES)
        found = await self._dns.getaddrinfo(host, port=port, type=socket.SOCK_STREAM)
        return [node.addr[0].decode() for node in found.nodes]


def _is_literal(host: str) -> bool:
    """Whether a host needs no lookup: it is an IP address, or an invalid one."""
    try:
        return parse_ip_literals(host) is not None
    except ValueError:
        return True
