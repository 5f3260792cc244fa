"""Everything on one machine: what `gql-imgproc up` runs, from the first check to the last child's end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import httpx
from dramatiq.cli import RET_KILLED

from gql_imgproc.database import migrations
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import Settings
from gql_imgproc.standalone import embedded_redis, preflight
from gql_imgproc.standalone.preflight import anonymous_policy, check_keys, lock_data_dir, reachable_url_of, url_of
from gql_imgproc.standalone.supervisor import ChildProcess, Program, stop, wait_until_failed
from gql_imgproc.system.process import cpu_count

#: Deadline for the API to accept uploads, in seconds. It takes about two.
READY_S = 60.0
#: Pause between two looks at whether it does, in seconds.
_POLL_SECONDS = 0.05
#: How long API and workers may take to end what they have in hand, then Redis, in seconds: ten together.
STOP_S, STOP_REDIS_S = 9.0, 1.0
#: A signal that follows another one so soon, in seconds, is the same one: `timeout` sends it to the process and to
#: its group.
REPEAT_S = 1.0


@dataclass(frozen=True, slots=True)
class Standalone:
    """What is asked for on the command line of `up`."""

    settings: Settings
    host: str
    port: int
    workers: int
    allow_anonymous: bool = False

    async def run(self, say: Callable[[str], None]) -> None:
        """Runs API, workers and, if none is configured, Redis until told to stop; says `ready URL` once.

        Raises ConfigurationError when something cannot be as it must.
        """
        told_to_stop, at_once = _stop_signals()
        work = asyncio.create_task(self._serve(at_once, say))
        told = asyncio.create_task(told_to_stop.wait())
        await asyncio.wait([work, told], return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not work.done():
            work.cancel()
        with suppress(asyncio.CancelledError):
            await work

    async def _serve(self, at_once: asyncio.Event, say: Callable[[str], None]) -> None:
        """Starts everything in order and keeps it running; stops it in order when cancelled or when it fails."""
        store: list[ChildProcess] = []
        front: list[ChildProcess] = []
        with ExitStack() as stack:
            stack.enter_context(lock_data_dir(self.settings.data_dir))
            try:
                await preflight.check_store(self.settings)
                redis_url = await self._redis(stack, store)
                await asyncio.to_thread(migrations.upgrade, self.settings.database)
                anonymous = anonymous_policy(self.host, allow_anonymous=self.allow_anonymous)
                await asyncio.to_thread(check_keys, self.settings.database, self.host, anonymous)
                front += [ChildProcess(program) for program in self._programs(redis_url)]
                await self._watch(store + front, front[0], say)
            finally:
                await stop(front, STOP_S, at_once=at_once)
                await stop(store, STOP_REDIS_S, at_once=at_once)

    async def _redis(self, stack: ExitStack, store: list[ChildProcess]) -> str:
        """Address of the Redis that is configured, else of our own, once it answers."""
        if self.settings.is_set("redis_url"):
            await asyncio.to_thread(embedded_redis.check, self.settings.redis_url)
            return self.settings.redis_url
        own = stack.enter_context(embedded_redis.embedded())
        store.append(ChildProcess(own.program))
        await own.until_ready(store[0])
        store[0].ready = True
        embedded_redis.save_url(self.settings, own.url)
        stack.callback(embedded_redis.forget_url, self.settings)
        return own.url

    async def _watch(self, children: list[ChildProcess], api: ChildProcess, say: Callable[[str], None]) -> None:
        failed = asyncio.create_task(wait_until_failed(children))
        ready = asyncio.create_task(_until_ready(reachable_url_of(self.host, self.port)))
        try:
            await asyncio.wait([failed, ready], return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                api.ready = True
                say(f"ready {url_of(self.host, self.port)}")
            await failed
        finally:
            ready.cancel()
            failed.cancel()

    def _programs(self, redis_url: str) -> list[Program]:
        """The API, then the workers."""
        settings = self.settings
        environment = {
            "IMGPROC_REDIS_URL": redis_url,
            "IMGPROC_DATA_DIR": str(settings.data_dir.absolute()),
            "IMGPROC_PUBLIC_URL": (
                settings.public_url if settings.is_set("public_url") else reachable_url_of(self.host, self.port)
            ),
            **worker_environment(settings, self.workers),
        }
        # Whether others may come in, and that all is there, was settled before: a restarted API must not wait for it.
        asked = ("--allow-anonymous",) if self.allow_anonymous else ()
        api = (sys.executable, "-m", "gql_imgproc", "api", "--unchecked", *asked)
        return [
            Program("The API", (*api, "--host", self.host, "--port", str(self.port)), environment, essential=True),
            *(
                Program(
                    *(f"Worker {n}", worker_command(settings), environment),
                    essential=True,
                    # A picture may kill its worker three times in the first minute.
                    killed_status=RET_KILLED,
                )
                for n in range(1, self.workers + 1)
            ),
        ]


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
        answer = "none"
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    try:
                        response = await client.get("/readyz")
                        if response.is_success:
                            return
                        answer = response.text[:500]
                    except httpx.HTTPError:
                        pass
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ConfigurationError(
                f"The API does not accept uploads {READY_S:.0f} s after its start: {answer}"
            ) from None


def _stop_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events for the first SIGTERM or Ctrl-C, which stops in order, and for a later one, which does not wait."""
    first, second = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    began = 0.0

    def on_signal() -> None:
        nonlocal began
        if not first.is_set():
            began = loop.time()
            first.set()
        elif loop.time() - began >= REPEAT_S:
            second.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return first, second


#: Control, and pictures of three priorities.
QUEUES = 4


def worker_command(settings: Settings, processes: int = 1) -> tuple[str, ...]:
    return (
        *(sys.executable, "-m", "dramatiq", "worker_main"),
        # A thread for each message that can have been fetched: none waits behind others, control behind none.
        *("--processes", str(processes), "--threads", str(QUEUES * settings.worker_threads)),
        # The log is set up by `worker_main`.
        "--skip-logging",
    )


def worker_environment(settings: Settings, processes: int) -> dict[str, str]:
    """Settings of worker processes that share this machine, and of Dramatiq within them."""
    return {
        "IMGPROC_CPU_SLOTS": str(settings.cpu_slots or max(1, cpu_count() // processes)),
        # Per queue.
        "dramatiq_queue_prefetch": str(settings.worker_threads),
        # Milliseconds between two looks at an empty queue: at 100 picks up in 27 ms, at the default of 1,000 in 216.
        "dramatiq_worker_timeout": str(round(1000 * settings.poll_seconds)),
        # Milliseconds before a consumer that lost Redis tries again; the default is three seconds.
        "dramatiq_restart_delay": "500",
    }
