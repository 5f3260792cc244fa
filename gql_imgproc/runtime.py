"""What a process holds open: database, queue, storage, HTTP client, CPU pool. Its entry point opens and closes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, Self, TypeVar

from gql_imgproc.database.engine import RETRY_TIMEOUT_S, Database, Durability
from gql_imgproc.messaging.document_store import DocumentStore
from gql_imgproc.messaging.estimate_store import EstimateStore
from gql_imgproc.messaging.host_budget import HostBudgets
from gql_imgproc.messaging.leader_lock import LeaderLocks
from gql_imgproc.messaging.publisher import Publisher
from gql_imgproc.messaging.pubsub import Hub
from gql_imgproc.messaging.queue import Queue
from gql_imgproc.messaging.rate_limiter import RateLimiter
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.fetch_limits import FetchLimits
from gql_imgproc.net.image_fetcher import ImageFetcher
from gql_imgproc.net.proxy import Proxy
from gql_imgproc.security.secret_encryption import parse_secrets_keys
from gql_imgproc.security.webhook_signature import parse_webhook_keys
from gql_imgproc.settings import Settings
from gql_imgproc.storage.object_store import open_storage
from gql_imgproc.system.background_tasks import BackgroundTasks
from gql_imgproc.system.cpu_pool import CpuPool
from gql_imgproc.system.memory_budget import MemoryBudget

T = TypeVar("T")
P = ParamSpec("P")

#: Threads for short calls to Redis.
BLOCKING_THREADS = 8
#: Threads that read or write whole CSVs. This may take seconds, so they are not shared with short calls.
CSV_THREADS = 2
#: Output CSVs that one process writes at once. This takes seconds, and only half of the seven control messages that a
#: process handles at once may take so long.
MAX_CONCURRENT_OUTPUTS = 3
#: Webhooks that one process sends at once: slow receivers must not block others.
MAX_CONCURRENT_WEBHOOKS = 32
#: Source previews that one process fetches at once; each needs up to `max_image_bytes` of memory.
MAX_CONCURRENT_PREVIEWS = 4


class Runtime:
    """Shared connections and threads of one process. Create it inside the event loop that uses it."""

    def __init__(self, settings: Settings, *, durability: Durability = "power", cpu_slots: int = 1) -> None:
        self.settings = settings
        self.policy = NetworkPolicy(settings.fetch_allow_networks, settings.fetch_allow_ports)
        # Parsed first: a malformed secret fails the start, not a webhook later.
        self.webhook_keys = parse_webhook_keys(
            settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
        )
        #: Encrypts the webhook secrets of tenants; None without a key.
        self.secrets = parse_secrets_keys(settings.secrets_key.get_secret_value()) if settings.secrets_key else None
        self.db = Database(
            settings.database,
            durability=durability,
            connections=settings.database_connections,
            retry_timeout_s=RETRY_TIMEOUT_S if durability == "power" else settings.lease_seconds,
            prepare=settings.database_prepare,
        )
        self.queue = Queue(settings.redis_url)
        self.leader_locks = LeaderLocks(settings.redis_url)
        self.publisher = Publisher(settings.redis_url)
        self.documents = DocumentStore(settings.redis_url)
        self.estimates = EstimateStore(settings.redis_url)
        self.hub = Hub(settings.redis_url)
        self.rate_limiter = RateLimiter(settings.redis_url)
        self.storage = open_storage(settings)
        self.fetcher = _open_fetcher(settings, self.policy)
        self.host_budgets = HostBudgets(
            settings.redis_url, per_host=settings.fetch_per_host, host_category=self.fetcher.host_category
        )
        self.cpu = CpuPool(cpu_slots, settings.megapixels_in_flight)
        self.fetched_bytes = MemoryBudget(settings.fetched_bytes_in_flight)
        self.outputs = asyncio.Semaphore(MAX_CONCURRENT_OUTPUTS)
        self.webhooks = asyncio.Semaphore(MAX_CONCURRENT_WEBHOOKS)
        self.sources = asyncio.Semaphore(MAX_CONCURRENT_PREVIEWS)
        #: Images of estimates that are measured now.
        self.measuring: set[asyncio.Task[Any]] = set()
        self.background = BackgroundTasks()
        # Set when the process ends soon: work in steps is left to other processes.
        self.is_stopping = False
        self._blocking_threads = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")
        self._csv_threads = ThreadPoolExecutor(CSV_THREADS, thread_name_prefix="csv")
        self._workbook_thread = ThreadPoolExecutor(1, thread_name_prefix="workbook")

    async def run_blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a short blocking call on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._blocking_threads, lambda: call(*args, **kwargs))

    async def run_csv_io(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that reads or writes a CSV on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._csv_threads, lambda: call(*args, **kwargs))

    async def run_workbook_io(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a call that reads a workbook. One at a time, for the memory; CSVs do not wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._workbook_thread, lambda: call(*args, **kwargs))

    async def aclose(self) -> None:
        """Closes everything, even if a part fails."""
        await self.background.aclose()
        closers: list[Callable[[], Awaitable[object]]] = [
            self.publisher.aclose,
            self.hub.aclose,
            self.rate_limiter.aclose,
            self.host_budgets.aclose,
            self.fetcher.aclose,
        ]
        await asyncio.gather(*(close() for close in closers), return_exceptions=True)
        self.cpu.close()
        self._blocking_threads.shutdown()
        self._csv_threads.shutdown()
        self._workbook_thread.shutdown()
        self.queue.close()
        self.leader_locks.close()
        self.documents.close()
        self.estimates.close()
        await asyncio.to_thread(self.db.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


def _open_fetcher(settings: Settings, policy: NetworkPolicy) -> ImageFetcher:
    return ImageFetcher(
        policy,
        FetchLimits(
            max_bytes=settings.max_image_bytes,
            connect_s=settings.fetch_connect_seconds,
            first_byte_s=settings.fetch_first_byte_seconds,
            total_s=settings.fetch_total_seconds,
            max_idle=settings.images_in_flight,
            per_host=min(settings.fetch_per_host, settings.images_in_flight),
        ),
        rules=settings.host_rules,
        proxy=Proxy.parse(settings.fetch_proxy) if settings.fetch_proxy else None,
    )
