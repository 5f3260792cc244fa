"""Host budgets against modelled hosts in virtual time: time, used capacity and refusals (promise P13)."""

from __future__ import annotations

import pytest
import redis

from tests.support.host_simulation import HostAnswer, ModelHost, Outcome, Simulation
from tests.support.token_bucket import TokenBucket

RATE = 20
REFUSALS = ("429 with Retry-After", "429")
ANSWERS = {
    "429 with Retry-After": (HostAnswer.REFUSED, 1.0),
    "429": (HostAnswer.REFUSED, None),
    "429 with a long Retry-After": (HostAnswer.REFUSED, 60.0),
}


async def run(
    redis_url: str,
    *,
    images: int,
    processes: int,
    seed: int,
    capacity: float = RATE,
    refusal: str = "429 with Retry-After",
    latency_s: float = 0.005,
    flush_at_s: float | None = None,
) -> Outcome:
    answer, retry_after_s = ANSWERS[refusal]
    host = ModelHost(TokenBucket(capacity, RATE), latency_s, answer, retry_after_s)
    simulation = Simulation(redis_url, host, processes=processes, images=images, seed=seed)
    with redis.Redis.from_url(redis_url) as client:
        if flush_at_s is not None:
            simulation.at(flush_at_s, client.flushall)
        outcome = await simulation.run()
    assert outcome.served == images
    return outcome


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("latency_s", [0.005, 0.1])
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("processes", [2, 8])
async def test_small_request_is_fast_and_seldom_refused(
    redis_url: str, processes: int, refusal: str, latency_s: float, seed: int
) -> None:
    outcome = await run(redis_url, images=200, processes=processes, refusal=refusal, latency_s=latency_s, seed=seed)

    assert outcome.ended_s < 15
    assert outcome.refused_share < 0.05


@pytest.mark.parametrize(("capacity", "limit_s"), [(1, 17), (5, 15)])
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("processes", [2, 8])
async def test_host_without_bursts_is_learned_quickly(
    redis_url: str, processes: int, refusal: str, capacity: int, limit_s: float
) -> None:
    outcome = await run(redis_url, images=200, processes=processes, refusal=refusal, capacity=capacity, seed=0)

    assert outcome.ended_s < limit_s
    assert outcome.refused_share < 0.05


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("processes", [2, 8])
async def test_large_request_uses_the_capacity_of_the_host(
    redis_url: str, processes: int, refusal: str, seed: int
) -> None:
    outcome = await run(redis_url, images=2_000, processes=processes, refusal=refusal, seed=seed)

    assert 2_000 / RATE / outcome.ended_s > 0.9
    assert outcome.refused_share < 0.02


@pytest.mark.parametrize("processes", [2, 8])
async def test_host_that_asks_for_long_pauses_is_paced(redis_url: str, processes: int) -> None:
    refusal = "429 with a long Retry-After"

    outcome = await run(redis_url, images=400, processes=processes, refusal=refusal, seed=0)

    # The long pause is taken for that of one URL; the refusal slows the downloads down nevertheless.
    assert outcome.refused_share < 0.05


async def test_redis_that_loses_its_data_costs_one_wave_of_refusals(redis_url: str) -> None:
    outcome = await run(redis_url, images=2_000, processes=4, flush_at_s=50, seed=0)

    assert 2_000 / RATE / outcome.ended_s > 0.9
    assert outcome.refused_share < 0.02
