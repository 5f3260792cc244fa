"""Worker processes write their log lines themselves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Lines of each process. Together they are several times as long as the buffer of a pipe.
LINES = 500
LINE = re.compile(r"[\d:.]{12} info    gql_imgproc: line pid=(\d+) number=(\d+) text=(x*)\n")


def test_worker_lines_are_whole_and_in_order_without_the_master() -> None:
    command = [sys.executable, "-m", "dramatiq", "tests.worker.logging_broker", "--processes", "2", "--threads", "1"]
    with subprocess.Popen(
        [*command, "--skip-logging"],
        cwd=ROOT,
        env=os.environ | {"LOGGED_LINES": str(LINES)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as master:
        assert master.stderr is not None
        try:
            # Each process logs its PID, and that Dramatiq has started it.
            started = "".join(master.stderr.readline() for _ in range(4))
            pids = [int(pid) for pid in re.findall(r"ready pid=(\d+)\n", started)]
            # Nothing can pass through a process that is stopped.
            master.send_signal(signal.SIGSTOP)
            for pid in pids:
                os.kill(pid, signal.SIGUSR1)
            lines = [master.stderr.readline() for _ in range(2 * LINES)]
        finally:
            os.killpg(master.pid, signal.SIGKILL)

    numbers = defaultdict(list)
    for line in lines:
        found = LINE.fullmatch(line)
        assert found, line
        numbers[int(found[1])].append(int(found[2]))
        assert len(found[3]) == int(found[2]) % 7 * 600
    assert numbers == {pid: list(range(LINES)) for pid in pids}
