from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import supervisor
from gql_imgproc.standalone.supervisor import ChildProcess, Program, stop, wait_until_failed

#: A well-behaved child: ends on SIGTERM.
WAIT = "import time; time.sleep(60)"
#: One that does not want to end.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({0!r}, 'w').close(); time.sleep(60)"
)


def program(code: str, *, essential: bool = False) -> Program:
    return Program("child", (sys.executable, "-c", code), {"GREETING": "hello"}, essential=essential)


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


async def end(*children: ChildProcess, seconds: float = 5) -> None:
    await stop(children, seconds, at_once=asyncio.Event())


async def test_a_killed_child_is_back_at_once_in_the_same_environment(tmp_path: Path) -> None:
    said = tmp_path / "said"
    child = ChildProcess(program(f"import os; open({str(said)!r}, 'a').write(os.environ['GREETING'] + '\\n'); {WAIT}"))
    await until(lambda: said.exists() and said.read_text() == "hello\n")
    first = child.pid
    assert first is not None

    started = time.monotonic()
    os.kill(first, signal.SIGKILL)
    await until(lambda: said.read_text() == "hello\nhello\n")

    assert time.monotonic() - started < 2
    assert child.restarts == 1
    assert child.pid not in (None, first)
    await end(child)


async def test_stopping_asks_waits_and_starts_no_more() -> None:
    children = [ChildProcess(program(WAIT)), ChildProcess(program(WAIT))]
    await until(lambda: all(child.pid for child in children))
    pids = [child.pid for child in children]

    started = time.monotonic()
    await end(*children)

    assert time.monotonic() - started < 1
    assert [child.restarts for child in children] == [0, 0]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


async def test_a_child_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    grandchild, deaf = tmp_path / "grandchild", tmp_path / "deaf"
    child = ChildProcess(
        program(
            "import subprocess, sys; "
            f"other = subprocess.Popen([sys.executable, '-c', {WAIT!r}]); "
            f"open({str(grandchild)!r}, 'w').write(str(other.pid)); " + STUBBORN.format(str(deaf))
        )
    )
    await until(deaf.exists)
    pids = [child.pid, int(grandchild.read_text())]

    started = time.monotonic()
    await end(child, seconds=0.3)

    assert time.monotonic() - started < 1
    await until(lambda: not any(_runs(pid) for pid in pids))


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    child = ChildProcess(program(STUBBORN.format(str(deaf))))
    await until(deaf.exists)
    at_once = asyncio.Event()

    started = time.monotonic()
    asyncio.get_running_loop().call_later(0.1, at_once.set)
    await stop([child], 30, at_once=at_once)

    assert time.monotonic() - started < 1


async def test_a_child_that_dies_at_once_again_and_again_is_started_ever_less_often() -> None:
    child = ChildProcess(program("raise SystemExit(1)"))

    await asyncio.sleep(1.5)

    assert 2 <= child.restarts <= 5
    assert not child.failed.is_set()
    await end(child)


async def test_an_essential_child_that_cannot_be_started_is_given_up() -> None:
    child = ChildProcess(program("raise SystemExit(1)", essential=True))

    with pytest.raises(ConfigurationError, match="child ended 3 times before it was ready"):
        await asyncio.wait_for(wait_until_failed([child]), 5)

    assert child.restarts == 2
    await end(child)


async def test_a_start_that_fails_slowly_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STABLE_AFTER_SECONDS", 0)

    child = ChildProcess(program("raise SystemExit(1)", essential=True))

    with pytest.raises(ConfigurationError, match="child ended 3 times before it was ready"):
        await asyncio.wait_for(wait_until_failed([child]), 5)

    await end(child)


@pytest.mark.parametrize(("started_s", "killed_status"), [(0, None), (60, 1)])
async def test_what_was_started_or_killed_is_not_given_up(
    monkeypatch: pytest.MonkeyPatch, started_s: float, killed_status: int | None
) -> None:
    monkeypatch.setattr(supervisor, "STARTED_S", started_s)

    child = ChildProcess(
        Program("child", (sys.executable, "-c", "exit(1)"), essential=True, killed_status=killed_status)
    )

    await until(lambda: child.restarts == 3)

    assert not child.failed.is_set()
    await end(child)


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); {WAIT}"
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import asyncio, sys\n"
            "from gql_imgproc.standalone.supervisor import ChildProcess, Program\n"
            "async def main():\n"
            "    child = ChildProcess(Program('child', (sys.executable, '-c', sys.argv[1])))\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())",
            code,
        ]
    )
    asyncio.run(until(lambda: pid_file.exists() and pid_file.read_text()))
    pid = int(pid_file.read_text())

    parent.kill()
    parent.wait()

    asyncio.run(until(lambda: not _runs(pid)))


def _runs(pid: int | None) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
