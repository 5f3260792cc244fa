"""HTTP to addresses that strangers wrote: what is checked is what is connected to.

A name is resolved once; if one of its addresses is forbidden, none is used; the connection goes to a checked
address, so there is no moment at which the name could come to mean something else. TLS still asks for the name.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import httpcore
import httpx

from gql_imgproc.net.address_policy import (
    AddressProblemCode,
    NetworkPolicy,
    UrlProblem,
    check_ip,
    check_port,
    parse_ip_literals,
)
from gql_imgproc.net.host_categories import HostCategories, HostClass

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


class ForbiddenAddress(httpx.ConnectError):
    """The host is at an address that may not be connected to."""

    def __init__(self, problem: UrlProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class HostNotFound(httpx.ConnectError):
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
        self._connections = ConnectionPool(self._network, ssl_context or httpx.create_ssl_context(), max_idle)

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
        self.classes = HostCategories()
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
            raise ForbiddenAddress(problem)
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
        raise failure or HostNotFound(f"The name {host} has no address.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _checked_addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            literals = parse_ip_literals(host)
        except ValueError:
            raise HostNotFound(f"{host} is no IP address.") from None
        if literals is not None:
            for literal in literals:
                if (problem := check_ip(literal, self._policy)) is not None:
                    raise ForbiddenAddress(problem)
            self.classes.note(host, literals)
            return [str(literals[0])]
        addresses = list(dict.fromkeys(await self._lookup(host, port)))
        if any(check_ip(address, self._policy) is not None for address in addresses):
            # Without the addresses: strangers must not read the names of an inner network through us.
            raise ForbiddenAddress(
                UrlProblem(
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
            raise HostNotFound(f"The name {host} cannot be resolved.") from error

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


#: Bytes that may wait for the reader before the host is made to wait; bounds the memory of a slow reader.
READ_AHEAD_BYTES = 512 * 1024
#: Longest head of an answer, all its interim answers included, in bytes: no server that means well sends a tenth of it,
#: and a flood of "100 Continue" is read event by event while the loop waits.
MAX_HEAD_BYTES = 64 * 1024
#: Bytes of a head that are handed over at once.
HEAD_PIECE_BYTES = 16 * 1024
#: Where the first digit of the status is in an answer; 1 is that of an interim answer.
_STATUS = slice(len("HTTP/1.1 "), len("HTTP/1.1 2"))
#: Seconds that saying goodbye in TLS may take; nobody waits for it.
TLS_GOODBYE_S = 1


class CertificateRejected(httpx.ConnectError):
    """The host's TLS certificate is not valid for it."""


class ConnectionStale(httpx.ReadError):
    """The host had closed a kept-alive connection before it saw the request; a new connection may do."""


class Receiver(asyncio.Protocol):
    """Collects what arrives, and lets one reader and one writer wait."""

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.ended = False
        self.error: BaseException | None = None
        self.reader: asyncio.Future[None] | None = None
        self.writer: asyncio.Future[None] | None = None
        self.writable = True
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > READ_AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        _wake(self.reader)

    def take(self, max_bytes: int | None = None) -> bytes:
        data = self.chunks.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self.chunks.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self.waiting_bytes -= len(data)
        if self._paused and self.waiting_bytes <= READ_AHEAD_BYTES // 2 and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def eof_received(self) -> None:
        self.ended = True
        _wake(self.reader)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.ended = True
        self.error = exc
        _wake(self.reader)
        _wake(self.writer)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        _wake(self.writer)

    def use(self, transport: asyncio.Transport) -> None:
        """Goes on over another transport, after TLS was laid over the first."""
        self._transport = transport


class AsyncioStream(httpcore.AsyncNetworkStream):
    """One connection. `deadline` is the loop time at which it has to stand, TLS included."""

    def __init__(self, transport: asyncio.Transport, receiver: Receiver, deadline: float) -> None:
        self._transport = transport
        self._receiver = receiver
        self._deadline = deadline
        self._answered = False
        self._reused = False
        #: How much longer the head may get; None while a body is read.
        self._head_left_bytes: int | None = MAX_HEAD_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's
        """The next chunk, that of a body as it came: longer than `max_bytes`, at which httpcore does not look."""
        if self._head_left_bytes is not None and self._head_left_bytes < MAX_HEAD_BYTES:
            if self._head_left_bytes <= 0:
                raise httpx.RemoteProtocolError("The head of the answer does not end.")
            # Others have their turn between the pieces of a long head.
            await asyncio.sleep(0)
        receiver = self._receiver
        while not receiver.chunks:
            if receiver.ended:
                if self._reused and not self._answered:
                    raise ConnectionStale("The host closed a kept-alive connection.")
                if receiver.error is not None:
                    raise httpx.ReadError(str(receiver.error)) from receiver.error
                return b""
            receiver.reader = asyncio.get_running_loop().create_future()
            try:
                await _wait(receiver.reader, timeout, httpx.ReadTimeout("The host is silent."))
            finally:
                receiver.reader = None
        self._answered = True
        if self._head_left_bytes is None:
            return receiver.take()
        # Not cut when what came first is a final answer: what follows is its body, and cutting costs CPU.
        final = self._head_left_bytes == MAX_HEAD_BYTES and receiver.chunks[0][_STATUS] not in (b"", b"1")
        data = receiver.take(None if final else HEAD_PIECE_BYTES)
        self._head_left_bytes -= len(data)
        return data

    def head_ended(self) -> None:
        """What is read from now on is the body of the answer."""
        self._head_left_bytes = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  httpcore's
        if not buffer:
            return
        receiver = self._receiver
        if self._answered:
            self._answered, self._reused = False, True
            self._head_left_bytes = MAX_HEAD_BYTES
        if receiver.ended:
            # httpcore goes on to read: an answer may have come before the end.
            raise httpcore.WriteError("The host closed the connection.")
        self._transport.write(buffer)
        while not receiver.writable and not receiver.ended:
            receiver.writer = asyncio.get_running_loop().create_future()
            try:
                await _wait(receiver.writer, timeout, httpx.WriteTimeout("The host does not take the request."))
            finally:
                receiver.writer = None

    async def aclose(self) -> None:
        # Not `close`, which waits for the other side's goodbye in TLS.
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's; `deadline` began before it
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(self._deadline):
                transport = await loop.start_tls(
                    self._transport,
                    self._receiver,
                    ssl_context,
                    server_hostname=server_hostname,
                    ssl_shutdown_timeout=TLS_GOODBYE_S,
                )
            if transport is None:
                raise ConnectionResetError("The host closed the connection during the TLS handshake.")
        except BaseException as error:
            self._transport.abort()
            match error:
                case ssl.SSLCertVerificationError():
                    raise CertificateRejected(error.verify_message) from error
                case TimeoutError():
                    raise httpx.ConnectTimeout("The TLS handshake took too long.") from error
                case OSError():
                    raise httpx.ConnectError(str(error)) from error
            raise
        self._receiver.use(transport)
        return AsyncioStream(transport, self._receiver, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # Asked of each idle connection at each request: the state is at hand, a poll() is a system call.
            return self._receiver.ended or bool(self._receiver.chunks)
        if info == "ssl_object":
            return self._transport.get_extra_info("ssl_object")
        if info == "server_addr":
            return self._transport.get_extra_info("peername")
        return None


async def _wait(future: asyncio.Future[None], timeout_s: float | None, error: Exception) -> None:
    """Cheaper than `asyncio.timeout`, of which every chunk would pay."""
    if timeout_s is None:
        await future
        return
    timer = asyncio.get_running_loop().call_later(timeout_s, _fail, future, error)
    try:
        await future
    finally:
        timer.cancel()


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _wake(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)


#: Scheme, host and port.
_Key: TypeAlias = tuple[bytes, bytes, int]

#: Seconds that an idle connection is kept; the pictures of one catalogue follow each other faster.
KEEPALIVE_S = 5.0


class ConnectionPool:
    """Hands out a connection to an origin, and takes it back when its answer has been read."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, ssl_context: ssl.SSLContext, max_idle: int) -> None:
        self._network = network
        self._ssl_context = ssl_context
        self._max_idle = max_idle
        self._idle: dict[_Key, list[httpcore.AsyncHTTPConnection]] = {}
        #: The same connections, the longest idle first, and their origins.
        self._origins: dict[httpcore.AsyncHTTPConnection, _Key] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._origins)

    async def take(self, url: httpcore.URL) -> httpcore.AsyncHTTPConnection:
        """The connection that was used last, because it is the least likely to have been closed by the host."""
        origin = url.origin
        key = _key(origin)
        while key in self._idle:
            connection = self._idle[key][-1]
            self._remove(connection)
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin, self._ssl_context, keepalive_expiry=KEEPALIVE_S, network_backend=self._network
        )

    async def give_back(self, url: httpcore.URL, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keeps the connection if it can be used again."""
        if connection.is_idle() and not _has_surplus(connection) and not self._closed:
            key = _key(url.origin)
            self._idle.setdefault(key, []).append(connection)
            self._origins[connection] = key
        else:
            await connection.aclose()
        while self._origins:
            oldest = next(iter(self._origins))
            if len(self._origins) <= self._max_idle and not oldest.has_expired():
                return
            self._remove(oldest)
            await oldest.aclose()

    async def aclose(self) -> None:
        self._closed = True
        while self._origins:
            connection = next(iter(self._origins))
            self._remove(connection)
            await connection.aclose()

    def _remove(self, connection: httpcore.AsyncHTTPConnection) -> None:
        key = self._origins.pop(connection)
        siblings = self._idle[key]
        siblings.remove(connection)
        if not siblings:
            del self._idle[key]


def _has_surplus(connection: httpcore.AsyncHTTPConnection) -> bool:
    """Whether more came than the answer said; it would be taken for the answer to the next request."""
    # httpcore has no name for this that is not its own.
    inner = connection._connection
    return isinstance(inner, httpcore.AsyncHTTP11Connection) and inner._h11_state.trailing_data[0] != b""


def _key(origin: httpcore.Origin) -> _Key:
    return (origin.scheme, origin.host, origin.port)


@dataclass(slots=True)
class _Host:
    turns: asyncio.Semaphore
    users: int = 0


class DownloadLimiter:
    """Holds a host's slot first and then one of all, so that those who wait for a slow host hold up nobody else."""

    def __init__(self, concurrency: int, per_host: int, wait_s: float) -> None:
        self._all = asyncio.Semaphore(concurrency)
        self._per_host = per_host
        self._wait_s = wait_s
        self._hosts: dict[str, _Host] = {}

    def __len__(self) -> int:
        """Hosts that are remembered: only those in use, or a large catalogue would fill the memory."""
        return len(self._hosts)

    @asynccontextmanager
    async def hold(self, host: str) -> AsyncIterator[None]:
        """Raises TimeoutError when no slot became free; what is raised inside passes."""
        place = self._hosts.get(host)
        if place is None:
            place = self._hosts[host] = _Host(asyncio.Semaphore(self._per_host))
        place.users += 1
        held: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(self._wait_s):
                for turns in (place.turns, self._all):
                    await turns.acquire()
                    held.append(turns)
            yield
        finally:
            for turns in held:
                turns.release()
            place.users -= 1
            if not place.users:
                del self._hosts[host]
