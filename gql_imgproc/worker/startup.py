"""Opens the runtime of a worker process, and runs the scheduler loop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import signal
import sys
import time
from types import FrameType

from dramatiq import Broker, Worker
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread
from dramatiq.cli import RET_KILLED
from dramatiq.middleware import Middleware

from gql_imgproc import tracing
from gql_imgproc.maintenance.scheduler import run_periodic_tasks
from gql_imgproc.processing.worker_pool import WorkerPool
from gql_imgproc.runtime import Runtime
from gql_imgproc.settings import Settings
from gql_imgproc.system.process import CANNOT_START, REPEAT_S, die_with_parent, limit_memory, reuse_freed_memory
from gql_imgproc.worker.metrics_server import listen

log = logging.getLogger(__name__)

#: Niceness of workers: where they share a machine with the API, the API comes first.
NICENESS = 5


class RuntimeMiddleware(Middleware):
    """Opens the runtime on the event loop when the process starts, and closes it when the process ends."""

    #: Set when the worker starts. No actor runs before that.
    runtime: Runtime
    pool: WorkerPool
    _scheduler: asyncio.Task[None]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics_server: asyncio.Server | None = None

    def after_process_boot(self, broker: Broker) -> None:
        _end_at_second_signal()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        # Without this, a worker would outlive a killed `dramatiq` master, and nothing would restart or stop it.
        die_with_parent()
        try:
            reuse_freed_memory()
            if self._settings.worker_memory_bytes:
                limit_memory(self._settings.worker_memory_bytes)
            if hasattr(os, "nice"):
                os.nice(NICENESS)
            _event_loop_thread().run_coroutine(self._open())
        except Exception as error:
            # Dramatiq would log it and continue with a worker that receives messages and cannot process them.
            log.critical("the worker cannot start: %s", " ".join(str(error).split()) or type(error).__name__)
            if (thread := get_event_loop_thread()) is not None:
                # The process waits for this thread when it exits.
                thread.stop()  # type: ignore[no-untyped-call]
            # Not os._exit: the master would wait half a minute for a sign that this process has started.
            sys.exit(CANNOT_START)

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        # The actors end before the connections that they use.
        _event_loop_thread().run_coroutine(self._stop_claiming())

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        _event_loop_thread().run_coroutine(self._close())

    async def _open(self) -> None:
        tracing.set_up("worker")
        if self._settings.metrics_port:
            self._metrics_server = await listen(self._settings.metrics_host, self._settings.metrics_port)
        # `dramatiq` starts one process per core by default.
        self.runtime = Runtime(self._settings, durability="process", cpu_slots=self._settings.cpu_slots or 1)
        self.pool = WorkerPool(self.runtime)
        self._scheduler = asyncio.create_task(_scheduler_loop(self.runtime), name="scheduler")

    async def _stop_claiming(self) -> None:
        self.runtime.is_stopping = True
        self.pool.stop()

    async def _close(self) -> None:
        await self.pool.aclose()
        self._scheduler.cancel()
        await asyncio.gather(self._scheduler, return_exceptions=True)
        if self._metrics_server is not None:
            self._metrics_server.close()
        await self.runtime.aclose()
        await asyncio.to_thread(tracing.shut_down)


def _end_at_second_signal() -> None:
    """Makes a second stop signal end the process at once; Dramatiq would wait for the event loop, which continues."""
    stop = signal.getsignal(signal.SIGTERM)
    assert callable(stop)
    first_at: float | None = None

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        if first_at is None:
            first_at = time.monotonic()
            stop(number, frame)
        elif time.monotonic() - first_at >= REPEAT_S:
            # The master passes on what the whole group received: it may come again before the line is written.
            first_at = math.inf
            try:
                log.warning("ended at once by a second signal; the work is resumed when its leases have expired")
            finally:
                os._exit(RET_KILLED)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), handle)


def _event_loop_thread() -> EventLoopThread:
    thread = get_event_loop_thread()
    if thread is None:
        raise RuntimeError("The AsyncIO middleware must come before this one.")
    return thread


async def _scheduler_loop(runtime: Runtime) -> None:
    pause_s = runtime.settings.sweep_seconds
    while True:
        # Jitter, so that processes that start together do not run their tasks together.
        await asyncio.sleep(pause_s * random.uniform(0.8, 1))
        run_periodic_tasks(runtime)
