"""Supervision of child processes: start, restart after a crash, stop in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.system.process import REPEAT_S, wrap_die_with_parent

T = TypeVar("T")
log = logging.getLogger(__name__)

#: After this uptime, in seconds, a child that exits is restarted without a pause.
STABLE_AFTER_SECONDS = 5.0
#: Pause before a restart after a shorter uptime, in seconds: the first one, which doubles each time, and the maximum.
#: The maximum keeps the promise that a crashed child is back within two seconds.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 1.5
#: Consecutive exits with an error status before a child was ever ready; then the error is permanent.
MAX_FAILED_STARTS = 3
#: After this uptime, in seconds, a child counts as ready even if nothing reported it: no start takes longer.
READY_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """A program for a child process."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Whether the service cannot work without it: after `MAX_FAILED_STARTS` everything stops.
    is_essential: bool = False
    #: Exit status after one of its own processes was killed. It does not count as a failed start.
    killed_status: int | None = None


class ChildProcess:
    """Keeps a program running in its own process group, which ends with this process.

    The child writes to our standard error: standard output is for the messages of `up`.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.is_ready = False
        self.failed = asyncio.Event()
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._task = asyncio.create_task(self._keep_running(), name=program.name)

    @property
    def pid(self) -> int | None:
        """The PID of the running process; None between two runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def _keep_running(self) -> None:
        quick_exits = failures = 0
        while not self._stopping:
            started = time.monotonic()
            code = await self._run_once()
            if self._stopping:
                return
            uptime_s = time.monotonic() - started
            quick_exits = 0 if uptime_s >= STABLE_AFTER_SECONDS else quick_exits + 1
            self.is_ready = self.is_ready or uptime_s >= READY_AFTER_SECONDS
            # Independent of the uptime: on a busy machine a failing start can take longer than STABLE_AFTER_SECONDS.
            failures = failures + 1 if code > 0 and code != self.program.killed_status else 0
            if self.program.is_essential and not self.is_ready and failures >= MAX_FAILED_STARTS:
                self.failed.set()
                return
            self.restarts += 1
            reason = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
            log.warning("%s exited (%s); restarting it", self.program.name, reason)
            if quick_exits:
                await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** (quick_exits - 1), MAX_PAUSE_S))

    async def _run_once(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *wrap_die_with_parent(os.getpid(), self.program.command),
            env={**os.environ, **self.program.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            # Ctrl-C in the terminal must reach only this process, which then stops its children.
            start_new_session=True,
        )
        if self._stopping:
            self._send_signal(signal.SIGTERM)
        try:
            return await self._process.wait()
        finally:
            # Kill the processes that it forked and left running.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Sends SIGTERM to the child and stops restarting it."""
        self._stopping = True
        self._send_signal(signal.SIGTERM)
        if self.pid is None and self._process is not None:
            # It is in the pause before a restart.
            self._task.cancel()

    def kill(self) -> None:
        """Kills the child and its process group."""
        self._stopping = True
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def wait(self) -> None:
        with suppress(asyncio.CancelledError):
            await self._task

    def _send_signal(self, number: signal.Signals) -> None:
        # Only the leader: Dramatiq forwards the signal to its processes, and a second one would end them at once.
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


async def stop(children: Iterable[ChildProcess], timeout_s: float, *, at_once: asyncio.Event) -> None:
    """Stops children and waits for them; kills the rest after the time-out, or when `at_once` is set."""
    children = list(children)
    for child in children:
        child.stop()
    exits: asyncio.Future[Any] = asyncio.gather(*(child.wait() for child in children))
    interrupt: asyncio.Future[Any] = asyncio.create_task(at_once.wait())
    await asyncio.wait([exits, interrupt], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    interrupt.cancel()
    if not exits.done():
        reason = "as requested" if at_once.is_set() else "since it did not stop in time"
        for child in children:
            if child.pid is not None:
                log.warning(
                    "%s is killed, %s; unfinished images continue at the next start", child.program.name, reason
                )
            child.kill()
    await exits


async def run_until_stopped(work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T | None:
    """Runs `work` to its end, or until SIGTERM or Ctrl-C cancels it; returns None if it was cancelled.

    The next signal sets the event that `work` receives: it should stop at once.
    """
    at_once, loop = asyncio.Event(), asyncio.get_running_loop()
    working = asyncio.create_task(work(at_once))
    stopped_at: float | None = None

    def on_signal() -> None:
        nonlocal stopped_at
        if stopped_at is None:
            stopped_at = loop.time()
            working.cancel()
        elif loop.time() - stopped_at >= REPEAT_S:
            at_once.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        return await working
    except asyncio.CancelledError:
        return None


async def wait_until_failed(children: Iterable[ChildProcess]) -> None:
    """Waits until an essential child has failed to start; then raises ConfigurationError."""
    watches = {asyncio.create_task(child.failed.wait()): child for child in children}
    try:
        done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in watches:
            task.cancel()
    name = watches[done.pop()].program.name
    raise ConfigurationError(f"{name} exited {MAX_FAILED_STARTS} times before it was ready. See the error above")
