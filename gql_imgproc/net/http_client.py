"""An HTTP client for untrusted URLs. It connects only to IP addresses that were checked.

It has no proxies, redirects or cookies. A name is resolved once per connection, and the connection goes to a checked IP
address, so DNS rebinding has no effect. TLS still verifies the host name.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.checked_resolver import CheckedResolver, Resolve
from gql_imgproc.net.fetch_errors import CertificateRejected
from gql_imgproc.net.host_categories import HostCategory
from gql_imgproc.net.http_connection import Connection

#: IP addresses of one host that are tried; each gets its share of the connect timeout.
MAX_IPS_TRIED = 4
#: Seconds that an idle connection stays open; the images of one catalogue follow each other faster.
KEEPALIVE_S = 5.0
#: Bytes that are read at once. The body of a response that arrives in one read is not copied again.
READ_BYTES = 256 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


class GuardedClient:
    """Sends requests over kept-alive connections. Belongs to the event loop of the first request.

    The caller limits concurrent requests; `max_idle` limits idle connections. Raises httpx's exceptions, including
    ForbiddenAddress, HostNotFound, CertificateRejected and BodyTooLarge.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        *,
        max_idle: int,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._resolver = CheckedResolver(policy, resolve)
        # Proxy variables are never read. The operator can set SSL_CERT_FILE to add a certificate authority.
        self._tls = ssl_context or httpx.create_ssl_context()
        self._max_idle = max_idle
        #: The connection that is idle longest comes first. A set with an order.
        self._idle: dict[Connection, None] = {}
        self._buffer = memoryview(bytearray(READ_BYTES))

    async def request(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        content: bytes = b"",
        *,
        connect_s: float,
        read_s: float,
    ) -> Connection:
        """Return the connection when the head of the response has arrived. The caller must release it."""
        lines = [f"{method} {url.raw_path.decode('ascii')} HTTP/1.1", f"Host: {url.netloc.decode('ascii')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if content:
            lines.append(f"Content-Length: {len(content)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise httpx.LocalProtocolError("A header of the request contains a line break.")
        data = "\r\n".join([*lines, "", ""]).encode() + content
        key = (url.scheme, url.raw_host.decode("ascii"), url.port or _DEFAULT_PORTS[url.scheme])
        while True:
            connection = self._take_idle(key) or await self._connect(key, connect_s)
            try:
                await connection.request(data, read_s)
            except httpx.ReadError:
                # The host closed a kept-alive connection before it read the request. A new connection is never stale.
                if not connection.is_stale:
                    raise
            else:
                return connection

    def release(self, connection: Connection) -> None:
        """Keep the connection if it can be reused."""
        if connection.is_reusable:
            self._idle[connection] = None
            self._close_surplus()
        else:
            connection.close()

    def host_category(self, host: str) -> HostCategory:
        """The category of a host at its last connection."""
        return self._resolver.categories.get(host)

    async def aclose(self) -> None:
        self._max_idle = 0
        self._close_surplus()
        self._resolver.close()
        # The sockets close in the next iteration of the event loop.
        await asyncio.sleep(0)

    def _take_idle(self, key: tuple[str, str, int]) -> Connection | None:
        """Return the connection that was used last: the host is least likely to have closed it."""
        self._close_surplus()
        connection = next((connection for connection in reversed(self._idle) if connection.key == key), None)
        if connection is not None:
            del self._idle[connection]
        return connection

    def _close_surplus(self) -> None:
        """Close idle connections that are too many or too old."""
        while self._idle:
            oldest = next(iter(self._idle))
            age_s = asyncio.get_running_loop().time() - oldest.received_at
            if len(self._idle) <= self._max_idle and age_s <= KEEPALIVE_S:
                return
            oldest.close()

    def _forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    async def _connect(self, key: tuple[str, str, int], connect_s: float) -> Connection:
        scheme, host, port = key
        loop = asyncio.get_running_loop()
        deadline = loop.time() + connect_s
        try:
            async with asyncio.timeout_at(deadline):
                ips = await self._resolver.resolve(host, port)
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"The name {host} was not resolved in time.") from error
        tls = (self._tls, host) if scheme == "https" else (None, None)
        ips = ips[:MAX_IPS_TRIED]
        failure: httpx.TransportError | None = None
        for tried, ip in enumerate(ips):
            share_s = (deadline - loop.time()) / (len(ips) - tried)
            try:
                async with asyncio.timeout(share_s):
                    _, connection = await loop.create_connection(
                        lambda: Connection(key, self._buffer, self._forget),
                        ip,
                        port,
                        ssl=tls[0],
                        server_hostname=tls[1],
                    )
                return connection
            except ssl.SSLCertVerificationError as error:
                raise CertificateRejected(error.verify_message) from error
            except TimeoutError as error:
                failure = httpx.ConnectTimeout(f"{host} did not accept the connection in time.")
                failure.__cause__ = error
            except OSError as error:
                failure = httpx.ConnectError(f"{host} did not accept the connection.")
                failure.__cause__ = error
        assert failure is not None
        raise failure
