from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gql_imgproc.errors import ConfigurationError
from gql_imgproc.standalone import supervisor
from gql_imgproc.standalone.supervisor import ChildProcess, Program, stop, wait_until_failed

#: A child that exits on SIGTERM.
WAIT = "import time; time.sleep(60)"
#: A child that ignores SIGTERM and creates a file once it does.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({0!r}, 'w').close(); time.sleep(60)"
)


def program(code: str, *, is_essential: bool = False) -> Program:
    return Program("child", (sys.executable, "-c", code), {"GREETING": "hello"}, is_essential=is_essential)


async def until(condition: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no event
            await asyncio.sleep(0.01)


async def stop_all(*children: ChildProcess, timeout_s: float = 5) -> None:
    await stop(children, timeout_s, at_once=asyncio.Event())


async def test_killed_child_is_restarted_with_the_same_environment(tmp_path: Path) -> None:
    output = tmp_path / "output"
    child = ChildProcess(
        program(f"import os; open({str(output)!r}, 'a').write(os.environ['GREETING'] + '\\n'); {WAIT}")
    )
    await until(lambda: output.exists() and output.read_text() == "hello\n")
    first = child.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)
    await until(lambda: output.read_text() == "hello\nhello\n")

    assert child.restarts == 1
    assert supervisor.MAX_PAUSE_S < 2
    assert child.pid not in (None, first)
    await stop_all(child)


async def test_stop_terminates_children_without_restarting_them() -> None:
    children = [ChildProcess(program(WAIT)), ChildProcess(program(WAIT))]
    await until(lambda: all(child.pid for child in children))
    pids = [child.pid for child in children]

    async with asyncio.timeout(30):
        await stop_all(*children, timeout_s=60)

    assert [child.restarts for child in children] == [0, 0]
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)


async def test_child_that_ignores_sigterm_is_killed_with_its_process_group(tmp_path: Path) -> None:
    grandchild, ready = tmp_path / "grandchild", tmp_path / "ready"
    child = ChildProcess(
        program(
            "import subprocess, sys; "
            f"other = subprocess.Popen([sys.executable, '-c', {WAIT!r}]); "
            f"open({str(grandchild)!r}, 'w').write(str(other.pid)); " + STUBBORN.format(str(ready))
        )
    )
    await until(ready.exists)
    pids = [child.pid, int(grandchild.read_text())]

    await stop_all(child, timeout_s=0.3)

    await until(lambda: not any(is_running(pid) for pid in pids))


async def test_second_stop_signal_kills_at_once(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = ChildProcess(program(STUBBORN.format(str(ready))))
    await until(ready.exists)
    at_once = asyncio.Event()

    asyncio.get_running_loop().call_later(0.1, at_once.set)
    async with asyncio.timeout(30):
        await stop([child], 60, at_once=at_once)


async def test_restart_pause_grows_while_a_child_keeps_failing() -> None:
    started_at = asyncio.get_running_loop().time()
    child = ChildProcess(program("raise SystemExit(1)"))

    await until(lambda: child.restarts == 4, 60)

    # Pauses cannot be shorter, whatever the machine does meanwhile.
    assert asyncio.get_running_loop().time() - started_at >= 0.1 + 0.2 + 0.4
    assert not child.failed.is_set()
    await stop_all(child)


async def test_essential_child_that_cannot_start_raises() -> None:
    child = ChildProcess(program("raise SystemExit(1)", is_essential=True))

    with pytest.raises(ConfigurationError, match="child exited 3 times before it was ready"):
        await asyncio.wait_for(wait_until_failed([child]), 5)

    assert child.restarts == 2
    await stop_all(child)


async def test_essential_child_that_fails_slowly_raises_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STABLE_AFTER_SECONDS", 0)

    child = ChildProcess(program("raise SystemExit(1)", is_essential=True))

    with pytest.raises(ConfigurationError, match="child exited 3 times before it was ready"):
        await asyncio.wait_for(wait_until_failed([child]), 5)

    await stop_all(child)


@pytest.mark.parametrize(("ready_after_s", "killed_status"), [(0, None), (60, 1)])
async def test_exit_after_a_start_or_a_killed_worker_is_no_failed_start(
    monkeypatch: pytest.MonkeyPatch, ready_after_s: float, killed_status: int | None
) -> None:
    monkeypatch.setattr(supervisor, "READY_AFTER_SECONDS", ready_after_s)

    child = ChildProcess(
        Program("child", (sys.executable, "-c", "exit(1)"), is_essential=True, killed_status=killed_status)
    )

    await until(lambda: child.restarts == 3)

    assert not child.failed.is_set()
    await stop_all(child)


async def test_children_exit_when_their_parent_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid())); {WAIT}"
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import asyncio, sys\n"
        "from gql_imgproc.standalone.supervisor import ChildProcess, Program\n"
        "async def main():\n"
        "    child = ChildProcess(Program('child', (sys.executable, '-c', sys.argv[1])))\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())",
        code,
    )
    await until(lambda: pid_file.exists() and pid_file.read_text())
    pid = int(pid_file.read_text())

    parent.kill()
    await parent.wait()

    await until(lambda: not is_running(pid))


def is_running(pid: int | None) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("repeat_s", "stops_at_once"), [(60, False), (0, True)])
async def test_repeated_signal_counts_once_within_a_second(
    monkeypatch: pytest.MonkeyPatch, repeat_s: float, stops_at_once: bool
) -> None:
    monkeypatch.setattr(supervisor, "REPEAT_S", repeat_s)

    async def work(at_once: asyncio.Event) -> None:
        # The first signal cancels it,
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            await asyncio.Event().wait()
        finally:
            # and the second one comes while it stops. Signals are handled in order, so the third one shows that it was.
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, is_handled.set)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR1)
            await is_handled.wait()
            stopped_at_once.append(at_once.is_set())

    stopped_at_once: list[bool] = []
    is_handled = asyncio.Event()
    result = await asyncio.wait_for(supervisor.run_until_stopped(work), 5)

    assert (result, stopped_at_once) == (None, [stops_at_once])
