"""Budgets of image hosts, in stories of a few downloads. A virtual clock replaces every wait."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
from prometheus_client import REGISTRY

from gql_imgproc.messaging.host_budget import KEY_PREFIX, HostAnswer, HostBudgets, HostGrant
from gql_imgproc.net.host_categories import HostCategory

SERVED, REFUSED, UNAVAILABLE, FAILED = HostAnswer
HOST = "images.example:443"
PER_HOST = 16
#: Downloads per second after a first refusal: thirty answers within 0.3 s, if the host allowed a burst of one second.
PACE = 30 / 1.3
#: The earliest start of a paced download, in seconds: its image is claimed first.
CLAIM_S = 0.03


class Fleet:
    """Worker processes that share one Redis and one virtual clock."""

    def __init__(self, redis_url: str) -> None:
        self.now = 1_000_000.0
        self._url = redis_url
        self._processes: list[HostBudgets] = []

    def process(self, url: str = "") -> HostBudgets:
        opened = HostBudgets(
            url or self._url,
            per_host=PER_HOST,
            host_category=lambda name: HostCategory.PUBLIC,
            clock=lambda: self.now,
        )
        self._processes.append(opened)
        return opened

    async def aclose(self) -> None:
        for process in self._processes:
            await process.aclose()

    async def ask(self, process: HostBudgets, wanted: int, host: str = HOST) -> HostGrant:
        return (await process.ask({host: wanted}))[host]

    async def download(
        self,
        process: HostBudgets,
        answer: HostAnswer = SERVED,
        *,
        count: int = 1,
        seconds: float = 0.01,
        retry_after_s: float | None = None,
        host: str = HOST,
    ) -> None:
        """Download `count` images one after the other, and send the reports."""
        for _ in range(count):
            grant = await self.ask(process, 1, host)
            assert len(grant.starts_s) == 1, grant
            self.now += grant.starts_s[0]
            started_at = self.now
            self.now += seconds
            process.report(host, answer, started_at=started_at, seconds=seconds, retry_after_s=retry_after_s)
        await process.flush()

    async def wait(self, process: HostBudgets) -> float:
        """Wait for the end of a host's pause; returns its length in seconds."""
        grant = await self.ask(process, 0)
        assert grant.is_paused
        self.now += grant.wait_s + 0.000_1
        return round(grant.wait_s, 3)


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[Fleet]:
    opened = Fleet(redis_url)
    yield opened
    await opened.aclose()


async def test_unknown_host_gets_two_downloads_at_once(fleet: Fleet) -> None:
    process = fleet.process()

    assert await fleet.ask(process, 8) == HostGrant(starts_s=(0.0, 0.0), wait_s=0.2, is_paused=False, unserved_s=0.0)
    assert (await fleet.ask(process, 8)).starts_s == ()


async def test_hosts_are_independent_and_asked_in_one_call(fleet: Fleet) -> None:
    grants = await fleet.process().ask({f"{number}.example:80": 1 for number in range(8)})

    assert [len(grant.starts_s) for grant in grants.values()] == [1] * 8


@pytest.mark.parametrize(
    ("answers", "seconds", "window"),
    [(9, 0.01, 2), (10, 0.01, 3), (10, 1.99, 3), (10, 4.0, 2), (20, 4.0, 3), (139, 0.01, 15), (200, 0.01, PER_HOST)],
)
async def test_window_grows_with_answers_and_slower_with_slow_ones(
    fleet: Fleet, answers: int, seconds: float, window: int
) -> None:
    process = fleet.process()

    await fleet.download(process, count=answers, seconds=seconds)

    assert len((await fleet.ask(process, 100)).starts_s) == window


async def test_window_is_shared_by_all_processes(fleet: Fleet) -> None:
    first, second = fleet.process(), fleet.process()
    await fleet.download(first, count=200)

    assert len((await fleet.ask(first, 10)).starts_s) == 10
    assert len((await fleet.ask(second, 10)).starts_s) == PER_HOST - 10
    first.give_back(HOST, 3)
    await first.flush()
    assert len((await fleet.ask(second, 10)).starts_s) == 3


async def test_first_refusal_sets_the_pace_of_the_fleet(fleet: Fleet) -> None:
    # Given thirty answers,
    first, second = fleet.process(), fleet.process()
    await fleet.download(first, count=30)

    # When the next download is refused,
    await fleet.download(first, REFUSED)

    # Then no process downloads for half a second, and after that at their rate.
    assert (await fleet.ask(second, 4)).starts_s == ()
    assert await fleet.wait(second) == 0.5
    assert (await fleet.ask(second, 4)).starts_s == pytest.approx((CLAIM_S, CLAIM_S + 1 / PACE))
    full = await fleet.ask(first, 4)
    assert (full.starts_s, full.is_paused) == ((), False)
    fleet.now += full.wait_s
    assert (await fleet.ask(first, 1)).starts_s == pytest.approx((CLAIM_S + 2 / PACE - full.wait_s,), abs=0.001)


async def test_wave_of_refusals_cuts_the_rate_once(fleet: Fleet) -> None:
    # Given four downloads in progress at two processes,
    processes = [fleet.process(), fleet.process()]
    await fleet.download(processes[0], count=30)
    for process in processes:
        assert len((await fleet.ask(process, 2)).starts_s) == 2

    # When all are refused,
    started_at = fleet.now
    fleet.now += 0.01
    for process in processes:
        for _ in range(2):
            assert process.report(HOST, REFUSED, started_at=started_at, seconds=0.01)
        await process.flush()

    # Then the pause is that of one refusal, and so is the rate.
    assert await fleet.wait(processes[0]) == 0.5
    starts = (await fleet.ask(processes[0], 4)).starts_s
    assert starts == pytest.approx((CLAIM_S, CLAIM_S + 1 / PACE))


@pytest.mark.parametrize(
    ("served_ago_s", "retry_after_s", "pause_s"),
    [
        (None, None, 0.5),
        (None, 1.0, 1.0),
        (None, 30.0, 30.0),
        (None, 86_400.0, 600.0),
        (1.0, 30.0, 30.0),
        # One bad URL among good ones does not stop its host.
        (1.0, 86_400.0, 0.5),
        (9.0, 31.0, 0.5),
        (11.0, 31.0, 31.0),
    ],
)
async def test_retry_after_is_obeyed_within_reason(
    fleet: Fleet, served_ago_s: float | None, retry_after_s: float | None, pause_s: float
) -> None:
    process = fleet.process()
    if served_ago_s is not None:
        await fleet.download(process)
        fleet.now += served_ago_s

    await fleet.download(process, REFUSED, retry_after_s=retry_after_s)

    assert await fleet.wait(process) == pytest.approx(pause_s, abs=0.02)


async def test_bad_url_stops_its_host_for_half_a_second(fleet: Fleet) -> None:
    # Given a host that served its last image long ago, and two downloads in progress,
    process = fleet.process()
    await fleet.download(process)
    fleet.now += 20
    await fleet.ask(process, 2)
    started_at = fleet.now

    # When one is refused for a day, and the other one is served,
    process.report(HOST, REFUSED, started_at=started_at, seconds=0.0, retry_after_s=86_400)
    await process.flush()
    # Images sleep for as long as the budget says at this moment.
    assert (await fleet.ask(process, 1)).wait_s == 0.5
    process.report(HOST, SERVED, started_at=started_at, seconds=0.0)
    await process.flush()

    # Then the pause ends, and the next one is twice as long at most.
    assert await fleet.wait(process) == 0.5
    await fleet.download(process, REFUSED, retry_after_s=86_400)
    assert (await fleet.ask(process, 1)).wait_s < 1.1


async def test_host_that_refuses_all_downloads_for_a_day_is_paused_at_the_last_one(fleet: Fleet) -> None:
    # Given two processes with a download each from an unknown host,
    processes = [fleet.process(), fleet.process()]
    for process in processes:
        await fleet.ask(process, 1)
    started_at = fleet.now

    pauses = []
    for process in processes:
        process.report(HOST, REFUSED, started_at=started_at, seconds=0.0, retry_after_s=86_400)
        await process.flush()
        pauses.append((await fleet.ask(process, 1)).wait_s)

    assert pauses == [0.5, 600]


async def test_late_refusal_can_lengthen_the_pause(fleet: Fleet) -> None:
    process = fleet.process()
    await fleet.ask(process, 2)
    started_at = fleet.now
    process.report(HOST, REFUSED, started_at=started_at, seconds=0.0, retry_after_s=1.0)
    await process.flush()

    process.report(HOST, REFUSED, started_at=started_at, seconds=0.0, retry_after_s=20.0)
    await process.flush()

    assert await fleet.wait(process) == 20.0


async def test_pause_doubles_until_the_host_serves_again(fleet: Fleet) -> None:
    # Given a host that refuses everything,
    process = fleet.process()
    pauses = []
    for _ in range(13):
        await fleet.download(process, REFUSED)
        pauses.append(await fleet.wait(process))
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600], abs=0.01)
    # with two downloads after each pause, since one of them may be a bad URL,
    assert len((await fleet.ask(process, 8)).starts_s) == 2
    assert (await fleet.ask(fleet.process(), 8)).starts_s == ()

    # When it serves that download,
    process.report(HOST, SERVED, started_at=fleet.now, seconds=0.0)
    await process.flush()

    # Then the next pause is short again.
    fleet.now += 2
    await fleet.download(process, REFUSED)
    assert await fleet.wait(process) == pytest.approx(0.5, abs=0.01)


async def test_three_failures_pause_the_host_then_one_download_probes_it(fleet: Fleet) -> None:
    process = fleet.process()
    await fleet.download(process, FAILED, count=2)
    assert not (await fleet.ask(process, 0)).is_paused

    await fleet.download(process, FAILED)

    pauses = [await fleet.wait(process)]
    for _ in range(7):
        probe = await fleet.ask(process, 8)
        assert len(probe.starts_s) == 1
        process.give_back(HOST)
        await fleet.download(process, FAILED)
        pauses.append(await fleet.wait(process))
    assert pauses == pytest.approx([5, 10, 20, 40, 80, 160, 300, 300], abs=0.01)

    await fleet.download(process)
    assert len((await fleet.ask(process, 8)).starts_s) == 2


async def test_success_between_failures_prevents_the_pause(fleet: Fleet) -> None:
    process = fleet.process()

    for answer in (FAILED, FAILED, SERVED, FAILED, FAILED):
        await fleet.download(process, answer)

    assert not (await fleet.ask(process, 1)).is_paused


async def test_failures_of_one_wave_pause_once(fleet: Fleet) -> None:
    process = fleet.process()
    await fleet.download(process, count=200)
    await fleet.ask(process, PER_HOST)
    started_at = fleet.now
    fleet.now += 15

    for _ in range(PER_HOST):
        process.report(HOST, FAILED, started_at=started_at, seconds=15.0)
    await process.flush()

    assert await fleet.wait(process) == 5.0


async def test_unavailable_is_a_refusal_only_if_most_answers_are(fleet: Fleet) -> None:
    process = fleet.process()
    await fleet.download(process, count=20)

    outcomes = []
    for _ in range(11):
        await fleet.ask(process, 1)
        outcomes.append(process.report(HOST, UNAVAILABLE, started_at=fleet.now, seconds=0.0))

    assert outcomes == [False] * 10 + [True]
    assert (await fleet.ask(process, 1)).is_paused


async def test_time_without_service_is_measured_from_the_first_refusal(fleet: Fleet) -> None:
    process = fleet.process()
    await fleet.download(process)
    await fleet.download(process, REFUSED, seconds=0.0)
    fleet.now += 100
    await fleet.download(process, REFUSED, seconds=0.0)
    fleet.now += 900

    assert (await fleet.ask(fleet.process(), 0)).unserved_s == pytest.approx(1_000, abs=0.1)

    await fleet.download(process)
    assert (await fleet.ask(process, 0)).unserved_s == 0


async def test_downloads_of_a_dead_process_are_free_after_ten_seconds(fleet: Fleet) -> None:
    dead, alive = fleet.process(), fleet.process()
    await fleet.ask(dead, 2)

    fleet.now += 9
    assert (await fleet.ask(alive, 2)).starts_s == ()
    fleet.now += 2
    assert len((await fleet.ask(alive, 2)).starts_s) == 2


async def test_long_downloads_of_a_living_process_stay_counted(fleet: Fleet) -> None:
    busy, other = fleet.process(), fleet.process()
    await fleet.ask(busy, 2)

    for _ in range(6):
        fleet.now += 11
        await busy.ask({"other.example:80": 1})
        assert (await fleet.ask(other, 2)).starts_s == ()


async def test_hosts_are_learned_again_after_a_flush_and_a_lost_script(fleet: Fleet, redis_url: str) -> None:
    process = fleet.process()
    await fleet.download(process, count=200)
    await fleet.ask(process, 10)

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        client.script_flush()

    # The ten downloads are in progress, so the window of two is full.
    assert (await fleet.ask(process, 8)).starts_s == ()
    process.give_back(HOST, 10)
    assert len((await fleet.ask(process, 8)).starts_s) == 2


async def test_nothing_is_stored_without_an_end(fleet: Fleet, redis_url: str) -> None:
    process = fleet.process()
    await fleet.download(process, REFUSED, retry_after_s=500)

    with redis.Redis.from_url(redis_url) as client:
        assert [*client.scan_iter()] == [f"{KEY_PREFIX}{HOST}".encode()]
        assert client.ttl(f"{KEY_PREFIX}{HOST}") in range(1_098, 1_102)


async def test_redis_unavailable_leaves_shares_and_small_windows(fleet: Fleet, redis_url: str, tmp_path: Path) -> None:
    # Given a known pace, two processes, and Redis through a link,
    link = tmp_path / "s"
    link.symlink_to(redis_url.removeprefix("unix://"))
    process, other = fleet.process(f"unix://{link}"), fleet.process()
    await fleet.download(other, count=30)
    await fleet.download(other, REFUSED)
    await fleet.wait(other)
    await fleet.ask(other, 1)
    await fleet.ask(process, 0)

    # When Redis becomes unavailable,
    link.unlink()
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="normal", skipme=True)

    # Then the process takes half of the pace, and two downloads at a time of an unknown host,
    fleet.now += 1
    grants = await process.ask({HOST: 8, "unknown.example:80": 8})
    assert grants[HOST].starts_s == (0.0,)
    assert len(grants["unknown.example:80"].starts_s) == 2
    fleet.now += 2 / PACE
    assert (await fleet.ask(process, 1)).starts_s == pytest.approx((0,), abs=0.001)
    # pauses after a refusal,
    process.report(HOST, REFUSED, started_at=fleet.now, seconds=0.0, retry_after_s=7)
    assert await fleet.wait(process) == 7.0

    # and uses Redis again afterwards.
    link.symlink_to(redis_url.removeprefix("unix://"))
    fleet.now += 10
    assert len((await fleet.ask(process, 1)).starts_s) == 1
    assert process._outage.is_down is False


async def test_changes_of_a_host_are_counted_and_logged_once(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gql_imgproc.messaging.host_budget")
    first, second = fleet.process(), fleet.process()
    before = {name: sample(name) for name in ("imgproc_host_refusals_total", "imgproc_host_pauses_total")}

    await fleet.download(first, count=30)
    await fleet.download(first, REFUSED)
    await fleet.ask(second, 1)
    assert sample("imgproc_hosts_paused") == 1
    await fleet.wait(second)
    await fleet.download(second)
    await fleet.download(second, REFUSED)
    await fleet.ask(first, 1)

    assert [record.message for record in caplog.records] == ["host paused", "host resumed", "host pace found"]
    assert vars(caplog.records[0])["host"] == HOST
    assert vars(caplog.records[0])["rate_per_s"] == round(PACE, 2)
    assert sample("imgproc_host_refusals_total") == before["imgproc_host_refusals_total"] + 2
    assert sample("imgproc_host_pauses_total") == before["imgproc_host_pauses_total"] + 2


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"host_category": "public"}) or 0
