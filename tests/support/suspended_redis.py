"""A Redis that accepts connections and does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import redis


@contextmanager
def suspended_redis(url: str) -> Iterator[None]:
    """Suspends the server during the block."""
    with redis.Redis.from_url(url) as client:
        server = psutil.Process(client.info("server")["process_id"])
    server.suspend()
    try:
        yield
    finally:
        server.resume()
