"""The application behind a real server, for untrusted bytes: sends requests, checks responses and the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any

from gql_imgproc.settings import Settings
from tests.graphql.client import serve_api

#: Longest wait for the server, in seconds.
TIMEOUT_S = 5
#: Texts of exceptions, tracebacks and internals.
LEAKS = re.compile(
    r"Traceback|[A-Z][a-z]+(?:Error|Exception)\b\(?|site-packages|gql_imgproc|\.py\b|0x[0-9a-f]{6}|/tmp/|/home/"
    r"|sqlite|sqlalchemy|psycopg|strawberry|starlette|uvicorn|python_multipart|formparsers|NoneType"
    r"|object is not|'utf-8' codec",
)
#: Types of the schema with names like exceptions.
SCHEMA_NAMES = re.compile(r"\b(?:UserError|ImageError|ImageErrorCode)\b")
#: The code of an internal error.
INTERNAL = '"INTERNAL"'


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class ErrorLog(logging.Handler):
    """The errors that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


class FuzzServer:
    """A running server and its error log."""

    def __init__(self, host: str, errors: ErrorLog) -> None:
        self.host = host
        self._errors = errors

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, bytes]], body: bytes = b""
    ) -> Response | None:
        """The checked response to a request; None if the connection was closed without one."""
        lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + self.host.encode(), b"Connection: close"]
        lines += [name.encode() + b": " + value for name, value in headers]
        lines.append(b"Content-Length: %d" % len(body))
        return self.exchange_bytes(b"\r\n".join(lines) + b"\r\n\r\n" + body, method)

    def exchange_bytes(self, request: bytes, method: str = "POST") -> Response | None:
        name, _, port = self.host.partition(":")
        with socket.create_connection((name, int(port)), TIMEOUT_S) as connection:
            # The server may respond before the end of the request.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            response = HTTPResponse(connection, method=method)
            try:
                response.begin()
                result = Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            except (HTTPException, ConnectionResetError):
                result = None
        if result is not None:
            assert result.status < 500, result
            if not result.headers.get("content-type", "").startswith(("text/html", "text/javascript", "text/css")):
                # The web pages contain the name of the project.
                self.assert_no_leak(result.text)
            self.assert_no_leak("\n".join(f"{name}: {value}" for name, value in result.headers.items()))
        self.assert_no_errors()
        return result

    def assert_no_leak(self, text: str) -> None:
        """The text has no exception and no internal error."""
        assert LEAKS.search(SCHEMA_NAMES.sub("", text)) is None, text
        assert INTERNAL not in text, text

    def assert_no_errors(self) -> None:
        assert not self._errors.lines, "\n".join(self._errors.lines)

    def clear_log(self) -> None:
        self._errors.lines.clear()


@contextmanager
def fuzz_server(settings: Settings) -> Iterator[FuzzServer]:
    """The application in its own thread, with its own event loop."""
    errors = ErrorLog()
    hosts: list[str] = []
    started, stopping = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serve_api(settings) as (host, _):
            hosts.append(host)
            started.set()
            await asyncio.to_thread(stopping.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            started.set()

    root = logging.getLogger()
    root.addHandler(errors)
    thread = threading.Thread(target=run, name="server")
    thread.start()
    try:
        started.wait(TIMEOUT_S)
        yield FuzzServer(hosts[0], errors)
    finally:
        stopping.set()
        thread.join(TIMEOUT_S)
        root.removeHandler(errors)
    assert not thread.is_alive()
    assert not errors.lines, "\n".join(errors.lines)
