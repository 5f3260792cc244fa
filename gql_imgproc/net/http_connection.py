"""One HTTP/1.1 connection around httptools' parser. It carries one request at a time and collects its response."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import cast

import httptools
import httpx

from gql_imgproc.net.fetch_errors import BodyTooLarge

#: Bytes that may arrive without a byte of the body: the head with its interim responses, trailers, or the extension of
#: a chunk. Normal servers send less than a tenth of it. Checked after each read.
MAX_HEAD_BYTES = 64 * 1024
_HEAD = re.compile(rb".*?\n\r?\n", re.DOTALL)
_HEADS = re.compile(rb"(?:HTTP/1\.[01] 1[0-9][0-9].*?\n\r?\n)*.*?\n\r?\n", re.DOTALL)
#: A line without a valid name, which browsers skip. A line that begins with a space continues the previous one.
_MALFORMED_LINE = re.compile(rb"(?<=\n)(?![!#$%&'*+.^_`|~0-9A-Za-z-]+:|[ \t\r\n])[^\n]*\n")
_STRAY_CR = re.compile(rb"\r(?!\n)")


class Connection(asyncio.BufferedProtocol):
    """Also the response to its last request. `buffer` can be shared, since the data of each read is parsed at once."""

    def __init__(
        self, origin: tuple[str, str, int], buffer: memoryview, idle_connections: dict[Connection, None]
    ) -> None:
        self.origin = origin
        #: The response is complete, and another request can follow.
        self.is_reusable = False
        #: The connection was reused, and the host has sent nothing since.
        self.is_stale = False
        self._buffer = buffer
        self._idle_connections = idle_connections
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._progress = asyncio.Event()
        #: Runs on between requests: restarting it for each one costs CPU.
        self._timer: asyncio.TimerHandle | None = None
        self._parser = _create_parser(self)
        self._reset(0)

    def _reset(self, read_s: float) -> None:
        self.status = 0
        #: Names are in lower case.
        self.headers: dict[str, str] = {}
        #: Loop time of the last data.
        self.received_at = self._loop.time()
        self._read_s = read_s
        #: The head as far as it has arrived; None after it was repaired.
        self._head: bytearray | None = bytearray()
        self._is_malformed = False
        self._body: bytes | bytearray = b""
        self._last_chunk = b""
        self._max_body_bytes = sys.maxsize
        self._bytes_without_body = 0
        self._is_complete = False

    async def request(self, data: bytes, read_s: float) -> None:
        """Send a request and wait for the head of its response. `read_s` limits each wait for data."""
        self.is_stale, self.is_reusable = self.is_reusable, False
        self._reset(read_s)
        if self._timer is None:
            self._timer = self._loop.call_later(read_s, self._check_silence)
        self._transport.write(data)
        try:
            while not self.status:
                await self._wait()
        except BaseException:
            self.close()
            raise

    async def read(self, max_bytes: int) -> bytes:
        """Return the body, or raise BodyTooLarge. Call it at once: until then, the body has no limit."""
        self._max_body_bytes = max_bytes
        if len(self._body) > max_bytes:
            raise BodyTooLarge("The body of the response is too large.")
        while not self._is_complete:
            await self._wait()
        body, self._body = self._body, b""
        return bytes(body)

    def close(self, error: Exception | None = None) -> None:
        self._error = self._error or error or httpx.ReadError("The connection was closed.")
        self.is_reusable = False
        self._idle_connections.pop(self, None)
        # Not `close`, which waits for the other side's TLS shutdown.
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        self._progress.set()

    def detach(self) -> asyncio.Transport:
        """Return the transport, which another protocol will use."""
        if self._timer is not None:
            self._timer.cancel()
        return self._transport

    def drop_body(self) -> None:
        """Free the memory of a body that nobody reads."""
        self._body = b""

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._progress.clear()
        await self._progress.wait()

    def _check_silence(self) -> None:
        left_s = self.received_at + self._read_s - self._loop.time()
        if self._is_complete:
            self._timer = None
        elif left_s <= 0:
            self.close(httpx.ReadTimeout("The host sent no data."))
        else:
            self._timer = self._loop.call_later(left_s, self._check_silence)

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Cast without a check: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.is_stale = False
        if self._is_complete or self._error is not None:
            # Data after a response would be read as the next response.
            self.close()
            return
        self.received_at = self._loop.time()
        self._bytes_without_body += nbytes
        data = self._buffer[:nbytes]
        try:
            self._parse(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.close(httpx.RemoteProtocolError(str(error).rstrip(".")))
        if self._bytes_without_body > MAX_HEAD_BYTES:
            self.close(httpx.RemoteProtocolError(f"its headers are longer than {MAX_HEAD_BYTES:,} bytes"))
        end, self._last_chunk = self._last_chunk[-16:], b""
        # The parser ignores line breaks after a response.
        if self._is_complete and "content-length" in self.headers and end and data[-len(end) :] != end:
            self.close()

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None and self.status and not {"content-length", "transfer-encoding"} & self.headers.keys():
            self._is_complete = True
        self.close(httpx.ReadError(str(exc or "The host closed the connection.")))

    # Called by the parser

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise ValueError("data after the response")
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        # Not the trailers.
        if not self.status:
            try:
                text = value.decode().strip()
            except UnicodeDecodeError:
                text = value.decode("latin-1").strip()
            key = name.decode("ascii").strip().lower()
            # A cookie may contain commas.
            separator = "\n" if key == "set-cookie" else ", "
            self.headers[key] = f"{self.headers[key]}{separator}{text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            self._error = httpx.RemoteProtocolError("the header Transfer-Encoding has an unsupported value")
            raise self._error
        if status < 100 or status == 101:
            self._error = httpx.RemoteProtocolError(f"the status {status} is unsupported")
            raise self._error
        if status >= 200:
            self.status = status
            self._progress.set()

    def on_body(self, chunk: bytes) -> None:
        self._bytes_without_body = 0
        self._last_chunk = chunk
        if not self._body:
            # Often the whole body, which is not copied again.
            self._body = chunk
        else:
            # One growing buffer: a list of a million tiny chunks would need many times their size.
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk
        if len(self._body) > self._max_body_bytes:
            self._error = BodyTooLarge("The body of the response is too large.")
            raise self._error

    def on_message_complete(self) -> None:
        if self.status:
            self._is_complete = True
            self.is_reusable = self._parser.should_keep_alive()
            self._progress.set()

    def _parse(self, data: memoryview) -> None:
        head = self._head
        if head is None or self.status:
            self._parser.feed_data(data)
            return
        head += data
        if not self._is_malformed:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError:
                # What is not HTTP may never end, and a body cannot be repaired.
                if self.status or self._error or not head.startswith(b"HTTP/"):
                    raise
                self._is_malformed = True
        # Once, when the head is complete: parsing again after every read would take too long.
        if self._is_malformed and _ends_head(head[-len(data) - 3 :]) and (heads := _HEADS.match(head)) is not None:
            self._head = None
            repaired = _repair(heads[0])
            self._parser = _create_parser(self)
            try:
                self._parser.feed_data(repaired + head[heads.end() :])
            except httptools.HttpParserError:
                if not self.status and (name := _find_invalid_header(repaired)):
                    self._error = self._error or httpx.RemoteProtocolError(f"the header {name} is invalid")
                raise


def _create_parser(protocol: object) -> httptools.HttpResponseParser:
    parser = httptools.HttpResponseParser(protocol)
    # Like browsers. An ambiguous response cannot harm others, since no other client shares the connection.
    parser.set_dangerous_leniencies(
        lenient_headers=True,
        lenient_chunked_length=True,
        lenient_optional_cr_before_lf=True,
        lenient_spaces_after_chunk_size=True,
    )
    return parser


def _ends_head(data: bytes | bytearray) -> bool:
    return b"\n\r\n" in data or b"\n\n" in data


def _repair(heads: bytes) -> bytes:
    """Return heads without what browsers skip: lines without a valid name, and a length that repeats another line."""
    repaired = bytearray()
    for head in _HEAD.findall(heads):
        lengths: set[bytes] = set()
        for line in _MALFORMED_LINE.sub(b"", _STRAY_CR.sub(b" ", head)).splitlines(keepends=True):
            if (key := line.lower()) not in lengths:
                repaired += line
            if key.startswith(b"content-length:"):
                lengths.add(key)
    return bytes(repaired)


def _find_invalid_header(heads: bytes) -> str:
    parser = _create_parser(object())
    name = b""
    for line in heads.splitlines(keepends=True):
        # Some values are checked at the end of the next line.
        name = line.partition(b":")[0] if b":" in line else name
        try:
            parser.feed_data(line)
        except httptools.HttpParserError:
            break
    return name[:40].decode("latin-1")
