"""A real HTTP image host that refuses requests beyond its rate, for acceptance tests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from tests.support.image_host import Exchange, serve
from tests.support.token_bucket import TokenBucket


@dataclass(slots=True)
class ThrottledHost:
    """Serves an image while its bucket has tokens, else `refusal_status`. Counters are those of all requests."""

    image: bytes
    bucket: TokenBucket
    latency_s: float
    refusal_status: str
    retry_after: str
    port: int = 0
    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: Status lines by path that are sent regardless of the bucket, such as "404 Not Found".
    statuses: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def refused_share(self) -> float:
        return self.refused.total() / max(1, self.served.total() + self.refused.total())

    async def answer(self, exchange: Exchange) -> None:
        await asyncio.sleep(self.latency_s)
        path = exchange.path
        if self.bucket.take(time.monotonic()) and path not in self.statuses:
            self.served[path] += 1
            await exchange.respond(self.image, "200 OK", "Content-Type: image/jpeg")
            return
        self.refused[path] += 1
        headers = [f"Retry-After: {self.retry_after}"] if self.retry_after else []
        await exchange.respond(b"", self.statuses.get(path, self.refusal_status), *headers)


@contextmanager
def throttled_host(
    image: bytes,
    *,
    capacity: float = 20,
    rate: float = 20,
    latency_s: float = 0.005,
    refusal_status: str = "429 Too Many Requests",
    retry_after: str = "1",
) -> Iterator[ThrottledHost]:
    """Run the host on a thread. An empty `retry_after` sends no such header."""
    host = ThrottledHost(image, TokenBucket(capacity, rate), latency_s, refusal_status, retry_after)
    ready, stops = Event(), []

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with serve(host.answer) as server:
            host.port = server.port
            stops.append(_stopper(loop, stop))
            ready.set()
            await stop.wait()

    thread = Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield host
    finally:
        stops[0]()
        thread.join(10)


def _stopper(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Callable[[], object]:
    return lambda: loop.call_soon_threadsafe(stop.set)
