"""What a sample of the images of a file says about all of them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest

from gql_imgproc.requests.sample import (
    MAX_STRATA,
    SAMPLE_IMAGES,
    Measurement,
    Sampler,
    Stratum,
    count_failures,
    estimate_saving,
    estimate_seconds,
)


def make_catalogue(seed: int) -> dict[str, tuple[int, int]]:
    """URLs with bytes before and after: hosts and formats that differ in number, size and saving; 0 bytes fail."""
    chance = Random(seed)
    images: dict[str, tuple[int, int]] = {}
    for host in range(chance.randint(1, 6)):
        for extension in chance.sample(["jpg", "png", "webp", "gif", ""], chance.randint(1, 3)):
            median, saving = chance.uniform(20_000, 900_000), chance.uniform(0.1, 0.8)
            dead = chance.choice([0.0, 0.02, 0.15])
            for n in range(round(chance.lognormvariate(6.5, 1))):
                size = round(median * chance.lognormvariate(0, 0.7))
                part = min(1.0, max(0.05, chance.gauss(1 - saving, 0.15)))
                url = f"https://h{host}.example/{n}{'.' if extension else ''}{extension}"
                images[url] = (0, 0) if chance.random() < dead else (size, round(size * part))
    return images


def draw_sample(urls: Iterable[str], random: Random) -> list[Stratum]:
    sampler = Sampler(random)
    sampler.add(urls)
    return sampler.draw()


def measure(strata: list[Stratum], images: dict[str, tuple[int, int]]) -> list[Measurement]:
    return [
        Measurement(number, url, *images[url], error_code=None if images[url][0] else "HTTP_STATUS")
        for number, stratum in enumerate(strata)
        for url in stratum.urls
    ]


def test_truth_is_in_the_interval_of_at_least_27_of_30_catalogues() -> None:
    inside, widths = 0, []
    for seed in range(30):
        images = make_catalogue(seed)
        truth = 1 - sum(after for _, after in images.values()) / sum(before for before, _ in images.values())

        strata = draw_sample(images, Random(seed))
        saving = estimate_saving(strata, measure(strata, images))

        assert sum(len(stratum.urls) for stratum in strata) <= SAMPLE_IMAGES
        assert sum(stratum.images for stratum in strata) == len(images)
        assert saving is not None
        inside += saving.low <= truth <= saving.high
        widths.append(saving.high - saving.low)

    assert inside >= 27
    # The interval says something: a few percent on either side.
    assert sorted(widths)[15] < 0.1


def test_small_catalogue_is_measured_whole_and_has_no_error() -> None:
    images = {f"https://h.example/{n}.jpg": (1_000 + n, 500) for n in range(SAMPLE_IMAGES)}

    strata = draw_sample(images, Random(1))
    saving = estimate_saving(strata, measure(strata, images))

    assert {url for stratum in strata for url in stratum.urls} == set(images)
    assert saving is not None
    assert saving.input_bytes == pytest.approx(sum(1_000 + n for n in range(SAMPLE_IMAGES)))
    assert saving.low == saving.part == saving.high == pytest.approx(1 - 100_000 / saving.input_bytes)


def test_each_host_and_format_has_its_share_of_the_sample() -> None:
    urls = [f"https://big.example/{n}.jpg" for n in range(9_000)]
    urls += [f"https://big.example/{n}.png?w=1.jpg" for n in range(990)]
    urls += [f"https://small.example/{n}" for n in range(10)]

    strata = draw_sample(urls, Random(1))

    assert [(stratum.images, len(stratum.urls)) for stratum in strata] == [(9_000, 176), (990, 21), (10, 2)]
    assert all(url.startswith("https://small.example/") for url in strata[2].urls)


def test_hosts_beyond_the_limit_share_a_stratum() -> None:
    urls = [f"https://h{n % 1_000}.example/{n}.jpg" for n in range(5_000)]

    strata = draw_sample(urls, Random(1))

    assert len(strata) == MAX_STRATA + 1
    assert strata[-1].images == 5_000 - 5 * MAX_STRATA
    assert sum(len(stratum.urls) for stratum in strata) <= SAMPLE_IMAGES


def test_failures_and_seconds_stand_for_all_images() -> None:
    strata = [Stratum(1_000, ()), Stratum(10, ())]
    dead = Measurement(0, "https://a.example/1.jpg", error_code="HTTP_STATUS", error_message="Not found")
    served = [Measurement(0, "https://a.example/2.jpg", 100, 50, fetch_s=0.4, cpu_s=0.1) for _ in range(3)]
    other = Measurement(1, "https://b.example/1.jpg", 100, 50, fetch_s=90.0, cpu_s=0.1)

    assert count_failures(strata, [dead, *served, other]) == {"HTTP_STATUS": (250.0, dead)}
    # 300 s of downloads from the first host, 900 s from the other one, 76 s of CPU.
    assert estimate_seconds(strata, [dead, *served, other], 1, 10) == pytest.approx(90.0)
    assert estimate_seconds(strata, [dead, *served], 1, 10) == pytest.approx(75.0)
    assert estimate_seconds(strata, [dead, *served], 4, 10) == pytest.approx(30.0)


def test_file_whose_images_all_fail_has_no_saving() -> None:
    dead = Measurement(0, "https://a.example/1.jpg", error_code="TIMEOUT")

    assert estimate_saving([Stratum(5, ())], [dead]) is None
    assert estimate_saving([Stratum(5, ())], []) is None
