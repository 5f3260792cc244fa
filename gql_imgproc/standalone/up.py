"""The command `up`: Redis, API and workers on one machine, from the checks before the start to the stop."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import httpx
from dramatiq.cli import RET_KILLED

from gql_imgproc.database import migrations
from gql_imgproc.errors import ConfigurationError
from gql_imgproc.settings import Settings
from gql_imgproc.standalone import embedded_redis, preflight
from gql_imgproc.standalone.data_dir import lock_data_dir
from gql_imgproc.standalone.preflight import anonymous_policy, check_keys
from gql_imgproc.standalone.server_address import reachable_url, server_url
from gql_imgproc.standalone.supervisor import ChildProcess, Program, run_until_stopped, stop, wait_until_failed
from gql_imgproc.standalone.worker_command import worker_command, worker_environment
from gql_imgproc.system.process import STARTED_BY_HEADER

#: Deadline for the API to accept uploads, in seconds. It takes about two.
READY_S = 60.0
#: Interval between two polls of `/readyz`, in seconds.
_POLL_SECONDS = 0.05
#: Time for the API and the workers to stop, then for Redis, in seconds: ten together.
STOP_S, STOP_REDIS_S = 9.0, 1.0


@dataclass(frozen=True, slots=True)
class Standalone:
    """Everything that `up` runs, by its command line options."""

    settings: Settings
    host: str
    port: int
    workers: int
    allow_anonymous: bool = False
    #: `/readyz` of our own API returns it. Another server may have taken the port.
    token: str = field(default_factory=partial(secrets.token_hex, 8))

    async def run(self, echo: Callable[[str], None]) -> None:
        """Runs API, workers and, if none is configured, Redis until a stop signal; prints `ready URL` once.

        Raises ConfigurationError when something cannot start.
        """
        await run_until_stopped(lambda at_once: self._serve(at_once, echo))

    async def _serve(self, at_once: asyncio.Event, echo: Callable[[str], None]) -> None:
        """Starts everything in order and keeps it running; stops it in order on cancellation or error."""
        redis: list[ChildProcess] = []
        services: list[ChildProcess] = []
        with ExitStack() as stack:
            stack.enter_context(lock_data_dir(self.settings.data_dir))
            try:
                await preflight.check_store(self.settings)
                redis_url = await self._start_redis(stack, redis)
                await asyncio.to_thread(migrations.upgrade, self.settings.database)
                anonymous = anonymous_policy(self.host, allow_anonymous=self.allow_anonymous)
                await asyncio.to_thread(check_keys, self.settings.database, self.host, anonymous)
                services += [ChildProcess(program) for program in self._programs(redis_url)]
                await self._watch(redis + services, services[0], echo)
            finally:
                await stop(services, STOP_S, at_once=at_once)
                await stop(redis, STOP_REDIS_S, at_once=at_once)

    async def _start_redis(self, stack: ExitStack, redis: list[ChildProcess]) -> str:
        """Returns the URL of the configured Redis, or starts an embedded one, once it responds."""
        if self.settings.is_set("redis_url"):
            await asyncio.to_thread(embedded_redis.check, self.settings.redis_url)
            return self.settings.redis_url
        embedded = stack.enter_context(embedded_redis.prepare())
        redis.append(ChildProcess(embedded.program))
        await embedded.wait_until_ready(redis[0])
        redis[0].is_ready = True
        embedded_redis.save_url(self.settings, embedded.url)
        stack.callback(embedded_redis.forget_url, self.settings)
        return embedded.url

    async def _watch(self, children: list[ChildProcess], api: ChildProcess, echo: Callable[[str], None]) -> None:
        failed = asyncio.create_task(wait_until_failed(children))
        ready = asyncio.create_task(_wait_until_ready(reachable_url(self.host, self.port), self.token))
        try:
            await asyncio.wait([failed, ready], return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                api.is_ready = True
                echo(f"ready {server_url(self.host, self.port)}")
            await failed
        finally:
            ready.cancel()
            failed.cancel()

    def _programs(self, redis_url: str) -> list[Program]:
        """The programs of the API and the workers, the API first."""
        settings = self.settings
        environment = {
            # A configured URL stays where it is configured, which may be a file.
            **({} if settings.is_set("redis_url") else {"IMGPROC_REDIS_URL": redis_url}),
            "IMGPROC_DATA_DIR": str(settings.data_dir.absolute()),
            "IMGPROC_PUBLIC_URL": (
                settings.public_url if settings.is_set("public_url") else reachable_url(self.host, self.port)
            ),
            **worker_environment(settings, self.workers),
        }
        # `up` has made the checks already: a restarted API must not wait for them.
        options = ("--allow-anonymous",) if self.allow_anonymous else ()
        api = (sys.executable, "-m", "gql_imgproc", "api", "--started-by", self.token, *options)
        return [
            Program("The API", (*api, "--host", self.host, "--port", str(self.port)), environment, is_essential=True),
            *(
                Program(
                    *(f"Worker {n}", worker_command(), environment),
                    is_essential=True,
                    # An image may crash its worker three times in the first minute.
                    killed_status=RET_KILLED,
                )
                for n in range(1, self.workers + 1)
            ),
        ]


async def _wait_until_ready(url: str, token: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=5) as client:
        response_text = "no response"
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    try:
                        response = await client.get("/readyz")
                        if response.headers.get(STARTED_BY_HEADER) != token:
                            response_text = "another service uses the port"
                        elif response.is_success:
                            return
                        else:
                            response_text = response.text[:500]
                    except httpx.HTTPError:
                        pass
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ConfigurationError(f"The API did not become ready within {READY_S:.0f} s: {response_text}") from None
