"""The option `max_bytes`: the quality is lowered until the file is small enough."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import ImageFilter

from gql_imgproc.imaging import compress as compressing
from gql_imgproc.imaging.options import DEFAULT, OptionInvalid, Options, OutputFormat
from gql_imgproc.imaging.quality_search import MAX_ATTEMPTS, Attempt, find_highest_quality
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.images import encode, photo
from tests.imaging.corpus.png import encode_png

PHOTO = photo(320, 240).filter(ImageFilter.GaussianBlur(1))
SOURCES = {
    "JPEG": encode(PHOTO, "JPEG", quality=95),
    "CMYK JPEG": encode(PHOTO.convert("CMYK"), "JPEG", quality=95),
    "WebP": encode(PHOTO, "WEBP", quality=98),
    "AVIF": encode(PHOTO, "AVIF", quality=95),
}


@pytest.mark.parametrize("name", SOURCES)
def test_result_is_small_enough_and_a_second_pass_changes_nothing(name: str) -> None:
    usual, smallest = (compress_data(SOURCES[name], quality=quality) for quality in (50, 10))
    for part in (0.2, 0.5, 0.8):
        max_bytes = round(len(smallest.data) + part * (len(usual.data) - len(smallest.data)))

        once = compress_data(SOURCES[name], max_bytes=max_bytes)
        twice = compress_data(once.data, max_bytes=max_bytes)

        assert 0.55 * max_bytes <= len(once.data) <= max_bytes
        assert (once.outcome, once.warning) == (COMPRESSED, None)
        assert (twice.outcome, twice.data == once.data) == (KEPT, True)


def test_limit_that_the_quality_observes_changes_nothing() -> None:
    for data in SOURCES.values():
        usual = compress_data(data)

        assert compress_data(data, max_bytes=len(usual.data)) == usual


@pytest.mark.parametrize("name", SOURCES)
def test_limit_that_no_quality_observes_gives_the_smallest_file_and_a_warning(name: str) -> None:
    smallest = compress_data(SOURCES[name], quality=10)

    once = compress_data(SOURCES[name], max_bytes=500)
    twice = compress_data(once.data, max_bytes=500)

    assert once.data == smallest.data
    assert once.warning == (
        f"The result has {len(once.data):,} bytes, more than the 500 of `maxBytes`, and no lower quality would be "
        "small enough. Reduce the size of the image in pixels, or choose WEBP or AVIF."
    )
    assert (twice.outcome, twice.data, twice.warning) == (KEPT, once.data, once.warning)


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP"])
def test_source_without_a_quality_is_compressed_as_usual_and_has_a_warning(form: str) -> None:
    data = encode_png(PHOTO) if form == "PNG" else encode(PHOTO, form)

    result = compress_data(data, max_bytes=500)

    assert result.data == compress_data(data).data
    assert result.warning is not None
    assert f"has {len(result.data):,} bytes" in result.warning


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
def test_conversions_and_scaled_images_observe_the_limit(form: OutputFormat) -> None:
    usual = compress_data(SOURCES["JPEG"], format=form, scale=0.75)
    max_bytes = len(usual.data) * 3 // 4

    result = compress_data(SOURCES["JPEG"], format=form, scale=0.75, max_bytes=max_bytes)

    assert (result.width, result.height) == (240, 180)
    assert len(result.data) <= max_bytes


def test_source_of_a_low_quality_that_is_too_large_is_compressed_further() -> None:
    data = encode(PHOTO, "JPEG", quality=45)

    result = compress_data(data, max_bytes=len(data) * 9 // 10)

    assert result.outcome is COMPRESSED
    assert len(result.data) <= len(data) * 9 // 10


def test_floor_has_priority_over_the_limit() -> None:
    data = SOURCES["JPEG"]
    usual = compress_data(data)
    assert usual.similarity is not None
    floor, max_bytes = int(usual.similarity) - 15, len(usual.data) // 2

    once = compress_data(data, min_similarity=floor, max_bytes=max_bytes)
    twice = compress_data(once.data, min_similarity=floor, max_bytes=max_bytes)

    assert max_bytes < len(once.data) < len(usual.data)
    assert once.similarity is not None
    assert once.similarity >= floor
    assert once.warning is not None
    assert (twice.outcome, twice.data, twice.warning) == (KEPT, once.data, once.warning)


def test_at_most_four_files_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    recompress = compressing._recompress

    def record(source: Any, options: Options, *rest: Any) -> bytes | None:
        calls.append(options.quality)
        return recompress(source, options, *rest)

    monkeypatch.setattr(compressing, "_recompress", record)
    for quality, floor in ((50, None), (90, None), (50, 30), (1, 30)):
        for max_bytes in range(500, 12_000, 1_500):
            calls.clear()
            compress_data(SOURCES["JPEG"], quality=quality, min_similarity=floor, max_bytes=max_bytes)

            assert 1 <= len(calls) <= MAX_ATTEMPTS


@pytest.mark.parametrize("growth", [1.005, 1.02, 1.08])
@pytest.mark.parametrize("highest", [10, 50, 100])
def test_search_finds_a_quality_that_observes_the_limit(highest: int, growth: float) -> None:
    def attempt(quality: int) -> Attempt:
        return Attempt(bytes(round(1000 * growth**quality)), quality, quality=quality)

    for max_bytes in range(1_000, 60_000, 1_000):
        found = find_highest_quality(attempt, 10, highest, max_bytes)

        is_possible = len(attempt(10).data) <= max_bytes
        assert (len(found.data) <= max_bytes) is is_possible
        assert found.quality == 10 if not is_possible else 10 <= found.quality <= highest


def test_options_are_checked_and_stored() -> None:
    options = Options(max_bytes=500_000)

    assert Options.from_json(options.to_json()) == options
    assert options.fingerprint not in (DEFAULT.fingerprint, Options(max_bytes=500_001).fingerprint)
    with pytest.raises(OptionInvalid, match="max_bytes: must be 1 or more"):
        Options(max_bytes=0)
