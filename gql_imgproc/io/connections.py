"""Kept-alive connections, by origin.

httpcore's own pool is not used: it looks at all connections at each request and promises an idle one to several
requests at once, which at 16 downloads in flight took a third of the CPU of a fetch. Whoever uses this has to
bound the connections in use; here only idle ones are counted.
"""

from __future__ import annotations

import ssl
from typing import TypeAlias

import httpcore

#: Scheme, host and port.
_Key: TypeAlias = tuple[bytes, bytes, int]

#: Seconds that an idle connection is kept; the pictures of one catalogue follow each other faster.
KEEPALIVE_S = 5.0


class Connections:
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
