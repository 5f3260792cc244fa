"""An HTTP client for untrusted URLs. It connects only to IP addresses that were checked.

It has no redirects or cookies. A name is resolved once per connection, and the connection goes to a checked IP address,
so DNS rebinding has no effect. TLS still verifies the host name. Through a proxy, host and port are checked before the
proxy is asked for them, but the proxy resolves names and chooses the IP address.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.checked_resolver import CheckedResolver, Resolve
from gql_imgproc.net.http_connection import Connection
from gql_imgproc.net.proxy import Proxy, ProxyFailed
from gql_imgproc.net.target import Target
from gql_imgproc.net.tls_errors import ExplainedSSLObject, tls_failure

#: IP addresses of one host that are tried; each gets its share of the connect timeout.
MAX_IPS_TRIED = 4
#: Seconds that an idle connection stays open; the images of one catalogue follow each other faster.
KEEPALIVE_S = 5.0
#: Bytes that are read at once. The body of a response that arrives in one read is not copied again.
READ_BYTES = 256 * 1024


class GuardedClient:
    """Sends requests over kept-alive connections. Belongs to the event loop of the first request.

    The caller limits concurrent requests; `max_idle` limits idle connections. Raises httpx's exceptions, including
    those of `fetch_errors`.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        *,
        max_idle: int,
        proxy: Proxy | None = None,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.resolver = CheckedResolver(policy, resolve)
        # Proxy variables are never read. The operator can set SSL_CERT_FILE to add a certificate authority.
        self._ssl_context = ssl_context or httpx.create_ssl_context()
        self._ssl_context.sslobject_class = ExplainedSSLObject
        self._max_idle = max_idle
        self._proxy = proxy
        #: An ordered set: the connection that is idle longest comes first.
        self._idle: dict[Connection, None] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))

    async def request(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: bytes = b"",
        *,
        connect_s: float,
        read_s: float,
    ) -> Connection:
        """Return the connection when the head of the response has arrived. The caller must release it."""
        url = target.path
        if self._proxy is not None and target.scheme == "http":
            url = f"http://{target.authority}{target.path}"
            headers = {**headers, **self._proxy.headers}
        lines = [f"{method} {url} HTTP/1.1", f"Host: {target.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        head = "\r\n".join([*lines, "", ""])
        if head.count("\r") + head.count("\n") != 2 * len(lines) + 2:
            raise httpx.LocalProtocolError("A header of the request contains a line break.")
        while True:
            connection = self._take_idle(target) or await self._connect(target, connect_s)
            try:
                await connection.request(head.encode() + content, read_s)
            except httpx.ReadError:
                # The host closed a kept-alive connection before it read the request. A new connection is never stale.
                if not connection.is_stale:
                    raise
            else:
                return connection

    def release(self, connection: Connection) -> None:
        """Keep the connection if it can be reused."""
        connection.drop_body()
        if connection.is_reusable:
            self._idle[connection] = None
            self._close_surplus()
        else:
            connection.close()

    async def aclose(self) -> None:
        self._max_idle = 0
        self._close_surplus()
        await self.resolver.aclose()
        # The sockets close in the next iteration of the event loop.
        await asyncio.sleep(0)

    def _take_idle(self, target: Target) -> Connection | None:
        """Return the connection that was used last: the host is least likely to have closed it."""
        self._close_surplus()
        connection = next((idle for idle in reversed(self._idle) if idle.origin == target[:3]), None)
        if connection is not None:
            del self._idle[connection]
        return connection

    def _close_surplus(self) -> None:
        """Close idle connections that are too many or too old."""
        oldest_at = asyncio.get_running_loop().time() - KEEPALIVE_S
        while self._idle:
            connection = next(iter(self._idle))
            if len(self._idle) <= self._max_idle and connection.received_at >= oldest_at:
                return
            connection.close()

    async def _connect(self, target: Target, connect_s: float) -> Connection:
        if self._proxy is not None:
            return await self._connect_to_proxy(self._proxy, target, connect_s)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + connect_s
        try:
            ips = (await self.resolver.resolve(target.host, target.port, connect_s))[:MAX_IPS_TRIED]
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"The name {target.host} was not resolved in time.") from error
        is_tls = target.scheme == "https"
        for tried, ip in enumerate(ips, 1):
            share_s = (deadline - loop.time()) / (len(ips) - tried + 1)
            try:
                async with asyncio.timeout(share_s):
                    _, connection = await loop.create_connection(
                        lambda: self._create_connection(target),
                        ip,
                        target.port,
                        ssl=self._ssl_context if is_tls else None,
                        server_hostname=target.host if is_tls else None,
                    )
                return connection
            except OSError as error:
                if (failure := tls_failure(error)) is not None:
                    raise failure from error
                # TimeoutError too is an OSError.
                if tried == len(ips):
                    kind = httpx.ConnectTimeout if isinstance(error, TimeoutError) else httpx.ConnectError
                    raise kind(f"{target.host} did not accept the connection.") from error
        raise AssertionError("The resolver returned no IP address.")

    async def _connect_to_proxy(self, proxy: Proxy, target: Target, connect_s: float) -> Connection:
        """Return a connection to the proxy, or for `https` one through it, which the proxy cannot read."""
        await self.resolver.check(target.host, target.port)
        loop = asyncio.get_running_loop()
        is_connected = False
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: self._create_connection(target), proxy.host, proxy.port
                )
                is_connected = True
                if target.scheme == "https":
                    connection = await self._open_tunnel(proxy, connection, target, connect_s)
                return connection
        except OSError as error:
            if (failure := tls_failure(error)) is not None:
                raise failure from error
            if is_connected and isinstance(error, TimeoutError):
                raise httpx.ConnectTimeout(f"The proxy did not connect to {target.host} in time.") from error
            if is_connected:
                raise httpx.ConnectError(f"{target.host} did not accept the connection.") from error
            raise ProxyFailed("the proxy of IMGPROC_FETCH_PROXY cannot be reached") from error

    async def _open_tunnel(self, proxy: Proxy, connection: Connection, target: Target, read_s: float) -> Connection:
        await connection.request(proxy.tunnel_request(target), read_s)
        if connection.status != 200:
            connection.close()
            raise ProxyFailed(f"the proxy of IMGPROC_FETCH_PROXY responded with status {connection.status}")
        secure = self._create_connection(target)
        transport = await asyncio.get_running_loop().start_tls(
            connection.detach(), secure, self._ssl_context, server_hostname=target.host
        )
        if transport is None:
            raise httpx.ConnectError("The proxy closed the connection.")
        secure.connection_made(transport)
        return secure

    def _create_connection(self, target: Target) -> Connection:
        return Connection(target[:3], self._buffer, self._idle)
