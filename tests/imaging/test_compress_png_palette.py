"""PNG palettes by Pillow and by libimagequant, and the similarity threshold that they must pass."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageFilter

from gql_imgproc.imaging import color_count, similarity
from gql_imgproc.imaging.codecs import png_palette
from tests.imaging.corpus.compression import COMPRESSED, compress_data
from tests.imaging.corpus.displayed import BACKGROUNDS, decode, displayed_psnr_db, is_displayed_equal, over
from tests.imaging.corpus.images import drawing, photo
from tests.imaging.corpus.png import PALETTE, RGB, SIZES, encode_png, shape, sources

SOURCES = {f"{name}, {w} x {h}": data for w, h in SIZES for name, data in sources((w, h))}


@pytest.mark.parametrize(("quality", "min_db"), [(10, 36), (50, 36), (60, 38), (90, 44)])
def test_drawing_with_alpha_reaches_the_psnr_of_the_quality(quality: int, min_db: float) -> None:
    data = encode_png(drawing(300, 200))
    assert decode(data).getcolors(256) is None

    result = compress_data(data, quality=quality)

    assert shape(result.data)[1] == PALETTE
    assert displayed_psnr_db(data, result.data) >= min_db
    alphas = [decode(file).convert("RGBA").getchannel("A") for file in (data, result.data)]
    assert similarity.psnr(*alphas) >= min_db
    assert compress_data(result.data, quality=quality).data == result.data


def test_quality_100_is_lossless() -> None:
    for data in (encode_png(drawing(300, 200)), encode_png(drawing(300, 200, "#fff").convert("RGB"))):
        assert is_displayed_equal(data, compress_data(data, quality=100).data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_threshold_detects_local_differences_that_psnr_misses(mode: str) -> None:
    one = photo(512, 512).convert(mode)
    strict, lenient = similarity.SimilarityThreshold(36, 8, 8), similarity.SimilarityThreshold(36, 8, 24)
    small, shifted = one.copy(), one.copy()
    small.paste(ImageChops.offset(Image.new("RGB", (8, 8), "#700"), 0).convert(mode), (200, 200))
    shifted.paste(one.crop((0, 0, 8, 8)).point(lambda n: min(255, n + 16)), (0, 0))

    assert similarity.is_similar(strict, one, one)
    assert min(similarity.psnr(one, small), similarity.psnr(one, shifted)) > 36
    assert not similarity.is_similar(strict, one, small)
    assert not similarity.is_similar(lenient, one, small)
    assert not similarity.is_similar(strict, one, shifted)
    assert similarity.is_similar(lenient, one, shifted)


def test_threshold_ignores_transparent_pixels() -> None:
    grey = Image.new("RGBA", (512, 512), "#8080")
    grey.paste(Image.new("RGBA", (16, 16), "#888"), (0, 0))
    brighter = grey.copy()
    brighter.paste(Image.new("RGBA", (16, 16), "#8f8f8f"), (0, 0))
    alpha = grey.copy()
    alpha.putpixel((0, 0), (136, 136, 136, 0))

    # A difference of 7 levels is 31 dB over the visible pixels. Over all pixels, it would be 61 dB.
    assert similarity.is_similar(similarity.SimilarityThreshold(30, 8, 8), grey, brighter)
    assert not similarity.is_similar(similarity.SimilarityThreshold(32, 8, 8), grey, brighter)
    assert similarity.is_similar(similarity.SimilarityThreshold(24, 8, 8), grey, alpha)
    assert not similarity.is_similar(similarity.SimilarityThreshold(26, 8, 8), grey, alpha)


rgba = st.tuples(*[st.integers(0, 255)] * 4)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(rgba, st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_every_color_gets_one_of_at_most_so_many_colors(counts: dict[color_count.Color, int], max_colors: int) -> None:
    replacements = color_count.reduce_colors(counts, max_colors)

    assert set(replacements) == set(counts)
    assert len(set(replacements.values())) <= max_colors
    if len(counts) <= max_colors:
        assert all(
            a == to[3] and (a == 0 or _looks_equal((r, g, b, a), to)) for (r, g, b, a), to in replacements.items()
        )


def _looks_equal(one: color_count.Color, other: color_count.Color) -> bool:
    """Whether both look equal. A low alpha hides differences of colour."""
    return all(abs(a - b) * one[3] <= 2 * 255 for a, b in zip(one, other, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(rgba, min_size=1, max_size=256), st.integers(1, 30), st.integers(1, 30), st.randoms())
def test_few_colors_get_an_exact_palette(
    colors: list[color_count.Color], width: int, height: int, chance: random.Random
) -> None:
    rows = b"".join(bytes(chance.choice(colors)) for _ in range(width * height))
    image = Image.frombytes("RGBA", (width, height), rows)

    [reduced] = png_palette.reduce(image, 50, has_profile=False)

    assert all(over(reduced, background).tobytes() == over(image, background).tobytes() for background in BACKGROUNDS)


class FakeQuantizer:
    """Replaces libimagequant. Its 256 colours have an error of `error` levels; None: it refuses."""

    def __init__(self, error: int | None) -> None:
        self.error, self.calls = error, 0

    def __call__(self, data: bytes, width: int, height: int, *_: float) -> tuple[bytes, list[int]]:
        self.calls += 1
        if self.error is None:
            raise RuntimeError("Quality too low")
        image = Image.frombytes("RGBA", (width, height), data).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
        levels = [min(255, level + self.error) for level in image.getpalette() or []]
        return image.tobytes(), [n for at in range(0, len(levels), 3) for n in (*levels[at : at + 3], 255)]


@pytest.mark.parametrize(("error", "color_type"), [(0, PALETTE), (40, RGB), (None, RGB)])
def test_libimagequant_result_must_pass_the_threshold(
    monkeypatch: pytest.MonkeyPatch, error: int | None, color_type: int
) -> None:
    quantizer = FakeQuantizer(error)
    monkeypatch.setattr(png_palette, "libimagequant", quantizer)
    # A soft gradient: 256 colours are enough for its many colours, but Pillow's coarse sample does not show it.
    monkeypatch.setattr(png_palette, "_MIN_SAMPLE_DB", math.inf)
    soft = Image.merge("RGB", [Image.radial_gradient("L").rotate(20 * n).resize((200, 150)) for n in range(3)])
    data = encode_png(soft.point(lambda n: n // 4 + 90))

    result = compress_data(data)

    assert (quantizer.calls, result.outcome, shape(result.data)[1]) == (1, COMPRESSED, color_type)
    assert displayed_psnr_db(data, result.data) >= (36 if error == 0 else 99)


@pytest.fixture
def _libimagequant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enables libimagequant if the extra is installed."""
    real = pytest.importorskip("imagequant", reason="needs the extra `imagequant`, which is under the GPL")
    monkeypatch.setattr(png_palette, "libimagequant", real.quantize_raw_rgba_bytes)


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_results_are_faithful_and_stable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = {name: compress_data(data) for name, data in SOURCES.items()}

    for name, result in results.items():
        min_db = 35.9 if "photograph" in name else 99
        assert result.outcome is COMPRESSED
        assert displayed_psnr_db(SOURCES[name], result.data) >= min_db
        assert compress_data(result.data).data == result.data
    monkeypatch.setattr(png_palette, "libimagequant", None)
    for result in results.values():
        assert compress_data(result.data).data == result.data


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_reduces_photographs_to_a_palette() -> None:
    data = encode_png(photo(200, 150).filter(ImageFilter.GaussianBlur(3)))

    result = compress_data(data)

    assert shape(result.data) == (8, PALETTE, 0)
    assert displayed_psnr_db(data, result.data) >= 36
    assert displayed_psnr_db(data, compress_data(data, quality=60).data) >= 38
    assert is_displayed_equal(data, compress_data(data, quality=100).data)
