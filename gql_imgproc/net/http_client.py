"""An HTTP client for untrusted URLs. It connects only to IP addresses that it has checked.

A name is resolved once per connection. If one of its IP addresses is forbidden, none is used. The connection goes to a
checked IP address, so DNS rebinding has no effect. TLS still verifies the host name.
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
    NetworkPolicy,
    UrlProblem,
    UrlProblemCode,
    check_ip,
    check_port,
)
from gql_imgproc.net.fetch_errors import CertificateRejected, ConnectionStale, ForbiddenAddress, HostNotFound
from gql_imgproc.net.host_categories import HostCategories, HostCategory
from gql_imgproc.net.ip_literals import parse_ip_literals

#: Returns the IP addresses of a host name and port.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]

#: Concurrent DNS lookups. A dead DNS server blocks a thread for up to half a minute, but only one per name. Threads are
#: created on demand.
RESOLVER_THREADS = 64
#: Connect timeout in seconds if the caller sets none.
CONNECT_S = 5.0
#: IP addresses of one host that are tried; each gets its share of the connect timeout.
MAX_IPS_TRIED = 4

#: Chunks read before yielding to the event loop: 256 KB of one-byte chunks arrive at once and take half a second.
CHUNKS_PER_YIELD = 64


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport without proxies, redirects or cookies that connects only to allowed IP addresses.

    The caller limits concurrent requests; `max_idle` limits idle connections. Belongs to the event loop that first
    uses it. Raises httpx's exceptions, including ForbiddenAddress, HostNotFound, CertificateRejected and
    ConnectionStale.
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
        # Proxy variables are never read. The operator can set SSL_CERT_FILE to add a certificate authority.
        self._connections = ConnectionPool(self._network, ssl_context or httpx.create_ssl_context(), max_idle)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        assert isinstance(request.stream, AsyncIterable)
        core_request = httpcore.Request(
            request.method,
            target,
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._connections.acquire(target)
        try:
            with _httpx_exceptions():
                answer = await connection.handle_async_request(core_request)
        except BaseException:
            await connection.aclose()
            raise
        stream = answer.extensions["network_stream"]
        assert isinstance(stream, AsyncioStream)
        stream.head_ended()

        async def close() -> None:
            await answer.aclose()
            await self._connections.release(target, connection)

        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer, close), extensions=answer.extensions
        )

    def host_category(self, host: str) -> HostCategory:
        """The category of a host at its last connection."""
        return self._network.categories.get(host)

    async def aclose(self) -> None:
        await self._connections.aclose()
        self._network.close()
        # The sockets close in the next iteration of the event loop.
        await asyncio.sleep(0)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, only to allowed IP addresses."""

    def __init__(self, policy: NetworkPolicy, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or self._resolve_with_system
        self.categories = HostCategories()
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        # Not the event loop's executor: slow DNS lookups would block its other users.
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
                ips = await self._checked_ips(host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"The name {host} was not resolved in time.") from error

        failure: httpx.ConnectError | httpx.ConnectTimeout | None = None
        for tried, ip in enumerate(ips):
            share = (deadline - loop.time()) / (len(ips) - tried)
            try:
                async with asyncio.timeout(share):
                    transport, receiver = await loop.create_connection(Receiver, ip, port)
                return AsyncioStream(transport, receiver, deadline)
            except TimeoutError as error:
                failure = httpx.ConnectTimeout(f"{host} did not accept the connection in time.")
                failure.__cause__ = error
            except OSError as error:
                failure = httpx.ConnectError(f"{host} did not accept the connection.")
                failure.__cause__ = error
        raise failure or HostNotFound(f"The name {host} has no IP address.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def close(self) -> None:
        for lookup in self._lookups.values():
            lookup.task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _checked_ips(self, host: str, port: int) -> Sequence[str]:
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
        return ips[:MAX_IPS_TRIED]

    async def _lookup(self, host: str, port: int) -> Sequence[str]:
        """Resolve a name. Concurrent callers share one lookup; it is cancelled when the last of them stops waiting.

        Otherwise abandoned lookups would occupy the threads.
        """
        key = (host, port)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = _Lookup(asyncio.ensure_future(self._resolve_or_fail(host, port)))
        lookup.waiting += 1
        try:
            return await asyncio.shield(lookup.task)
        finally:
            lookup.waiting -= 1
            if not lookup.waiting:
                lookup.task.cancel()
                self._lookups.pop(key, None)

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
                if count % CHUNKS_PER_YIELD == 0:
                    await asyncio.sleep(0)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._close()


@contextmanager
def _httpx_exceptions() -> Iterator[None]:
    """Convert httpcore's exceptions to those of httpx, which have the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        kind = getattr(httpx, type(error).__name__, httpx.TransportError)
        raise kind(str(error)) from error


#: Bytes buffered before reading from the host pauses; limits the memory of a slow reader.
READ_AHEAD_BYTES = 512 * 1024
#: Longest head of a response with all its interim responses, in bytes. Normal servers send less than a tenth of it;
#: parsing a flood of "100 Continue" blocks the event loop.
MAX_HEAD_BYTES = 64 * 1024
#: Bytes of a head that are passed to the parser at once.
HEAD_PIECE_BYTES = 16 * 1024
#: Position of the first digit of the status in a response; 1 means an interim response.
_STATUS = slice(len("HTTP/1.1 "), len("HTTP/1.1 2"))
#: Timeout of the TLS shutdown in seconds; nothing waits for it.
TLS_SHUTDOWN_S = 1


class Receiver(asyncio.Protocol):
    """Buffers received data for one reader, and blocks one writer while the socket is full."""

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
        # Cast without a check: uvloop's transports are not subclasses of asyncio's.
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
        """Switch to the TLS transport after the handshake."""
        self._transport = transport


class AsyncioStream(httpcore.AsyncNetworkStream):
    """One connection. `deadline` is the loop time by which it must be established, including TLS."""

    def __init__(self, transport: asyncio.Transport, receiver: Receiver, deadline: float) -> None:
        self._transport = transport
        self._receiver = receiver
        self._deadline = deadline
        self._answered = False
        self._reused = False
        #: Bytes that the head may still have; None while the body is read.
        self._head_left_bytes: int | None = MAX_HEAD_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  httpcore's
        """Return the next chunk. A chunk of a body may be longer than `max_bytes`; httpcore accepts that."""
        if self._head_left_bytes is not None and self._head_left_bytes < MAX_HEAD_BYTES:
            if self._head_left_bytes <= 0:
                raise httpx.RemoteProtocolError("The head of the response is too long.")
            # Yields to the event loop between the pieces of a long head.
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
                await _wait(receiver.reader, timeout, httpx.ReadTimeout("The host sent no data."))
            finally:
                receiver.reader = None
        self._answered = True
        if self._head_left_bytes is None:
            return receiver.take()
        # A final response is not split: the rest is its body, and splitting costs CPU.
        final = self._head_left_bytes == MAX_HEAD_BYTES and receiver.chunks[0][_STATUS] not in (b"", b"1")
        data = receiver.take(None if final else HEAD_PIECE_BYTES)
        self._head_left_bytes -= len(data)
        return data

    def head_ended(self) -> None:
        """All following data is the body of the response."""
        self._head_left_bytes = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  httpcore's
        if not buffer:
            return
        receiver = self._receiver
        if self._answered:
            self._answered, self._reused = False, True
            self._head_left_bytes = MAX_HEAD_BYTES
        if receiver.ended:
            # httpcore then reads: the host may have responded before it closed the connection.
            raise httpcore.WriteError("The host closed the connection.")
        self._transport.write(buffer)
        while not receiver.writable and not receiver.ended:
            receiver.writer = asyncio.get_running_loop().create_future()
            try:
                await _wait(receiver.writer, timeout, httpx.WriteTimeout("The host does not read the request."))
            finally:
                receiver.writer = None

    async def aclose(self) -> None:
        # Not `close`, which waits for the other side's TLS shutdown.
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
                    ssl_shutdown_timeout=TLS_SHUTDOWN_S,
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
            # Called for each idle connection at each request. Reading the state avoids a system call (poll).
            return self._receiver.ended or bool(self._receiver.chunks)
        if info == "ssl_object":
            return self._transport.get_extra_info("ssl_object")
        if info == "server_addr":
            return self._transport.get_extra_info("peername")
        return None


async def _wait(future: asyncio.Future[None], timeout_s: float | None, error: Exception) -> None:
    """Cheaper than `asyncio.timeout`, which would cost time for every chunk."""
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

#: Seconds that an idle connection stays open; the images of one catalogue follow each other faster.
KEEPALIVE_S = 5.0


class ConnectionPool:
    """Keeps idle connections by origin, to reuse them after their response was read."""

    def __init__(self, network: httpcore.AsyncNetworkBackend, ssl_context: ssl.SSLContext, max_idle: int) -> None:
        self._network = network
        self._ssl_context = ssl_context
        self._max_idle = max_idle
        self._idle: dict[_Key, list[httpcore.AsyncHTTPConnection]] = {}
        #: The same connections with their origins; the one that is idle longest comes first.
        self._origins: dict[httpcore.AsyncHTTPConnection, _Key] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._origins)

    async def acquire(self, url: httpcore.URL) -> httpcore.AsyncHTTPConnection:
        """Return the connection that was used last: the host is least likely to have closed it."""
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

    async def release(self, url: httpcore.URL, connection: httpcore.AsyncHTTPConnection) -> None:
        """Keep the connection if it can be reused."""
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
    """Whether data follows the response. It would be read as the response to the next request."""
    # httpcore has no public name for this.
    inner = connection._connection
    return isinstance(inner, httpcore.AsyncHTTP11Connection) and inner._h11_state.trailing_data[0] != b""


def _key(origin: httpcore.Origin) -> _Key:
    return (origin.scheme, origin.host, origin.port)


@dataclass(slots=True)
class _HostLimit:
    semaphore: asyncio.Semaphore
    users: int = 0


class DownloadLimiter:
    """Limits downloads per host and in total. The host's limit comes first, so a slow host does not block others."""

    def __init__(self, concurrency: int, per_host: int, wait_s: float) -> None:
        self._all = asyncio.Semaphore(concurrency)
        self._per_host = per_host
        self._wait_s = wait_s
        self._hosts: dict[str, _HostLimit] = {}

    def __len__(self) -> int:
        """The number of hosts in use. Others are removed, or a large catalogue would fill the memory."""
        return len(self._hosts)

    @asynccontextmanager
    async def acquire(self, host: str) -> AsyncIterator[None]:
        """Raises TimeoutError if no download could start in time. Errors in the body pass through."""
        limit = self._hosts.get(host)
        if limit is None:
            limit = self._hosts[host] = _HostLimit(asyncio.Semaphore(self._per_host))
        limit.users += 1
        acquired: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(self._wait_s):
                for semaphore in (limit.semaphore, self._all):
                    await semaphore.acquire()
                    acquired.append(semaphore)
            yield
        finally:
            for semaphore in acquired:
                semaphore.release()
            limit.users -= 1
            if not limit.users:
                del self._hosts[host]
