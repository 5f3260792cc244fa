"""The CPU pool: first in, first out, bounded, independent of the event loop, and releasing what it took."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from gql_imgproc.system import cpu_pool
from gql_imgproc.system.cpu_pool import CpuPool

#: Limit of a wait that ends at once unless the pool is broken, in seconds.
PATIENCE_S = 10


class Blocker:
    """A call that lasts until it is released."""

    def __init__(self) -> None:
        self._started, self.released = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self._started.set()
        self.released.wait(PATIENCE_S)

    async def has_started(self) -> None:
        assert await asyncio.to_thread(self._started.wait, PATIENCE_S)


def start(cpu: CpuPool, megapixels: float, call: Callable[[], object]) -> asyncio.Task[object]:
    return asyncio.create_task(cpu.run(megapixels, call))


async def all_are_queued() -> None:
    """Lets the tasks that were created before enter the queue."""
    await asyncio.sleep(0)


@asynccontextmanager
async def blocked_pool(megapixels: float = 100) -> AsyncIterator[tuple[CpuPool, Blocker]]:
    """A pool whose only thread is in use by a job of 1 megapixel, until the block ends or the job is released."""
    cpu, blocker = CpuPool(1, megapixels), Blocker()
    running = start(cpu, 1, blocker)
    await blocker.has_started()
    async with asyncio.timeout(PATIENCE_S):
        yield cpu, blocker
        blocker.released.set()
        await asyncio.gather(running, return_exceptions=True)
    cpu.close()


async def test_queued_jobs_run_while_the_event_loop_is_blocked() -> None:
    ran: list[int] = []
    last = threading.Event()
    async with blocked_pool() as (cpu, blocker):
        jobs = [start(cpu, 1, lambda n=n: ran.append(n)) for n in range(2)]  # type: ignore[misc]  # bound per job
        jobs.append(start(cpu, 1, last.set))
        await all_are_queued()

        blocker.released.set()
        # Blocks the event loop on purpose.
        has_ended = last.wait(PATIENCE_S)

        assert has_ended
        assert ran == [0, 1]
        assert not any(job.done() for job in jobs)
        await asyncio.gather(*jobs)


async def test_megapixels_in_flight_are_bounded() -> None:
    cpu = CpuPool(4, 100)
    lock, in_flight, peak = threading.Lock(), 0.0, 0.0
    sizes = [60, 50, 40, 30, 250, 10] * 20

    def decode(megapixels: float) -> float:
        nonlocal in_flight, peak
        counted = min(megapixels, 100)
        with lock:
            in_flight += counted
            peak = max(peak, in_flight)
        with lock:
            in_flight -= counted
        return megapixels

    results = await asyncio.gather(*(cpu.run(size, lambda size=size: decode(size)) for size in sizes))
    cpu.close()

    assert results == sizes
    assert 60 <= peak <= 100


async def test_every_job_that_fits_starts_when_a_large_image_is_done() -> None:
    cpu, large = CpuPool(3, 100), Blocker()
    together = threading.Barrier(3)
    running = start(cpu, 100, large)
    await large.has_started()
    small = [start(cpu, 30, lambda: together.wait(PATIENCE_S)) for _ in range(3)]
    await all_are_queued()

    large.released.set()

    # The barrier is passed only if all three run at the same time.
    await running
    assert sorted(await asyncio.gather(*small)) == [0, 1, 2]
    cpu.close()


async def test_small_images_do_not_overtake_a_waiting_large_image() -> None:
    cpu, blocker = CpuPool(2, 100), Blocker()
    order: list[str] = []
    running = start(cpu, 60, blocker)
    await blocker.has_started()
    large = start(cpu, 100, lambda: order.append("large"))
    await all_are_queued()
    small = [start(cpu, 1, lambda: order.append("small")) for _ in range(3)]
    # One that is cancelled wakes the second thread, which finds that the large image does not fit.
    small.pop().cancel()
    await asyncio.sleep(0.05)
    assert order == []

    blocker.released.set()
    await asyncio.gather(running, large, *small)
    cpu.close()

    assert order == ["large", "small", "small"]


async def test_small_images_start_when_the_large_image_before_them_is_cancelled() -> None:
    cpu, blocker = CpuPool(2, 100), Blocker()
    running = start(cpu, 60, blocker)
    await blocker.has_started()
    order: list[str] = []
    large = start(cpu, 100, lambda: order.append("large"))
    await all_are_queued()
    small = start(cpu, 1, lambda: order.append("small"))
    await all_are_queued()

    large.cancel()

    await asyncio.wait_for(small, PATIENCE_S)
    blocker.released.set()
    await running
    cpu.close()
    assert order == ["small"]


async def test_jobs_run_in_the_order_in_which_they_came() -> None:
    order: list[int] = []
    async with blocked_pool() as (cpu, blocker):
        waiting = [start(cpu, 1, lambda job=job: order.append(job)) for job in range(30)]  # type: ignore[misc]  # bound per job
        await all_are_queued()
        blocker.released.set()
        await asyncio.gather(*waiting)

    assert order == [*range(30)]


async def test_a_cancelled_waiting_job_is_never_run() -> None:
    ran: list[int] = []
    async with blocked_pool() as (cpu, blocker):
        cancelled = [start(cpu, 1, lambda: ran.append(1)) for _ in range(3)]
        await all_are_queued()

        for task in cancelled:
            task.cancel()
        blocker.released.set()

        assert await cpu.run(100, lambda: 2) == 2
        results = await asyncio.gather(*cancelled, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 3
    assert ran == []


async def test_a_cancelled_call_keeps_its_megapixels_until_it_returns() -> None:
    cpu, blocker = CpuPool(2, 100), Blocker()
    ran: list[bool] = []
    cancelled = start(cpu, 60, blocker)
    await blocker.has_started()

    cancelled.cancel()
    next_job = start(cpu, 60, lambda: ran.append(True))
    await asyncio.sleep(0.05)
    assert cancelled.cancelled()
    assert ran == []

    blocker.released.set()
    await next_job
    assert ran == [True]
    cpu.close()


async def test_a_failed_call_releases_its_megapixels() -> None:
    cpu = CpuPool(1, 100)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await cpu.run(500, lambda: 1 / 0)

    assert await cpu.run(500, lambda: "done") == "done"
    cpu.close()


async def test_close_cancels_waiting_jobs_and_refuses_new_ones() -> None:
    ran: list[int] = []
    async with blocked_pool() as (cpu, blocker):
        waiting = [start(cpu, 1, lambda: ran.append(1)) for _ in range(3)]
        await all_are_queued()
        threading.Timer(0.01, blocker.released.set).start()

        cpu.close()

        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 3
        with pytest.raises(RuntimeError, match=r"The CPU pool is closed\."):
            await cpu.run(1, lambda: ran.append(2))
    assert ran == []


async def test_a_decoder_that_never_returns_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise P7: every wait has an end."""
    exited, blocker = asyncio.Event(), Blocker()
    monkeypatch.setattr(cpu_pool, "STUCK_SECONDS", 0.05)
    monkeypatch.setattr(cpu_pool, "_exit_stuck_process", exited.set)
    cpu = CpuPool(1, 100)
    assert await cpu.run(1, lambda: 1) == 1

    # Even after its caller has left.
    stuck = start(cpu, 1, blocker)
    await blocker.has_started()
    stuck.cancel()

    await asyncio.wait_for(exited.wait(), PATIENCE_S)
    blocker.released.set()
    cpu.close()
