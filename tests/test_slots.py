"""Turns for the CPU and for memory: fair, bounded, given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gql_imgproc import slots
from gql_imgproc.slots import Ballast, CpuSlots


def test_a_large_picture_is_not_overtaken_for_ever() -> None:
    async def story() -> list[str]:
        cpu, order = CpuSlots(2, 100), []
        go_on = threading.Event()
        first = asyncio.create_task(cpu.run(60, go_on.wait))
        await asyncio.sleep(0)
        large = asyncio.create_task(cpu.run(100, order.append, "large"))
        await asyncio.sleep(0)
        small = [asyncio.create_task(cpu.run(1, order.append, f"small {n}")) for n in range(3)]
        await asyncio.sleep(0.05)
        assert order == []
        go_on.set()
        await asyncio.gather(first, large, *small)
        cpu.close()
        return order

    assert asyncio.run(story())[0] == "large"


def test_a_slot_is_free_again_when_its_thread_is_not_when_its_caller_left() -> None:
    async def story() -> None:
        cpu, go_on, ran = CpuSlots(1, 100), threading.Event(), []
        left = asyncio.create_task(cpu.run(1, go_on.wait))
        await asyncio.sleep(0.01)
        left.cancel()
        next_one = asyncio.create_task(cpu.run(1, ran.append, True))
        await asyncio.sleep(0.05)
        assert not ran
        go_on.set()
        await next_one
        cpu.close()

    asyncio.run(story())


def test_what_fails_gives_its_slot_back() -> None:
    async def story() -> None:
        cpu = CpuSlots(1, 100)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await cpu.run(500, lambda: 1 / 0)
        assert await cpu.run(500, lambda: "done") == "done"
        cpu.close()

    asyncio.run(story())


def test_a_decoder_that_never_comes_back_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise P7: every wait has an end."""

    async def story() -> None:
        ended, go_on = asyncio.Event(), threading.Event()
        monkeypatch.setattr(slots, "STUCK_SECONDS", 0.05)
        monkeypatch.setattr(slots, "_give_up", ended.set)
        cpu = CpuSlots(1, 100)
        assert await cpu.run(1, lambda: 1) == 1
        stuck = asyncio.create_task(cpu.run(1, go_on.wait))
        await asyncio.wait_for(ended.wait(), 5)
        go_on.set()
        await stuck
        cpu.close()

    asyncio.run(story())


def test_nothing_more_is_fetched_while_too_much_waits() -> None:
    async def story() -> None:
        fetched = Ballast(10)
        with fetched.holding(b"12345"), fetched.holding(b"12345") as data:
            assert data == b"12345"
            waiting = asyncio.create_task(fetched.room())
            await asyncio.sleep(0.01)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 1)

    asyncio.run(story())
