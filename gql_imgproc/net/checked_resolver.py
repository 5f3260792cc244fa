"""Resolves host names to IP addresses that the network policy allows."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from gql_imgproc.net.address_policy import NetworkPolicy, UrlProblem, UrlProblemCode, check_ip, check_port
from gql_imgproc.net.fetch_errors import ForbiddenAddress, HostNotFound
from gql_imgproc.net.host_categories import HostCategories
from gql_imgproc.net.ip_literals import parse_ip_literals

#: Returns the IP addresses of a host name and port.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

#: Concurrent DNS lookups. A dead DNS server blocks a thread for up to half a minute, but only one per name. Threads are
#: created on demand.
RESOLVER_THREADS = 64


class CheckedResolver:
    def __init__(self, policy: NetworkPolicy, resolve: Resolve | None = None) -> None:
        self.categories = HostCategories()
        self._policy = policy
        self._resolve = resolve or self._resolve_with_system
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[str]]] = {}
        self._callers: Counter[asyncio.Task[Sequence[str]]] = Counter()
        # Not the event loop's executor: slow DNS lookups would block its other users.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the IP addresses of a host. If one of them is forbidden, raise ForbiddenAddress."""
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
        ips = list(dict.fromkeys(await self._lookup(host, port)))
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

    def close(self) -> None:
        for task in self._lookups.values():
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _lookup(self, host: str, port: int) -> Sequence[str]:
        """Share one lookup among concurrent callers, and cancel it when the last of them stops waiting.

        Otherwise abandoned lookups would occupy the threads.
        """
        task = self._lookups.get((host, port))
        if task is None:
            task = self._lookups[host, port] = asyncio.ensure_future(self._resolve_or_fail(host, port))
        self._callers[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._callers[task] -= 1
            if not self._callers[task]:
                task.cancel()
                del self._callers[task], self._lookups[host, port]

    async def _resolve_or_fail(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise HostNotFound(f"The name {host} cannot be resolved.") from error

    async def _resolve_with_system(self, host: str, port: int) -> Sequence[str]:
        answers = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(answer[4][0]) for answer in answers]
