"""The option `min_similarity`: the quality is raised until the decoded result is similar enough."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from PIL import Image, ImageFilter

from benchmarks.similarity import dssim
from gql_imgproc.imaging import compress as compressing
from gql_imgproc.imaging import floor_mark
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import DEFAULT, OptionInvalid, Options, OutputFormat
from gql_imgproc.imaging.quality_search import MAX_ATTEMPTS, Attempt, find_lowest_quality
from gql_imgproc.standalone.sample_images import render_photo
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import drawing, encode, photo, with_alpha
from tests.imaging.corpus.png import encode_png
from tests.imaging.test_compress_twice import encode_source

PHOTO = photo(320, 240).filter(ImageFilter.GaussianBlur(1))
SOURCES = {
    "JPEG": encode(PHOTO, "JPEG", quality=95),
    "grey JPEG": encode(PHOTO.convert("L"), "JPEG", quality=95),
    "CMYK JPEG": encode(PHOTO.convert("CMYK"), "JPEG", quality=95),
    # The quantizer takes most of the time.
    "PNG": encode_png(PHOTO.resize((120, 90))),
    "PNG with alpha": encode_png(with_alpha(PHOTO.resize((120, 90)))),
    "WebP": encode(PHOTO, "WEBP", quality=98),
    "WebP with alpha": encode(with_alpha(PHOTO), "WEBP", quality=98),
    "AVIF": encode(PHOTO, "AVIF", quality=95),
}


@pytest.mark.parametrize("quality", [1, 50])
@pytest.mark.parametrize("name", SOURCES)
def test_floor_holds_and_a_second_pass_changes_nothing(name: str, quality: int) -> None:
    data = SOURCES[name]
    for floor in (40, 75, 92):
        once = compress_data(data, quality=quality, min_similarity=floor)
        twice = compress_data(once.data, quality=quality, min_similarity=floor)

        assert once.similarity is not None
        assert once.similarity >= floor
        assert len(once.data) <= len(data)
        assert (twice.outcome, twice.data == once.data, twice.similarity) == (KEPT, True, 100.0)


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.PNG])
def test_floor_holds_in_conversions_and_is_recognized_afterwards(form: OutputFormat) -> None:
    source = SOURCES["PNG" if form is OutputFormat.PNG else "PNG with alpha"]
    for options in ({"quality": 1}, {"quality": 50}):
        once = compress_data(source, format=form, min_similarity=85, scale=0.75, **options)
        twice = compress_data(once.data, format=form, min_similarity=85, **options)

        assert once.similarity is not None
        assert once.similarity >= 85
        assert (twice.outcome, twice.data == once.data) == (KEPT, True)


def test_without_a_lowest_quality_the_file_is_smaller_the_lower_the_floor() -> None:
    data = SOURCES["JPEG"]

    sizes = [len(compress_data(data, quality=1, min_similarity=floor).data) for floor in (30, 60, 80, 92)]

    assert sizes == sorted(sizes)
    assert sizes[0] < len(compress_data(data).data) < sizes[-1]


def test_floor_that_the_quality_reaches_changes_nothing() -> None:
    for data in SOURCES.values():
        assert compress_data(data, min_similarity=0).data == compress_data(data).data


def test_source_that_cannot_be_made_smaller_at_the_floor_is_kept() -> None:
    data = encode(PHOTO, "JPEG", quality=70)

    result = compress_data(data, min_similarity=100)

    assert (result.outcome, result.data, result.similarity) == (KEPT, data, 100.0)


def test_mark_says_which_floor_a_file_was_made_for() -> None:
    made = compress_data(SOURCES["JPEG"], quality=1, min_similarity=80).data
    assert floor_mark.read(made, "JPEG") == 80

    # A higher floor holds for the file itself. A lower one, and options without one, compress it like any other source.
    assert compress_data(made, quality=1, min_similarity=90).outcome is KEPT
    lower = compress_data(made, quality=1, min_similarity=40)
    assert (lower.outcome, floor_mark.read(lower.data, "JPEG")) == (COMPRESSED, 40)
    assert floor_mark.read(compress_data(made, quality=20).data, "JPEG") is None


def test_at_most_four_files_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    recompress = compressing._recompress

    def record(source: Any, options: Options, *rest: Any) -> bytes | None:
        calls.append(options.quality)
        return recompress(source, options, *rest)

    monkeypatch.setattr(compressing, "_recompress", record)
    for floor in range(0, 101, 10):
        calls.clear()
        compress_data(SOURCES["JPEG"], quality=1, min_similarity=floor)

        assert 1 <= len(calls) <= MAX_ATTEMPTS


@pytest.mark.parametrize("steepness", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("lowest", [1, 50, 100])
def test_search_finds_a_quality_that_reaches_the_floor(lowest: int, steepness: float) -> None:
    for floor in range(0, 101, 5):

        def attempt(quality: int) -> Attempt:
            return Attempt(bytes((quality,)), max(0.0, 100 - steepness * (100 - quality)))

        found = find_lowest_quality(attempt, lowest, floor)

        assert found.similarity is not None
        assert found.data is not None
        assert found.similarity >= floor
        assert found.data[0] >= lowest


@pytest.mark.parametrize(
    ("scores", "lowest", "expected"),
    [
        # Measured for photographs: each search ended at 100, because its lines were too low three times.
        ({1: 20, 50: 71.6, 62: 74.8, 100: 95.7}, 63, 64),
        ({1: 20, 50: 73.0, 58: 74.9, 100: 91.6}, 59, 59),
        ({1: 10, 50: 68.4, 65: 71.9, 73: 74.5, 100: 90}, 74, 76),
    ],
)
def test_search_ends_near_the_lowest_quality(scores: dict[int, float], lowest: int, expected: int) -> None:
    # Given the scores of these qualities and of those between them, and a floor of 75,
    def score(quality: int) -> float:
        (low, one), (high, other) = next(pair for pair in pairwise(scores.items()) if quality <= pair[1][0])
        return one + (other - one) * (quality - low) / (high - low)

    assert score(lowest - 1) < 75 <= score(lowest)

    # when the quality is searched, then the file is hardly better than necessary.
    found = find_lowest_quality(lambda quality: Attempt(b"", score(quality), quality=quality), 1, 75)

    assert found.quality == expected


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_floor_holds_by_another_metric_in_fewer_bytes_than_a_fixed_quality(form: OutputFormat) -> None:
    # Given images that need different qualities, of which one has much noise,
    noise = Image.frombytes("L", (320, 240), random.Random(0).randbytes(320 * 240)).convert("RGB")
    images = [photo(320, 240).filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 3)]
    images += [drawing(320, 240, "#fff").convert("RGB"), Image.blend(images[0], noise, 0.1)]
    chance = random.Random(1)
    images += [render_photo(chance, 320, 240, product) for product in ("clock", "boots", "lamp")]

    def compress_all(**options: Any) -> tuple[int, float]:
        """The bytes of all results, and the structural dissimilarity of the worst one."""
        results = [compress_data(encode_png(image), format=form, **options) for image in images]
        worst = max(dssim(image, decode(result.data)) for image, result in zip(images, results, strict=True))
        return sum(len(result.data) for result in results), worst

    # when they are compressed to a floor of 75,
    size, worst = compress_all(quality=1, min_similarity=75)

    # then none differs much, and the lowest fixed quality at which no image is worse takes more bytes.
    assert worst < 0.04
    fixed = next(fixed for fixed, other in (compress_all(quality=n) for n in range(30, 101, 5)) if other <= worst)
    assert size < fixed


def test_options_are_checked_and_stored() -> None:
    options = Options(min_similarity=80)

    assert Options.from_json(options.to_json()) == options
    assert options.fingerprint not in (DEFAULT.fingerprint, Options(min_similarity=81).fingerprint)
    for value in (-1, 101):
        with pytest.raises(OptionInvalid, match="min_similarity: must be from 0 to 100"):
            Options(min_similarity=value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG", "WEBP", "AVIF"])
def test_second_pass_keeps_every_output_of_a_floor(name: str) -> None:
    limits = ImageLimits(min_saving_percent=0)
    for seed in range(60):
        data = encode_source(name, random.Random(seed))
        options = Options(quality=random.Random(seed).choice([1, 50]), min_similarity=75)

        once = compress(data, options, limits)
        twice = compress(once.data, options, limits)

        assert len(once.data) <= len(data), seed
        assert once.similarity is not None
        assert once.similarity >= 75, seed
        assert (twice.outcome, twice.data == once.data) == (KEPT, True), seed
