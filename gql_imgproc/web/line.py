"""A connection that is watched: what is awaited of the client must come, and what is sent to it must leave.

uvicorn waits for ever for the end of a head or a body, and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
from asyncio import Transport
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from gql_imgproc.metrics import CONNECTIONS_CUT

#: Slowest client that is served, in bytes a second: an eighth of a mobile line of 256 kbit/s, over which 20 MiB take
#: eleven minutes.
LEAST_BYTES_PER_SECOND = 4 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """So many bytes at least in each span of so many seconds."""

    seconds: float
    least_bytes: float

    @classmethod
    def of_slowest(cls, seconds: float) -> Pace:
        return cls(seconds, seconds * LEAST_BYTES_PER_SECOND)

    @classmethod
    def deadline(cls, seconds: float) -> Pace:
        """No bytes are enough: it must have ended by then."""
        return cls(seconds, inf)


#: From the connection, or the first byte of a later request, to the end of a request's head.
HEAD = Pace.deadline(10)
#: A body; the span is what a line may be gone for, in a tunnel say.
BODY = Pace.of_slowest(30)
#: What is left of a body whose request was answered before its end: clients that send first and read then must find
#: the answer, yet are not listened to for ever.
REST = Pace.deadline(30)
#: An answer. A kernel that holds 4 MiB of it says only after a third of them that some were read, which takes 42 s
#: over a line of 256 kbit/s.
ANSWER = Pace.of_slowest(60)
#: Until a client whose request cannot be understood has read why and leaves: closed at once, with bytes of it unread,
#: TCP would take that answer back.
FAREWELL = Pace.deadline(2)
#: Between two looks, in seconds: so much later than said may a client be let go. Thousands are looked at.
LOOK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for."""

    head: Pace = HEAD
    body: Pace = BODY
    rest: Pace = REST
    answer: Pace = ANSWER
    farewell: Pace = FAREWELL
    look_seconds: float = LOOK_SECONDS


class Span:
    """The current span of a pace."""

    __slots__ = ("_began", "_moved", "_pace")

    def __init__(self, pace: Pace, now: float, moved: int) -> None:
        self._pace = pace
        self.restart(now, moved)

    def restart(self, now: float, moved: int) -> None:
        self._began, self._moved = now, moved

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Whether a span has ended in which too little moved; `moved` is counted from the connection's beginning."""
        if now - self._began < self._pace.seconds:
            return False
        too_slow = moved - self._moved < self._pace.least_bytes
        self.restart(now, moved)
        return too_slow


class Line:
    """The transport of one connection, which outlives the HTTP on it when a WebSocket follows."""

    __slots__ = (
        "_awaited",
        "_late",
        "_looking",
        "_loop",
        "_patience",
        "_sending",
        "_transport",
        "_written",
        "received",
    )

    def __init__(self, transport: Transport, patience: Patience, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._patience = patience
        self._loop = loop
        #: Bytes that came of what is awaited; whoever awaits it counts them.
        self.received = 0
        self._written = 0
        self._awaited: Span | None = None
        self._late: Callable[[], None] | None = None
        self._sending = Span(patience.answer, loop.time(), 0)
        self._looking = loop.call_later(patience.look_seconds, self._look)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def expect(self, pace: Pace, late: Callable[[], None]) -> None:
        """From now on bytes must come at this pace, else `late` is called, again and again."""
        self._awaited, self._late = Span(pace, self._loop.time(), self.received), late

    def expect_nothing(self) -> None:
        self._awaited = self._late = None

    def stop(self) -> None:
        """For when the connection is gone."""
        self._looking.cancel()
        self.expect_nothing()

    def _look(self) -> None:
        now, unsent = self._loop.time(), self._transport.get_write_buffer_size()
        if self._transport.is_closing() and not unsent:
            self.expect_nothing()
            return
        self._looking = self._loop.call_later(self._patience.look_seconds, self._look)
        sent = self._written - unsent
        if not unsent:
            self._sending.restart(now, sent)
        elif self._sending.is_too_slow(now, sent):
            CONNECTIONS_CUT.labels("answer_not_read").inc()
            self._transport.abort()
            return
        if self._awaited is None or self._late is None:
            return
        if not self._transport.is_reading():
            # It is us who do not keep pace.
            self._awaited.restart(now, self.received)
        elif self._awaited.is_too_slow(now, self.received):
            self._late()
