"""The CPU pool: fair between priorities, bounded, and releasing what it took."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest

from gql_imgproc.enums import Priority
from gql_imgproc.system import cpu_pool
from gql_imgproc.system.cpu_pool import CpuPool

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


async def test_small_images_do_not_overtake_a_waiting_large_image() -> None:
    cpu, release = CpuPool(2, 100), threading.Event()
    order: list[str] = []
    running = asyncio.create_task(cpu.run(60, NORMAL, release.wait))
    await asyncio.sleep(0)
    large = asyncio.create_task(cpu.run(100, NORMAL, lambda: order.append("large")))
    await asyncio.sleep(0)
    small = [asyncio.create_task(cpu.run(1, NORMAL, lambda: order.append("small"))) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert order == []

    release.set()
    await asyncio.gather(running, large, *small)
    cpu.close()

    assert order[0] == "large"


async def order_of_waiting_jobs(cpu: CpuPool, blocker: Priority, jobs: list[Priority]) -> list[Priority]:
    """Queues the jobs behind one that blocks the only thread, releases it, and returns the order in which they ran."""
    order: list[Priority] = []
    release = threading.Event()
    running = asyncio.create_task(cpu.run(1, blocker, release.wait))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(cpu.run(1, job, lambda job=job: order.append(job))) for job in jobs]
    await asyncio.sleep(0)
    release.set()
    await asyncio.gather(running, *waiting)
    cpu.close()
    return order


async def test_high_priority_goes_first_and_no_priority_starves() -> None:
    """Promise P11."""
    jobs = [priority for priority in (LOW, NORMAL, HIGH) for _ in range(42)]

    order = await order_of_waiting_jobs(CpuPool(1, 100), LOW, jobs)

    assert HIGH in order[:2]
    # In any 21 consecutive jobs while all priorities wait.
    for start in (5, 10, 15):
        assert Counter(order[start : start + 21]) == {HIGH: 16, NORMAL: 4, LOW: 1}


async def test_an_empty_queue_earns_no_credit() -> None:
    cpu = CpuPool(1, 100)
    for _ in range(100):
        await cpu.run(1, NORMAL, lambda: None)
    jobs = [priority for priority in (LOW, NORMAL) for _ in range(10)]

    order = await order_of_waiting_jobs(cpu, NORMAL, jobs)

    assert Counter(order[:10]) == {NORMAL: 8, LOW: 2}


async def test_a_cancelled_waiting_job_takes_no_thread() -> None:
    cpu, release = CpuPool(1, 100), threading.Event()
    running = asyncio.create_task(cpu.run(1, NORMAL, release.wait))
    await asyncio.sleep(0)
    cancelled = [asyncio.create_task(cpu.run(1, HIGH, lambda: 1)) for _ in range(3)]
    await asyncio.sleep(0)

    for task in cancelled:
        task.cancel()
    last = asyncio.create_task(cpu.run(100, LOW, lambda: 2))
    await asyncio.sleep(0)
    release.set()

    async with asyncio.timeout(5):
        await running
        assert await last == 2
        results = await asyncio.gather(*cancelled, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    cpu.close()


async def test_a_cancelled_call_keeps_its_thread_until_the_thread_is_done() -> None:
    cpu, release = CpuPool(1, 100), threading.Event()
    ran: list[bool] = []
    cancelled = asyncio.create_task(cpu.run(1, NORMAL, release.wait))
    await asyncio.sleep(0.01)

    cancelled.cancel()
    next_job = asyncio.create_task(cpu.run(1, NORMAL, lambda: ran.append(True)))
    await asyncio.sleep(0.05)
    assert not ran

    release.set()
    await next_job
    assert ran
    cpu.close()


async def test_a_failed_call_releases_its_thread() -> None:
    cpu = CpuPool(1, 100)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await cpu.run(500, NORMAL, lambda: 1 / 0)

    assert await cpu.run(500, NORMAL, lambda: "done") == "done"
    cpu.close()


async def test_a_decoder_that_never_returns_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise P7: every wait has an end."""
    exited, release = asyncio.Event(), threading.Event()
    monkeypatch.setattr(cpu_pool, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(cpu_pool, "_exit_stuck_process", exited.set)
    cpu = CpuPool(1, 100)
    assert await cpu.run(1, NORMAL, lambda: 1) == 1

    stuck = asyncio.create_task(cpu.run(1, NORMAL, release.wait))

    await asyncio.wait_for(exited.wait(), 5)
    release.set()
    await stuck
    cpu.close()
