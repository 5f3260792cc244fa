"""HTTP to addresses that strangers wrote: what is checked is what is connected to.

A name is resolved once; if one of its addresses is forbidden, none is used; the connection goes to a checked
address, so there is no moment at which the name could come to mean something else. TLS still asks for the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpcore
import httpx

from gql_imgproc.core.netguard import (
    AddressProblem,
    AddressProblemCode,
    NetworkPolicy,
    check_ip,
    check_port,
    literal_addresses,
)
from gql_imgproc.io.connections import Connections
from gql_imgproc.io.host_classes import HostClass, HostClasses
from gql_imgproc.io.stream import AsyncioStream, Receiver

#: Answers the IP addresses of a host name and port.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

#: Names looked up at once. A dead name server holds a thread for up to half a minute, and only one per name; as many
#: downloads wait for names as there are, five seconds each, and come again. Threads are made as they are needed.
RESOLVER_THREADS = 64
#: Seconds to connect in when the caller says nothing.
CONNECT_S = 5.0
#: Addresses of one host that are tried; each gets its share of the connect deadline.
MAX_ADDRESSES_TRIED = 4

#: Chunks read before others have their turn: 256 KB of one-byte chunks arrive at once and take half a second.
CHUNKS_PER_TURN = 64


class AddressRefused(httpx.ConnectError):
    """The host is at an address that may not be connected to."""

    def __init__(self, problem: AddressProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class NameUnknown(httpx.ConnectError):
    """The host's name could not be resolved."""


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport without proxies, redirects or cookies that connects to allowed addresses only.

    How many requests are under way at once is the caller's to bound; `max_idle` bounds the connections kept
    between them. Belongs to the loop that first uses it. Raises httpx's exceptions, AddressRefused, NameUnknown,
    CertificateRefused and ConnectionStale among them.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        *,
        max_idle: int,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._network = GuardedNetwork(policy, resolve)
        # The proxy variables are never read; SSL_CERT_FILE is the owner's way to name a certificate authority.
        self._connections = Connections(self._network, ssl_context or httpx.create_ssl_context(), max_idle)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        assert isinstance(request.stream, AsyncIterable)
        asked = httpcore.Request(
            request.method,
            target,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._connections.take(target)
        try:
            with _httpx_exceptions():
                answer = await connection.handle_async_request(asked)
        except BaseException:
            await connection.aclose()
            raise
        stream = answer.extensions["network_stream"]
        assert isinstance(stream, AsyncioStream)
        stream.head_ended()

        async def close() -> None:
            await answer.aclose()
            await self._connections.give_back(target, connection)

        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, close), extensions=answer.extensions
        )

    def host_class(self, host: str) -> HostClass:
        """What kind of host a name or address was when it was connected to last."""
        return self._network.classes.of(host)

    async def aclose(self) -> None:
        await self._connections.aclose()
        self._network.close()
        # The sockets close in the next round of the loop.
        await asyncio.sleep(0)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, to allowed addresses only."""

    def __init__(self, policy: NetworkPolicy, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or self._ask_system
        self.classes = HostClasses()
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        # Not the loop's executor: names that nobody answers would hold up whoever else uses that.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        if (problem := check_port(port, self._policy)) is not None:
            raise AddressRefused(problem)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (CONNECT_S if timeout is None else timeout)
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await self._checked_addresses(host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"The name {host} was not resolved in time.") from error

        failure: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for tried, address in enumerate(addresses):
            share = (deadline - loop.time()) / (len(addresses) - tried)
            try:
                async with asyncio.timeout(share):
                    transport, receiver = await loop.create_connection(Receiver, address, port)
                return AsyncioStream(transport, receiver, deadline)
            except TimeoutError as error:
                failure = httpx.ConnectTimeout(f"{host} did not accept the connection in time.")
                failure.__cause__ = error
            except OSError as error:
                failure = httpx.ConnectError(f"{host} did not accept the connection.")
                failure.__cause__ = error
        raise failure or NameUnknown(f"The name {host} has no address.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            literals = literal_addresses(host)
        except ValueError:
            raise NameUnknown(f"{host} is no IP address.") from None
        if literals is not None:
            for literal in literals:
                if (problem := check_ip(literal, self._policy)) is not None:
                    raise AddressRefused(problem)
            self.classes.note(host, literals)
            return [str(literals[0])]
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if any(check_ip(address, self._policy) is not None for address in addresses):
            # Without the addresses: strangers must not read the names of an inner network through us.
            raise AddressRefused(
                AddressProblem(
                    AddressProblemCode.FORBIDDEN,
                    f"The host {host} is in a network that is not public. Use a public host, "
                    "or have its network added to IMGPROC_FETCH_ALLOW_NETWORKS.",
                )
            )
        self.classes.note(host, addresses)
        return addresses[:MAX_ADDRESSES_TRIED]

    async def _lookup(self, host: str, port: int) -> Sequence[str]:
        """Shared by all who ask for a name at the same time, and ended when the last of them goes.

        Without that end, look-ups that nobody waits for any more would queue for the threads before those of others.
        """
        key = (host, port)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = _Lookup(asyncio.ensure_future(self._resolved(host, port)))
        lookup.waiting += 1
        try:
            return await asyncio.shield(lookup.task)
        finally:
            lookup.waiting -= 1
            if not lookup.waiting:
                lookup.task.cancel()
                self._lookups.pop(key, None)

    async def _resolved(self, host: str, port: int) -> Sequence[str]:
        try:
            return await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise NameUnknown(f"The name {host} cannot be resolved.") from error

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        answers = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(answer[4][0]) for answer in answers]


@dataclass(slots=True)
class _Lookup:
    task: asyncio.Task[Sequence[str]]
    waiting: int = 0


class _Body(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response, close: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._close = close
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        with _httpx_exceptions():
            async for chunk in self._answer.aiter_stream():
                yield chunk
                count += 1
                if count % CHUNKS_PER_TURN == 0:
                    await asyncio.sleep(0)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._close()


@contextmanager
def _httpx_exceptions() -> Iterator[None]:
    """Raises httpcore's exceptions as httpx's, which have the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error
