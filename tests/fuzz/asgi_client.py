"""The real application behind a real server, as a stranger meets it: bytes in, bytes out, and what it logged."""

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
from tests.graphql.client import served

#: Longest silence of the server, in seconds: who waits longer has been forgotten.
SILENCE_S = 5
#: What only an exception, a traceback or the insides of the service would say.
LEAKS = re.compile(
    r"Traceback|[A-Z][a-z]+(?:Error|Exception)\b\(?|site-packages|gql_imgproc|\.py\b|0x[0-9a-f]{6}|/tmp/|/home/"
    r"|sqlite|sqlalchemy|psycopg|strawberry|starlette|uvicorn|python_multipart|formparsers|NoneType"
    r"|object is not|'utf-8' codec",
)
#: Types of the schema whose names look like those of exceptions.
OURS = re.compile(r"\b(?:UserError|ImageError|ImageErrorCode)\b")
#: The code of an error that is a fault of the service, whatever the status.
INTERNAL = '"INTERNAL"'


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Record(logging.Handler):
    """Everything that was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


class Door:
    """A server with its log, and the one way to knock at it."""

    def __init__(self, host: str, errors: Record) -> None:
        self.host = host
        self._errors = errors

    def exchange(self, method: str, target: str, headers: list[tuple[str, bytes]], body: bytes = b"") -> Answer | None:
        """The answer to a request of these very bytes, judged; None if there is none, the connection being closed."""
        lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: " + self.host.encode(), b"Connection: close"]
        lines += [name.encode() + b": " + value for name, value in headers]
        lines.append(b"Content-Length: %d" % len(body))
        return self.exchange_bytes(b"\r\n".join(lines) + b"\r\n\r\n" + body, method)

    def exchange_bytes(self, request: bytes, method: str = "POST") -> Answer | None:
        name, _, port = self.host.partition(":")
        with socket.create_connection((name, int(port)), SILENCE_S) as connection:
            # The answer may be given before the end of the request.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            response = HTTPResponse(connection, method=method)
            try:
                response.begin()
                answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
            except (HTTPException, ConnectionResetError):
                answer = None
        if answer is not None:
            assert answer.status < 500, answer
            if not answer.headers.get("content-type", "").startswith(("text/html", "text/javascript", "text/css")):
                # Our own pages name the project.
                self.judge(answer.text)
            self.judge("\n".join(f"{name}: {value}" for name, value in answer.headers.items()))
        self.judge_log()
        return answer

    def judge(self, told: str) -> None:
        """What a stranger was told is no exception, and none that hides behind a number."""
        assert LEAKS.search(OURS.sub("", told)) is None, told
        assert INTERNAL not in told, told

    def judge_log(self) -> None:
        assert not self._errors.lines, "\n".join(self._errors.lines)

    def forget_log(self) -> None:
        self._errors.lines.clear()


@contextmanager
def opened(settings: Settings) -> Iterator[Door]:
    """The application in a thread of its own, with its own event loop."""
    errors = Record()
    ready: list[str] = []
    started, ending = threading.Event(), threading.Event()

    async def serve() -> None:
        async with served(settings) as (host, _):
            ready.append(host)
            started.set()
            await asyncio.to_thread(ending.wait)

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
        started.wait(SILENCE_S)
        yield Door(ready[0], errors)
    finally:
        ending.set()
        thread.join(SILENCE_S)
        root.removeHandler(errors)
    assert not thread.is_alive()
    assert not errors.lines, "\n".join(errors.lines)
