"""A TCP or TLS connection for httpcore, on asyncio without a layer between: a third of the CPU of anyio's.

Raises httpx's exceptions; httpcore lets those it does not know pass.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any, cast

import httpcore
import httpx

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


class CertificateRefused(httpx.ConnectError):
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
                    raise CertificateRefused(error.verify_message) from error
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
