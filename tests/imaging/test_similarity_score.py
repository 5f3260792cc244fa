"""The score `similarity` of a result."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from gql_imgproc.imaging import similarity_score
from gql_imgproc.imaging.exif import orientation_exif
from gql_imgproc.imaging.formats import FORMATS
from gql_imgproc.imaging.options import ImageFilter, Options, OutputFormat
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import encode, photo, with_alpha
from tests.imaging.corpus.png import encode_png

PHOTO = photo(640, 480)
JPEG = FORMATS["JPEG"]


def score(one: Image.Image, other: Image.Image) -> float:
    """The score of `other` as a result of `one`."""
    return similarity_score.measure(one, encode_png(other), FORMATS["PNG"])


def test_identical_pixels_score_100() -> None:
    jpeg = encode(PHOTO, "JPEG", quality=40)
    for data, outcome in (
        (jpeg, KEPT),
        (encode_png(photo(200, 150)), COMPRESSED),
        (encode(PHOTO, "TIFF"), COMPRESSED),
        (encode(photo(200, 150).quantize(64), "GIF"), KEPT),
    ):
        result = compress_data(data, quality=100 if outcome is COMPRESSED else 50)

        assert (result.outcome, result.similarity) == (outcome, 100.0)


@pytest.mark.parametrize("form", [OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF])
@pytest.mark.parametrize("side", [320, 640])
def test_score_grows_with_quality(form: OutputFormat, side: int) -> None:
    source = encode_png(photo(side, side))

    scores = [compress_data(source, format=form, quality=quality).similarity for quality in (10, 30, 60, 95)]

    assert None not in scores
    assert scores == sorted(scores)
    assert scores[-1] - scores[0] > 15


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_estimate_of_a_jpeg_has_the_pixels_of_the_file(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a large image and its result,
    drawn = photo(1200, 900).convert(mode)
    data = encode(drawn, "JPEG", quality=50, subsampling="4:2:0")

    # when it is estimated from strips that are encoded again, and measured from the same strips of the decoded file,
    compared: list[Image.Image] = []
    compare = similarity_score._measure_errors
    monkeypatch.setattr(similarity_score, "_measure_errors", lambda both: compared.append(both) or compare(both))
    estimated = similarity_score.estimate(drawn, data, JPEG, Options())
    measured = similarity_score.measure(drawn, data, JPEG, 3)

    # then luma is the same, and the score as well, but for chroma at the edges of strips.
    one, other = (both.getchannel(0) for both in compared)
    assert max(abs(a - b) for a, b in zip(one.tobytes(), other.tobytes(), strict=True)) <= (3 if mode == "RGB" else 0)
    assert estimated == pytest.approx(measured, abs=1)


def test_damage_in_one_region_counts_more_than_the_same_error_everywhere() -> None:
    # Given two copies with the same mean squared error: one with a damaged square, one with little noise everywhere,
    square, noisy = PHOTO.copy(), PHOTO.copy()
    box = (256, 192, 384, 288)
    square.paste(PHOTO.crop(box).resize((8, 6)).resize((128, 96)), box)

    def error(other: Image.Image) -> float:
        return sum((a - b) ** 2 for a, b in zip(PHOTO.tobytes(), other.tobytes(), strict=True))

    noise = Image.effect_noise(PHOTO.size, 3).convert("RGB")
    noisy = Image.blend(PHOTO, noise, 0.05)
    damaged, even = score(PHOTO, square), score(PHOTO, noisy)

    # then the damaged one has the lower score.
    assert error(square) < error(noisy)
    assert damaged < even


def test_each_change_of_colour_or_alpha_lowers_the_score() -> None:
    base = with_alpha(PHOTO)
    opaque = base.copy()
    opaque.putalpha(255)
    drawn = base.copy()
    ImageDraw.Draw(drawn).ellipse((200, 150, 400, 350), fill=(255, 0, 0, 255))

    assert score(base, base) == 100.0
    assert score(base, opaque) < 60
    assert score(base, drawn) < 80


def test_source_is_compared_with_its_options_applied() -> None:
    data = encode(PHOTO, "JPEG", quality=95, exif=orientation_exif(6))

    for options in ({"scale": 0.5}, {"filters": (ImageFilter.BLUR,)}, {"format": OutputFormat.WEBP}, {}):
        result = compress_data(data, quality=90, **options)

        assert result.similarity is not None
        assert result.similarity > 75
        assert decode(result.data).size


def test_parts_at_the_edges_count() -> None:
    # Given copies of an image that fills no complete windows, with damage in the last columns or rows,
    base = photo(203, 157)
    for box in ((195, 0, 203, 157), (0, 149, 203, 157)):
        damaged = base.copy()
        damaged.paste("black", box)

        # then their score is low.
        assert score(base, damaged) < 30


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (17, 900), (3000, 40), (700, 700)])
def test_every_shape_has_a_score(size: tuple[int, int]) -> None:
    for form in (OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.PNG):
        result = compress_data(encode_png(photo(*size)), format=form, quality=90)

        assert result.similarity is not None
        assert 0 <= result.similarity <= 100


def test_unknown_score_fails_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise MemoryError

    monkeypatch.setattr(similarity_score, "estimate", fail)

    result = compress_data(encode(PHOTO, "JPEG", quality=95))

    assert (result.outcome, result.similarity) == (COMPRESSED, None)
