"""Host budgets with real clocks: two processes download from a real host that limits requests."""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

from gql_imgproc.errors import ImageError
from gql_imgproc.messaging.host_budget import HostBudgets
from gql_imgproc.net.address_policy import NetworkPolicy
from gql_imgproc.net.host_answers import host_answer
from gql_imgproc.net.hosts import host_of
from gql_imgproc.net.image_fetcher import ImageFetcher
from tests.support.image_host import LIMITS
from tests.support.throttled_host import throttled_host

IMAGES = 60


async def download_all(budgets: HostBudgets, fetcher: ImageFetcher, urls: list[str]) -> None:
    """A minimal worker: takes URLs until none is left, and returns a refused one."""
    running: set[asyncio.Task[None]] = set()

    async def download(url: str, start_s: float) -> None:
        await asyncio.sleep(start_s)
        started_at, error = time.monotonic(), None
        try:
            await fetcher.fetch(url)
        except ImageError as caught:
            error = caught
        answer, retry_after_s = host_answer(error)
        seconds = time.monotonic() - started_at
        is_refused = budgets.report(
            host_of(url), answer, started_at=started_at, seconds=seconds, retry_after_s=retry_after_s
        )
        assert is_refused is (error is not None)
        if is_refused:
            urls.append(url)

    while urls or running:
        if urls:
            host = host_of(urls[0])
            grant = (await budgets.ask({host: len(urls)}))[host]
            running |= {asyncio.create_task(download(urls.pop(), start_s)) for start_s in grant.starts_s}
            await asyncio.sleep(min(grant.wait_s, 0.05))
        if running:
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            running = {task for task in running if not task.done()}
    await budgets.flush()


async def test_every_image_of_a_throttled_host_is_downloaded_once(redis_url: str) -> None:
    policy = NetworkPolicy(allow_networks=(ip_network("127.0.0.0/8"),), allow_ports="*")
    budgets = [HostBudgets(redis_url, per_host=16) for _ in range(2)]
    fetchers = [ImageFetcher(policy, LIMITS) for _ in range(2)]

    with throttled_host(b"image", capacity=20, rate=100, retry_after="") as host:
        urls = [host.url(f"/{number}.jpg") for number in range(IMAGES)]
        await asyncio.gather(*map(download_all, budgets, fetchers, (urls[::2], urls[1::2])))

    assert sorted(host.served.values()) == [1] * IMAGES
    assert host.refused.total() < IMAGES / 2
    for opened in (*budgets, *fetchers):
        await opened.aclose()
