from __future__ import annotations

import asyncio
import os
import signal

import pytest

from gql_imgproc.standalone import up


@pytest.mark.parametrize(("repeat_s", "hurries"), [(60, False), (0, True)])
async def test_a_signal_that_comes_twice_at_once_is_one(
    monkeypatch: pytest.MonkeyPatch, repeat_s: float, hurries: bool
) -> None:
    monkeypatch.setattr(up, "REPEAT_S", repeat_s)

    told_to_stop, at_once = up._stop_signals()

    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(told_to_stop.wait(), 5)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.05)

    assert at_once.is_set() is hurries
