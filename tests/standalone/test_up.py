from __future__ import annotations

import asyncio
import os
import signal

import pytest

from gql_imgproc.standalone import up


@pytest.mark.parametrize(("repeat_s", "stops_at_once"), [(60, False), (0, True)])
async def test_repeated_signal_counts_once_within_a_second(
    monkeypatch: pytest.MonkeyPatch, repeat_s: float, stops_at_once: bool
) -> None:
    monkeypatch.setattr(up, "REPEAT_S", repeat_s)

    stop_requested, at_once = up._stop_signals()

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(stop_requested.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)

    assert at_once.is_set() is stops_at_once
