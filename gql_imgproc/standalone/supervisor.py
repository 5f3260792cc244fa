"""Children of one machine: started, restarted when they die, stopped in order."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.system.process import wrap_die_with_parent

log = logging.getLogger(__name__)

#: A child that lived this long, in seconds, had a good start: its next death is answered at once.
STABLE_AFTER_SECONDS = 5.0
#: Pause before a restart after a quick death, in seconds; doubles with each in a row. The most keeps the
#: promise that whatever dies is back within two seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.5
#: How often in a row a child may end by itself, with a status that tells a fault, before it was ever ready; then the
#: fault is not a passing one.
STARTS = 3
#: A child that lived this long, in seconds, counts as ready even if nobody said so: longer than any start takes.
STARTED_S = 60.0


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Whether nothing works without it: ending `STARTS` times before it was ever ready, it takes all down.
    essential: bool = False
    #: The status with which it says that a process of its own was killed: that is no fault of its start.
    killed_status: int | None = None


class ChildProcess:
    """A program that is kept running: in a process group of its own, never outliving this process.

    Its standard output goes to our standard error, since ours is for what `up` has to say.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ready = False
        self.failed = asyncio.Event()
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._task = asyncio.create_task(self._keep_running(), name=program.name)

    @property
    def pid(self) -> int | None:
        """Of the process that runs now; None between two."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    async def _keep_running(self) -> None:
        quick_deaths = failures = 0
        while not self._stopping:
            started = time.monotonic()
            code = await self._run_once()
            if self._stopping:
                return
            lived_s = time.monotonic() - started
            quick_deaths = 0 if lived_s >= STABLE_AFTER_SECONDS else quick_deaths + 1
            self.ready = self.ready or lived_s >= STARTED_S
            # However long each start took: on a busy machine a failing one may take longer than SETTLED_S.
            failures = failures + 1 if code > 0 and code != self.program.killed_status else 0
            if self.program.essential and not self.ready and failures >= STARTS:
                self.failed.set()
                return
            self.restarts += 1
            log.warning("%s exited (%s); restarting it", self.program.name, _exit_description(code))
            if quick_deaths:
                await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** (quick_deaths - 1), LONGEST_PAUSE_S))

    async def _run_once(self) -> int:
        self._process = await asyncio.create_subprocess_exec(
            *wrap_die_with_parent(os.getpid(), self.program.command),
            env={**os.environ, **self.program.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            # A Ctrl-C in the terminal is for us; we tell the children.
            start_new_session=True,
        )
        if self._stopping:
            self._signal(signal.SIGTERM)
        try:
            return await self._process.wait()
        finally:
            # What it forked and left behind.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Asks the child to end, and starts it no more."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        if self.pid is None and self._process is not None:
            # It waits for its next start; that never comes.
            self._task.cancel()

    def kill(self) -> None:
        """Ends the child and all of its group."""
        self._stopping = True
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    async def ended(self) -> None:
        with suppress(asyncio.CancelledError):
            await self._task

    def _signal(self, number: signal.Signals) -> None:
        # Only the leader: Dramatiq hands a signal on to its processes, and takes a second one as "now".
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _exit_description(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


async def stop(children: Iterable[ChildProcess], seconds: float, *, at_once: asyncio.Event) -> None:
    """Stops children and waits for them; kills what is left after so many seconds, or when `at_once` is set."""
    children = list(children)
    for child in children:
        child.stop()

    async def all_ended() -> None:
        await asyncio.gather(*(child.ended() for child in children))

    endings = asyncio.create_task(all_ended())
    hurry = asyncio.create_task(at_once.wait())
    await asyncio.wait([endings, hurry], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not endings.done():
        for child in children:
            if child.pid is not None:
                log.warning("%s did not stop in time and was killed; its work is resumed", child.program.name)
            child.kill()
    await endings


async def wait_until_failed(children: Iterable[ChildProcess]) -> None:
    """Waits for an essential child that cannot be started; raises ConfigurationError then."""

    async def watch(child: ChildProcess) -> None:
        await child.failed.wait()
        raise ConfigurationError(
            f"{child.program.name} ended {STARTS} times before it was ready. Its reason stands above"
        )

    watches = [asyncio.create_task(watch(child)) for child in children]
    try:
        await asyncio.gather(*watches)
    finally:
        for task in watches:
            task.cancel()
