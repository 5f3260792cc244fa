"""PNG: which colours are shown by one of a palette, behind a gate, by Pillow or by libimagequant."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageFilter

from gql_imgproc.imaging import color_count
from gql_imgproc.imaging import similarity as gates
from gql_imgproc.imaging.codecs import png_palette
from tests.imaging.corpus.compressing import COMPRESSED, done
from tests.imaging.corpus.displayed import GROUNDS, fidelity, looks_the_same, opened, over
from tests.imaging.corpus.images import drawing, photo
from tests.imaging.corpus.png import PALETTE, RGB, SIZES, saved, shape, sources

SOURCES = {f"{name}, {w} x {h}": data for w, h in SIZES for name, data in sources((w, h))}


@pytest.mark.parametrize(("quality", "least_db"), [(10, 36), (50, 36), (60, 38), (90, 44)])
def test_a_drawing_with_alpha_is_faithful_over_any_ground(quality: int, least_db: float) -> None:
    data = saved(drawing(300, 200))
    assert opened(data).getcolors(256) is None

    result = done(data, quality=quality)

    assert shape(result.data)[1] == PALETTE
    assert fidelity(data, result.data) >= least_db
    alphas = [opened(file).convert("RGBA").getchannel("A") for file in (data, result.data)]
    assert gates.psnr(*alphas) >= least_db
    assert done(result.data, quality=quality).data == result.data


def test_quality_100_is_lossless() -> None:
    for data in (saved(drawing(300, 200)), saved(drawing(300, 200, "#fff").convert("RGB"))):
        assert looks_the_same(data, done(data, quality=100).data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_gate_sees_what_the_mean_does_not(mode: str) -> None:
    one = photo(512, 512).convert(mode)
    strict, lenient = gates.SimilarityThreshold(36, 8, 8), gates.SimilarityThreshold(36, 8, 24)
    small, moved = one.copy(), one.copy()
    small.paste(ImageChops.offset(Image.new("RGB", (8, 8), "#700"), 0).convert(mode), (200, 200))
    moved.paste(one.crop((0, 0, 8, 8)).point(lambda n: min(255, n + 16)), (0, 0))

    assert gates.is_similar(strict, one, one)
    assert min(gates.psnr(one, small), gates.psnr(one, moved)) > 36
    assert not gates.is_similar(strict, one, small)
    assert not gates.is_similar(lenient, one, small)
    assert not gates.is_similar(strict, one, moved)
    assert gates.is_similar(lenient, one, moved)


def test_the_gate_measures_what_can_be_seen() -> None:
    grey = Image.new("RGBA", (512, 512), "#8080")
    grey.paste(Image.new("RGBA", (16, 16), "#888"), (0, 0))
    off = grey.copy()
    off.paste(Image.new("RGBA", (16, 16), "#8f8f8f"), (0, 0))
    alpha = grey.copy()
    alpha.putpixel((0, 0), (136, 136, 136, 0))

    # 7 levels are 31 dB; over all pixels, nearly all of which are clear, they would be 61.
    assert gates.is_similar(gates.SimilarityThreshold(30, 8, 8), grey, off)
    assert not gates.is_similar(gates.SimilarityThreshold(32, 8, 8), grey, off)
    assert gates.is_similar(gates.SimilarityThreshold(24, 8, 8), grey, alpha)
    assert not gates.is_similar(gates.SimilarityThreshold(26, 8, 8), grey, alpha)


rgba = st.tuples(*[st.integers(0, 255)] * 4)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(rgba, st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_colours_are_joined_to_so_many_and_each_has_one(counts: dict[color_count.Color, int], most: int) -> None:
    shown = color_count.reduce_colors(counts, most)

    assert set(shown) == set(counts)
    assert len(set(shown.values())) <= most
    if len(counts) <= most:
        assert all(a == to[3] and (a == 0 or _near((r, g, b, a), to)) for (r, g, b, a), to in shown.items())


def _near(one: color_count.Color, other: color_count.Color) -> bool:
    """Whether both show the same: what is nearly clear hides colours."""
    return all(abs(a - b) * one[3] <= 2 * 255 for a, b in zip(one, other, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(rgba, min_size=1, max_size=256), st.integers(1, 30), st.integers(1, 30), st.randoms())
def test_few_colours_are_numbered_exactly(
    colours: list[color_count.Color], width: int, height: int, chance: random.Random
) -> None:
    rows = b"".join(bytes(chance.choice(colours)) for _ in range(width * height))
    image = Image.frombytes("RGBA", (width, height), rows)

    [made] = png_palette.reduce(image, 50, has_profile=False)

    assert all(over(made, ground).tobytes() == over(image, ground).tobytes() for ground in GROUNDS)


class Quantiser:
    """Stands for libimagequant: 256 colours of which all are `off` by so much, or a refusal."""

    def __init__(self, off: int | None) -> None:
        self.off, self.calls = off, 0

    def __call__(self, data: bytes, width: int, height: int, *_: float) -> tuple[bytes, list[int]]:
        self.calls += 1
        if self.off is None:
            raise RuntimeError("Quality too low")
        image = Image.frombytes("RGBA", (width, height), data).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT)
        levels = [min(255, level + self.off) for level in image.getpalette() or []]
        return image.tobytes(), [n for at in range(0, len(levels), 3) for n in (*levels[at : at + 3], 255)]


@pytest.mark.parametrize(("off", "colour"), [(0, PALETTE), (40, RGB), (None, RGB)])
def test_libimagequant_stands_behind_the_gate(monkeypatch: pytest.MonkeyPatch, off: int | None, colour: int) -> None:
    quantiser = Quantiser(off)
    monkeypatch.setattr(png_palette, "libimagequant", quantiser)
    # A soft gradient: many colours, for which a palette of 256 is good enough, but not for Pillow's coarse sample.
    monkeypatch.setattr(png_palette, "_MIN_SAMPLE_DB", math.inf)
    soft = Image.merge("RGB", [Image.radial_gradient("L").rotate(20 * n).resize((200, 150)) for n in range(3)])
    data = saved(soft.point(lambda n: n // 4 + 90))

    result = done(data)

    assert (quantiser.calls, result.outcome, shape(result.data)[1]) == (1, COMPRESSED, colour)
    assert fidelity(data, result.data) >= (36 if off == 0 else 99)


@pytest.fixture
def _libimagequant(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, where the extra is installed."""
    real = pytest.importorskip("imagequant", reason="needs the extra `imagequant`, which is under the GPL")
    monkeypatch.setattr(png_palette, "libimagequant", real.quantize_raw_rgba_bytes)


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_is_faithful_and_nothing_changes_twice_with_it_or_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = {name: done(data) for name, data in SOURCES.items()}

    for name, result in results.items():
        exact = "photograph" not in name
        assert result.outcome is COMPRESSED
        assert looks_the_same(SOURCES[name], result.data) if exact else fidelity(SOURCES[name], result.data) >= 35.9
        assert done(result.data).data == result.data
    monkeypatch.setattr(png_palette, "libimagequant", None)
    for result in results.values():
        assert done(result.data).data == result.data


@pytest.mark.usefixtures("_libimagequant")
def test_libimagequant_makes_palettes_of_photographs() -> None:
    data = saved(photo(200, 150).filter(ImageFilter.GaussianBlur(3)))

    result = done(data)

    assert shape(result.data) == (8, PALETTE, 0)
    assert fidelity(data, result.data) >= 36
    assert fidelity(data, done(data, quality=60).data) >= 38
    assert looks_the_same(data, done(data, quality=100).data)
