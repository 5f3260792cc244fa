"""Turns for the CPU and for memory: fair, bounded, given back."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from gql_imgproc.enums import Priority
from gql_imgproc.system import cpu_pool
from gql_imgproc.system.cpu_pool import CpuPool, MemoryBudget

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


def test_a_large_picture_is_not_overtaken_for_ever() -> None:
    async def story() -> list[str]:
        cpu, order = CpuPool(2, 100), []
        go_on = threading.Event()
        first = asyncio.create_task(cpu.run(60, NORMAL, go_on.wait))
        await asyncio.sleep(0)
        large = asyncio.create_task(cpu.run(100, NORMAL, lambda: order.append("large")))
        await asyncio.sleep(0)
        small = [asyncio.create_task(cpu.run(1, NORMAL, lambda: order.append("small"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert order == []
        go_on.set()
        await asyncio.gather(first, large, *small)
        cpu.close()
        return order

    assert asyncio.run(story())[0] == "large"


def test_the_urgent_ones_go_first_most_of_the_time_and_nobody_starves() -> None:
    """Promise P11."""

    async def story() -> list[Priority]:
        cpu, order, go_on = CpuPool(1, 100), [], threading.Event()
        first = asyncio.create_task(cpu.run(1, LOW, go_on.wait))
        await asyncio.sleep(0)
        waiting = []
        for priority in (LOW, NORMAL, HIGH):
            for _ in range(42):
                waiting.append(asyncio.create_task(cpu.run(1, priority, lambda p=priority: order.append(p))))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *waiting)
        cpu.close()
        return order

    order = asyncio.run(story())

    assert HIGH in order[:2]
    # From any moment on, of 21 turns while all wait.
    for start in (5, 10, 15):
        assert Counter(order[start : start + 21]) == {HIGH: 16, NORMAL: 4, LOW: 1}


def test_a_line_saves_nothing_up_while_nobody_waits_in_it() -> None:
    async def story() -> list[Priority]:
        cpu, order, go_on = CpuPool(1, 100), [], threading.Event()
        for _ in range(100):
            await cpu.run(1, NORMAL, lambda: None)
        first = asyncio.create_task(cpu.run(1, NORMAL, go_on.wait))
        await asyncio.sleep(0)
        waiting = []
        for priority in (LOW, NORMAL):
            for _ in range(10):
                waiting.append(asyncio.create_task(cpu.run(1, priority, lambda p=priority: order.append(p))))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *waiting)
        cpu.close()
        return order

    assert Counter(asyncio.run(story())[:10]) == {NORMAL: 8, LOW: 2}


def test_who_leaves_the_line_takes_no_slot() -> None:
    async def story() -> None:
        cpu, go_on = CpuPool(1, 100), threading.Event()
        first = asyncio.create_task(cpu.run(1, NORMAL, go_on.wait))
        await asyncio.sleep(0)
        leaving = [asyncio.create_task(cpu.run(1, HIGH, lambda: 1)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        last = asyncio.create_task(cpu.run(100, LOW, lambda: 2))
        await asyncio.sleep(0)
        go_on.set()
        await first
        assert await last == 2
        assert await asyncio.gather(*leaving, return_exceptions=True)
        cpu.close()

    asyncio.run(asyncio.wait_for(story(), 5))


async def test_a_slot_is_free_again_when_its_thread_is_not_when_its_caller_left() -> None:
    cpu, go_on, ran = CpuPool(1, 100), threading.Event(), []
    left = asyncio.create_task(cpu.run(1, NORMAL, go_on.wait))
    await asyncio.sleep(0.01)
    left.cancel()
    next_one = asyncio.create_task(cpu.run(1, NORMAL, lambda: ran.append(True)))
    await asyncio.sleep(0.05)
    assert not ran
    go_on.set()
    await next_one
    cpu.close()


async def test_what_fails_gives_its_slot_back() -> None:
    cpu = CpuPool(1, 100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await cpu.run(500, NORMAL, lambda: 1 / 0)
    assert await cpu.run(500, NORMAL, lambda: "done") == "done"
    cpu.close()


async def test_a_decoder_that_never_comes_back_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise P7: every wait has an end."""

    ended, go_on = asyncio.Event(), threading.Event()
    monkeypatch.setattr(cpu_pool, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(cpu_pool, "_exit_stuck_process", ended.set)
    cpu = CpuPool(1, 100)
    assert await cpu.run(1, NORMAL, lambda: 1) == 1
    stuck = asyncio.create_task(cpu.run(1, NORMAL, go_on.wait))
    await asyncio.wait_for(ended.wait(), 5)
    go_on.set()
    await stuck
    cpu.close()


async def test_nothing_more_is_fetched_while_too_much_waits() -> None:
    fetched = MemoryBudget(10)
    with fetched.holding(b"12345"), fetched.holding(b"12345") as data:
        assert data == b"12345"
        waiting = asyncio.create_task(fetched.room())
        await asyncio.sleep(0.01)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)
