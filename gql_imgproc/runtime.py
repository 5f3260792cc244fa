"""Everything a process holds open: made once by its door, handed down, closed once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, Self, TypeVar
from uuid import UUID

from gql_imgproc.database.engine import PATIENCE_S, Database, Durability
from gql_imgproc.messaging.leader_lock import LeaderLocks
from gql_imgproc.messaging.pubsub import Hub, Publisher
from gql_imgproc.messaging.queue import Queue
from gql_imgproc.messaging.rate_limiter import RateLimiter
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.image_fetcher import FetchLimits, ImageFetcher
from gql_imgproc.security.webhook_signature import parse_webhook_keys
from gql_imgproc.settings import Settings
from gql_imgproc.storage.object_store import open_storage
from gql_imgproc.system.background_tasks import BackgroundTasks
from gql_imgproc.system.cpu_pool import CpuPool
from gql_imgproc.system.memory_budget import MemoryBudget

T = TypeVar("T")
P = ParamSpec("P")

#: Threads for calls that wait on Redis; each call is short.
BLOCKING_THREADS = 8
#: Threads that read or write whole CSVs, which may take seconds: the short calls must not wait behind them.
READING_THREADS = 2
#: Webhooks being sent at once by one process: a receiver may take its time without keeping the others waiting.
WEBHOOKS_AT_ONCE = 32
#: Sources fetched for a look at once by one process; each may take `max_image_bytes` of its memory.
SOURCES_AT_ONCE = 4


class Runtime:
    """Database, queue, events, storage, fetcher and threads of one process.

    Open them inside the event loop that will use them.
    """

    def __init__(self, settings: Settings, *, durability: Durability = "power", cpu_slots: int = 1) -> None:
        self.settings = settings
        self.policy = NetworkPolicy(settings.fetch_allow_networks, settings.fetch_allow_ports)
        # Read first: a malformed secret is told when the process starts, not when a webhook is due.
        self.webhook_keys = parse_webhook_keys(
            settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
        )
        self.db = Database(
            settings.database,
            durability=durability,
            connections=settings.database_connections,
            patience_s=PATIENCE_S if durability == "power" else settings.lease_seconds,
            prepare=settings.database_prepare,
        )
        self.queue = Queue(settings.redis_url)
        self.leader_locks = LeaderLocks(settings.redis_url)
        self.publisher = Publisher(settings.redis_url)
        self.hub = Hub(settings.redis_url)
        self.rate_limiter = RateLimiter(settings.redis_url)
        self.storage = open_storage(settings)
        self.fetcher = ImageFetcher(
            self.policy,
            FetchLimits(
                max_bytes=settings.max_image_bytes,
                connect_s=settings.fetch_connect_seconds,
                first_byte_s=settings.fetch_first_byte_seconds,
                total_s=settings.fetch_total_seconds,
                concurrency=settings.fetch_concurrency,
                per_host=settings.fetch_per_host,
            ),
        )
        self.cpu = CpuPool(cpu_slots, settings.megapixels_in_flight)
        self.fetched_bytes = MemoryBudget(settings.fetched_bytes_in_flight)
        # Which slots of each request have their turn in this process.
        self.turns: defaultdict[UUID, set[int]] = defaultdict(set)
        # One picture at a time that may have killed an earlier worker.
        self.quarantine = asyncio.Lock()
        self.webhooks = asyncio.Semaphore(WEBHOOKS_AT_ONCE)
        self.sources = asyncio.Semaphore(SOURCES_AT_ONCE)
        self.background = BackgroundTasks()
        self._threads = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")
        self._readers = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="csv")

    async def run_blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that waits for Redis, on a thread."""
        # What it sends belongs to the trace of who calls.
        context = copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(call, *args, **kwargs)
        )

    async def run_csv_io(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that reads or writes a CSV, on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, lambda: call(*args, **kwargs))

    async def aclose(self) -> None:
        """Closes everything, whatever of it fails."""
        await self.background.aclose()
        closers: list[Callable[[], Awaitable[object]]] = [
            self.hub.aclose,
            self.rate_limiter.aclose,
            self.fetcher.aclose,
        ]
        await asyncio.gather(*(close() for close in closers), return_exceptions=True)
        self.cpu.close()
        self._threads.shutdown()
        self._readers.shutdown()
        self.queue.close()
        self.leader_locks.close()
        self.publisher.close()
        await asyncio.to_thread(self.db.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
