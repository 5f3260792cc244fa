"""PNG palettes, and the similarity threshold that they must pass."""

from __future__ import annotations

import random
import subprocess
import sys
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from benchmarks.similarity import psnr_db
from gql_imgproc.imaging import color_count, similarity
from gql_imgproc.imaging.codecs import png_palette
from gql_imgproc.imaging.options import Effort
from tests.imaging.corpus.compression import KEPT, compress_data
from tests.imaging.corpus.displayed import BACKGROUNDS, decode, displayed_psnr_db, is_displayed_equal, over
from tests.imaging.corpus.images import drawing, photo
from tests.imaging.corpus.png import PALETTE, encode_png, shape


@pytest.mark.parametrize(("quality", "min_db"), [(10, 36), (50, 36), (60, 38), (90, 44)])
def test_drawing_with_alpha_reaches_the_psnr_of_the_quality(quality: int, min_db: float) -> None:
    data = encode_png(drawing(300, 200))
    assert decode(data).getcolors(256) is None

    result = compress_data(data, quality=quality)

    assert shape(result.data)[1] == PALETTE
    assert displayed_psnr_db(data, result.data) >= min_db
    alphas = [decode(file).convert("RGBA").getchannel("A") for file in (data, result.data)]
    assert psnr_db(*alphas) >= min_db
    assert compress_data(result.data, quality=quality).data == result.data


def test_quality_100_is_lossless() -> None:
    for data in (encode_png(drawing(300, 200)), encode_png(drawing(300, 200, "#fff").convert("RGB"))):
        assert is_displayed_equal(data, compress_data(data, quality=100).data)


def test_noise_is_quantized_with_less_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a photograph, and one with much noise, for which a palette takes longest and fails,
    clean = photo(240, 200).filter(ImageFilter.GaussianBlur(2))
    noise = Image.merge("RGB", [Image.effect_noise(clean.size, 60) for _ in range(3)])
    efforts: list[tuple[tuple[int, int], int]] = []
    quantize = png_palette._quantize

    def record(image: Image.Image, vips_effort: int, target_quality: int) -> bytes:
        efforts.append((image.size, vips_effort))
        return quantize(image, vips_effort, target_quality)

    monkeypatch.setattr(png_palette, "_quantize", record)
    for image, vips_effort in ((clean, 6), (Image.blend(clean, noise, 0.5), 3)):
        efforts.clear()

        # when a palette is made, then a sample tells them apart.
        palette = png_palette.reduce(image, 50)

        assert efforts == [((60, 50), 3), ((240, 200), vips_effort)]
        assert (palette is not None) == (vips_effort == 6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_threshold_detects_local_differences_that_psnr_misses(mode: str) -> None:
    one = photo(512, 512).convert(mode)
    strict, lenient = similarity.SimilarityThreshold(36, 8, 8), similarity.SimilarityThreshold(36, 8, 24)
    small, shifted = one.copy(), one.copy()
    small.paste(ImageChops.offset(Image.new("RGB", (8, 8), "#700"), 0).convert(mode), (200, 200))
    shifted.paste(one.crop((0, 0, 8, 8)).point(lambda n: min(255, n + 16)), (0, 0))

    assert similarity.is_similar(strict, one, one)
    assert min(psnr_db(one, small), psnr_db(one, shifted)) > 36
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
@given(st.lists(rgba, min_size=1, max_size=256), st.integers(1, 30), st.integers(1, 30), st.randoms())
def test_few_colors_get_an_exact_palette(
    colors: list[color_count.Color], width: int, height: int, chance: random.Random
) -> None:
    rows = b"".join(bytes(chance.choice(colors)) for _ in range(width * height))
    image = Image.frombytes("RGBA", (width, height), rows)

    counts = color_count.count_colors(image, 256)
    assert counts is not None
    reduced = color_count.exact_palette(image, counts)

    assert png_palette.reduce(image, 50) is None
    assert all(over(reduced, background).tobytes() == over(image, background).tobytes() for background in BACKGROUNDS)


def soft_photo(width: int = 300, height: int = 200) -> Image.Image:
    return photo(width, height).filter(ImageFilter.GaussianBlur(2))


def cut_out() -> Image.Image:
    """A photograph with soft edges before nothing."""
    image, mask = soft_photo().convert("RGBA"), Image.new("L", (300, 200))
    ImageDraw.Draw(mask).ellipse((40, 30, 240, 170), fill=255)
    image.putalpha(mask.filter(ImageFilter.GaussianBlur(4)))
    return image


@pytest.mark.parametrize("image", [soft_photo(), cut_out()], ids=["photograph", "cut-out"])
def test_photograph_gets_a_palette_that_a_second_pass_keeps(image: Image.Image) -> None:
    data = encode_png(image, compress_level=6)

    result = compress_data(data)

    assert shape(result.data) == (8, PALETTE, 0)
    assert len(result.data) < 0.6 * len(data)
    assert displayed_psnr_db(data, result.data) >= 36
    assert displayed_psnr_db(data, compress_data(data, quality=60).data) >= 38
    assert is_displayed_equal(data, compress_data(data, quality=100).data)
    assert compress_data(result.data).data == result.data
    assert compress_data(data).data == result.data


def test_soft_edges_keep_their_alpha() -> None:
    before = cut_out().getchannel("A")

    after = decode(compress_data(encode_png(cut_out())).data).convert("RGBA").getchannel("A")

    pairs = list(zip(before.tobytes(), after.tobytes(), strict=True))
    hard = [(a, b) for a, b in pairs if a in (0, 255)]
    assert sum(a != b for a, b in hard) <= len(hard) / 100
    squares = zip(before.reduce(4).tobytes(), after.reduce(4).tobytes(), strict=True)
    shifts = [abs(a - b) for a, b in squares if a not in (0, 255)]
    assert sum(shifts) / len(shifts) <= 2


@pytest.mark.parametrize("changed", ["hard", "soft"])
def test_palette_that_changes_alpha_is_refused(changed: str) -> None:
    image = cut_out()
    alpha = image.getchannel("A")
    moved = alpha.point(lambda n: {"hard": max(1, n), "soft": n if n in (0, 255) else max(1, n - 5)}[changed])
    other = image.copy()
    other.putalpha(moved)

    assert png_palette._keeps_alpha(image, image)
    assert not png_palette._keeps_alpha(image, other)


@pytest.mark.parametrize("error", [0, 40])
def test_palette_must_pass_the_threshold(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    real = png_palette._quantize
    monkeypatch.setattr(
        png_palette, "_quantize", lambda image, *settings: real(image.point(lambda n: min(255, n + error)), *settings)
    )

    assert (png_palette.reduce(soft_photo(), 50) is None) is (error > 0)


def test_large_image_is_quantized_with_less_effort_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    efforts: list[int] = []
    real = png_palette._quantize
    monkeypatch.setattr(
        png_palette, "_quantize", lambda image, effort, quality: efforts.append(effort) or real(image, effort, quality)
    )
    monkeypatch.setattr(png_palette, "_EFFORTS", {Effort.BALANCED: ((10_000, 6), (30_000, 3))})

    results = [png_palette.reduce(soft_photo(*size), 50) for size in [(100, 100), (200, 150), (200, 151)]]

    # Before effort 6, a sample is quantized.
    assert efforts == [3, 6, 3]
    assert [result is None for result in results] == [False, False, True]


def test_memory_that_libvips_would_need_is_required_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the process where Pillow raises an exception."""
    monkeypatch.setattr(png_palette, "require_memory", Mock(side_effect=MemoryError))
    data = encode_png(soft_photo())

    result = compress_data(data)

    assert (result.outcome, result.data) == (KEPT, data)


def test_libvips_is_loaded_only_to_quantize() -> None:
    """It starts threads, which would not survive the fork of a worker; a command needs no quantizer."""
    code = (
        "import sys, gql_imgproc.worker.actors, gql_imgproc.cli; assert 'pyvips' not in sys.modules; "
        "from PIL import Image; from gql_imgproc.imaging.codecs import png_palette; "
        "bands = [Image.radial_gradient('L').rotate(20 * n).point(lambda n: n // 4 + 90) for n in range(3)]; "
        "assert png_palette.reduce(Image.merge('RGB', bands), 50); import pyvips; "
        "assert pyvips.vips_lib.vips_concurrency_get() == 1"
    )

    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (process.returncode, process.stderr) == (0, "")
