"""Each format: smaller or kept, and nothing lost that can be seen."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.imaging.codecs.jpeg import quantization_tables
from gql_imgproc.imaging.codecs.webp import coarsest_quantizer, quantizer_index
from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import Options
from tests.imaging.corpus.compressing import COMPRESSED, KEPT, done
from tests.imaging.corpus.displayed import fidelity, look_alike, opened
from tests.imaging.corpus.images import DURATIONS, SRGB, animated, bytes_of, drawing, photo, with_alpha


def on_white(width: int = 240, height: int = 160) -> Image.Image:
    return drawing(width, height, "#fff").convert("RGB")


SOURCES: dict[str, tuple[bytes, ImageOutcome, float]] = {
    "jpeg": (bytes_of(photo(), "JPEG", quality=92), COMPRESSED, 28),
    # The grain of its own that each band has is lost with three quarters of the chroma.
    "jpeg 4:4:4": (bytes_of(photo(), "JPEG", quality=92, subsampling=0), COMPRESSED, 24),
    "jpeg progressive": (bytes_of(photo(), "JPEG", quality=92, progressive=True), COMPRESSED, 28),
    "jpeg grey": (bytes_of(photo().convert("L"), "JPEG", quality=92), COMPRESSED, 28),
    "jpeg cmyk": (bytes_of(photo().convert("CMYK"), "JPEG", quality=92), COMPRESSED, 28),
    "jpeg of quality 50": (bytes_of(photo(), "JPEG", quality=50), KEPT, 99),
    "jpeg of quality 15": (bytes_of(photo(), "JPEG", quality=15), KEPT, 99),
    "png drawing": (bytes_of(on_white(), "PNG"), COMPRESSED, 36),
    "png large drawing": (bytes_of(on_white(600, 400), "PNG"), COMPRESSED, 36),
    "png photo": (bytes_of(photo(), "PNG", compress_level=1), COMPRESSED, 99),
    "png large photo": (bytes_of(photo(400, 300), "PNG", compress_level=0), COMPRESSED, 99),
    "png with alpha": (bytes_of(with_alpha(on_white()), "PNG", compress_level=0), COMPRESSED, 42),
    "png with idle alpha": (bytes_of(photo(400, 300).convert("RGBA"), "PNG"), COMPRESSED, 99),
    "png LA": (bytes_of(with_alpha(photo().convert("L")), "PNG", compress_level=0), COMPRESSED, 99),
    "png L": (bytes_of(on_white(400, 300).convert("L"), "PNG", compress_level=0), COMPRESSED, 99),
    "png 1": (bytes_of(on_white(400, 300).convert("1"), "PNG", compress_level=0), COMPRESSED, 99),
    "png P": (bytes_of(on_white(400, 300).quantize(64), "PNG", compress_level=0), COMPRESSED, 99),
    "webp": (bytes_of(photo(), "WEBP", quality=92), COMPRESSED, 28),
    "webp with alpha": (bytes_of(with_alpha(photo()), "WEBP", quality=92), COMPRESSED, 28),
    "webp lossless": (bytes_of(photo(), "WEBP", lossless=True), KEPT, 99),
    "webp of quality 20": (bytes_of(photo(), "WEBP", quality=20), KEPT, 99),
    "avif": (bytes_of(photo(), "AVIF", quality=92, speed=9), COMPRESSED, 28),
    "avif with alpha": (bytes_of(with_alpha(photo()), "AVIF", quality=92, speed=9), COMPRESSED, 28),
    "gif": (bytes_of(photo(), "GIF"), KEPT, 99),
    "tiff": (bytes_of(on_white(), "TIFF"), COMPRESSED, 99),
    "tiff cmyk": (bytes_of(on_white().convert("CMYK"), "TIFF"), COMPRESSED, 99),
    "tiff jpeg": (bytes_of(photo(), "TIFF", compression="jpeg"), KEPT, 99),
    "bmp photo": (bytes_of(photo(), "BMP"), KEPT, 99),
    "bmp drawing": (bytes_of(on_white().quantize(20).convert("RGB"), "BMP"), COMPRESSED, 99),
}


@pytest.mark.parametrize("name", SOURCES)
def test_smaller_or_kept_and_looks_the_same(name: str) -> None:
    data, outcome, least_db = SOURCES[name]

    result = done(data)

    header, again = inspect(data, ImageLimits()), inspect(result.data, ImageLimits())
    assert result.outcome is outcome
    assert len(result.data) <= len(data) * 0.95 if outcome is COMPRESSED else result.data == data
    assert again == header
    assert (result.width, result.height, result.media_type) == (header.width, header.height, header.media_type)
    assert fidelity(data, result.data) >= least_db


@pytest.mark.parametrize("name", SOURCES)
def test_a_second_pass_changes_nothing(name: str) -> None:
    once = done(SOURCES[name][0]).data

    twice = done(once)

    assert (twice.outcome, twice.data == once) == (KEPT, True)


def test_jpeg_is_what_libjpeg_makes_of_the_quality_from_the_same_pixels() -> None:
    data = bytes_of(photo(), "JPEG", quality=92)

    result = done(data)

    naive = bytes_of(opened(data), "JPEG", quality=50)
    assert opened(result.data).tobytes() == opened(naive).tobytes()
    assert len(result.data) < len(naive)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 100])
def test_tables_are_those_of_libjpeg(quality: int) -> None:
    written = Image.open(BytesIO(bytes_of(photo(16, 16), "JPEG", quality=quality)))

    assert list(map(list, quantization_tables(quality))) == [written.quantization[0], written.quantization[1]]


def test_jpeg_tables_are_the_coarser_of_both_in_each_coefficient() -> None:
    flat = [[60] * 64, [60] * 64]
    data = bytes_of(photo(), "JPEG", qtables=flat)
    assert sum(flat[0]) > sum(quantization_tables(50)[0])
    finer = bytes_of(photo(), "JPEG", qtables=[[40] * 64, [60] * 64])

    result = done(finer)

    assert done(data).outcome is KEPT
    written = Image.open(BytesIO(result.data)).quantization
    assert written[0] == [max(40, n) for n in quantization_tables(50)[0]]
    assert written[1] == [max(60, n) for n in quantization_tables(50)[1]]


@pytest.mark.parametrize("quality", [10, 50, 55, 70, 90, 100])
def test_the_quantizer_index_a_webp_is_read_from_its_bytes(quality: int) -> None:
    result = done(bytes_of(photo(), "WEBP", quality=100), quality=quality, max_width=200)

    stream = memoryview(result.data)[20:]
    assert result.data[12:16] == b"VP8 "
    wanted = quantizer_index(quality)
    assert wanted <= coarsest_quantizer(stream) <= wanted + 25


@pytest.mark.parametrize(("name", "how"), [("WEBP", {"quality": 92}), ("PNG", {"compress_level": 0}), ("GIF", {})])
def test_an_animation_keeps_frames_durations_and_plays(name: str, how: dict[str, Any]) -> None:
    data = animated(name, loop=3, **how)

    result = done(data)

    before, after = Image.open(BytesIO(data)), Image.open(BytesIO(result.data))
    assert result.outcome is (KEPT if name == "GIF" else COMPRESSED)
    assert (after.n_frames, after.info["loop"]) == (4, 3)
    for n, duration in enumerate(DURATIONS):
        before.seek(n)
        after.seek(n)
        after.load()
        assert after.info["duration"] == duration
        assert look_alike([before.convert("RGBA")], [after.convert("RGBA")]) >= (28 if name == "WEBP" else 99)
    assert done(result.data).outcome is KEPT


def test_what_pillow_cannot_carry_over_is_kept() -> None:
    data = animated("AVIF")

    assert done(data).data == data


def with_exif(image: Image.Image, name: str, orientation: int, **how: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera that nobody need know"
    return bytes_of(image, name, exif=exif, icc_profile=SRGB, **how)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "WEBP", "PNG", "AVIF"])
def test_orientation_and_profile_stay_and_the_camera_goes(name: str, orientation: int) -> None:
    how = {"compress_level": 0} if name == "PNG" else {"quality": 92}
    data = with_exif(photo(96, 64), name, orientation, **how)

    result = done(data)

    after = opened(result.data)
    assert result.outcome is COMPRESSED
    assert after.size == (96, 64)
    assert (result.width, result.height) == ((64, 96) if orientation >= 5 else (96, 64))
    assert after.getexif().get(0x0112, 1) == orientation
    assert 0x010F not in after.getexif()
    assert after.info["icc_profile"] == SRGB
    assert fidelity(data, result.data) >= 25


def test_metadata_is_kept_when_wanted() -> None:
    result = done(with_exif(photo(), "JPEG", 6, quality=92, comment=b"hello"), keep_metadata=True)

    after = opened(result.data)
    assert after.getexif()[0x010F] == "a camera that nobody need know"
    assert after.getexif()[0x0112] == 6
    assert after.info["comment"] == b"hello"


def test_a_smaller_saving_than_wanted_keeps_the_source() -> None:
    data = bytes_of(photo(), "JPEG", quality=92)

    assert compress(data, Options(), ImageLimits(min_saving_percent=95)).data == data
