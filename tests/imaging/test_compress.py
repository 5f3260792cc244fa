"""Each format is compressed or kept, without visible loss."""

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
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, displayed_psnr_db, min_psnr_db
from tests.imaging.corpus.images import DURATIONS_MS, SRGB, animated, drawing, encode, photo, with_alpha


def drawing_on_white(width: int = 240, height: int = 160) -> Image.Image:
    return drawing(width, height, "#fff").convert("RGB")


SOURCES: dict[str, tuple[bytes, ImageOutcome, float]] = {
    "jpeg": (encode(photo(), "JPEG", quality=92), COMPRESSED, 28),
    # Each band has a grain of its own, which gets lost with three quarters of the chroma.
    "jpeg 4:4:4": (encode(photo(), "JPEG", quality=92, subsampling=0), COMPRESSED, 24),
    "jpeg progressive": (encode(photo(), "JPEG", quality=92, progressive=True), COMPRESSED, 28),
    "jpeg grey": (encode(photo().convert("L"), "JPEG", quality=92), COMPRESSED, 28),
    "jpeg cmyk": (encode(photo().convert("CMYK"), "JPEG", quality=92), COMPRESSED, 28),
    "jpeg of quality 50": (encode(photo(), "JPEG", quality=50), KEPT, 99),
    "jpeg of quality 15": (encode(photo(), "JPEG", quality=15), KEPT, 99),
    "png drawing": (encode(drawing_on_white(), "PNG"), COMPRESSED, 36),
    "png large drawing": (encode(drawing_on_white(600, 400), "PNG"), COMPRESSED, 36),
    "png photo": (encode(photo(), "PNG", compress_level=1), COMPRESSED, 99),
    "png large photo": (encode(photo(400, 300), "PNG", compress_level=0), COMPRESSED, 99),
    "png with alpha": (encode(with_alpha(drawing_on_white()), "PNG", compress_level=0), COMPRESSED, 42),
    "png with opaque alpha": (encode(photo(400, 300).convert("RGBA"), "PNG"), COMPRESSED, 99),
    "png LA": (encode(with_alpha(photo().convert("L")), "PNG", compress_level=0), COMPRESSED, 99),
    "png L": (encode(drawing_on_white(400, 300).convert("L"), "PNG", compress_level=0), COMPRESSED, 99),
    "png 1": (encode(drawing_on_white(400, 300).convert("1"), "PNG", compress_level=0), COMPRESSED, 99),
    "png P": (encode(drawing_on_white(400, 300).quantize(64), "PNG", compress_level=0), COMPRESSED, 99),
    "webp": (encode(photo(), "WEBP", quality=92), COMPRESSED, 28),
    "webp with alpha": (encode(with_alpha(photo()), "WEBP", quality=92), COMPRESSED, 28),
    "webp lossless": (encode(photo(), "WEBP", lossless=True), KEPT, 99),
    "webp of quality 20": (encode(photo(), "WEBP", quality=20), KEPT, 99),
    "avif": (encode(photo(), "AVIF", quality=92, speed=9), COMPRESSED, 28),
    "avif with alpha": (encode(with_alpha(photo()), "AVIF", quality=92, speed=9), COMPRESSED, 28),
    "gif": (encode(photo(), "GIF"), KEPT, 99),
    "tiff": (encode(drawing_on_white(), "TIFF"), COMPRESSED, 99),
    "tiff cmyk": (encode(drawing_on_white().convert("CMYK"), "TIFF"), COMPRESSED, 99),
    "tiff jpeg": (encode(photo(), "TIFF", compression="jpeg"), KEPT, 99),
    "bmp photo": (encode(photo(), "BMP"), KEPT, 99),
    "bmp drawing": (encode(drawing_on_white().quantize(20).convert("RGB"), "BMP"), COMPRESSED, 99),
}


@pytest.mark.parametrize("name", SOURCES)
def test_result_is_smaller_or_kept_and_looks_the_same(name: str) -> None:
    data, outcome, min_db = SOURCES[name]

    result = compress_data(data)

    header, new_header = inspect(data, ImageLimits()), inspect(result.data, ImageLimits())
    assert result.outcome is outcome
    assert len(result.data) <= len(data) * 0.95 if outcome is COMPRESSED else result.data == data
    assert new_header == header
    assert (result.width, result.height, result.media_type) == (header.width, header.height, header.media_type)
    assert displayed_psnr_db(data, result.data) >= min_db


@pytest.mark.parametrize("name", SOURCES)
def test_second_pass_changes_nothing(name: str) -> None:
    once = compress_data(SOURCES[name][0]).data

    twice = compress_data(once)

    assert (twice.outcome, twice.data == once) == (KEPT, True)


def test_jpeg_has_the_pixels_of_libjpeg_at_that_quality_in_fewer_bytes() -> None:
    data = encode(photo(), "JPEG", quality=92)

    result = compress_data(data)

    naive = encode(decode(data), "JPEG", quality=50)
    assert decode(result.data).tobytes() == decode(naive).tobytes()
    assert len(result.data) < len(naive)


def test_quality_50_means_the_tables_of_the_jpeg_standard() -> None:
    luma, chroma = quantization_tables(50)

    # Tables K.1 and K.2, in natural order.
    assert (luma[:8], sum(luma)) == ((16, 11, 10, 16, 24, 40, 51, 61), 3_688)
    assert (chroma[:8], sum(chroma)) == ((17, 18, 24, 47, 99, 99, 99, 99), 5_505)


def test_jpeg_tables_use_the_coarser_value_for_each_coefficient() -> None:
    flat = [[60] * 64, [60] * 64]
    data = encode(photo(), "JPEG", qtables=flat)
    assert sum(flat[0]) > sum(quantization_tables(50)[0])
    finer = encode(photo(), "JPEG", qtables=[[40] * 64, [60] * 64])

    result = compress_data(finer)

    assert compress_data(data).outcome is KEPT
    written = Image.open(BytesIO(result.data)).quantization
    assert written[0] == [max(40, n) for n in quantization_tables(50)[0]]
    assert written[1] == [max(60, n) for n in quantization_tables(50)[1]]


@pytest.mark.parametrize("quality", [10, 50, 55, 70, 90, 100])
def test_webp_quantizer_is_read_from_the_stream(quality: int) -> None:
    result = compress_data(encode(photo(), "WEBP", quality=100), quality=quality, max_width=200)

    stream = memoryview(result.data)[20:]
    assert result.data[12:16] == b"VP8 "
    expected = quantizer_index(quality)
    assert expected <= coarsest_quantizer(stream) <= expected + 25


@pytest.mark.parametrize(("name", "settings"), [("WEBP", {"quality": 92}), ("PNG", {"compress_level": 0}), ("GIF", {})])
def test_animation_keeps_frames_durations_and_play_count(name: str, settings: dict[str, Any]) -> None:
    data = animated(name, loop=3, **settings)

    result = compress_data(data)

    before, after = Image.open(BytesIO(data)), Image.open(BytesIO(result.data))
    assert result.outcome is (KEPT if name == "GIF" else COMPRESSED)
    assert (after.n_frames, after.info["loop"]) == (4, 3)
    for n, duration in enumerate(DURATIONS_MS):
        before.seek(n)
        after.seek(n)
        after.load()
        assert after.info["duration"] == duration
        assert min_psnr_db([before.convert("RGBA")], [after.convert("RGBA")]) >= (28 if name == "WEBP" else 99)
    assert compress_data(result.data).outcome is KEPT


def test_avif_animation_is_kept_unchanged() -> None:
    data = animated("AVIF")

    assert compress_data(data).data == data


def with_exif(image: Image.Image, name: str, orientation: int, **settings: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "secret camera"
    return encode(image, name, exif=exif, icc_profile=SRGB, **settings)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "WEBP", "PNG", "AVIF"])
def test_orientation_and_profile_stay_and_camera_is_dropped(name: str, orientation: int) -> None:
    settings = {"compress_level": 0} if name == "PNG" else {"quality": 92}
    data = with_exif(photo(96, 64), name, orientation, **settings)

    result = compress_data(data)

    after = decode(result.data)
    assert result.outcome is COMPRESSED
    assert after.size == (96, 64)
    assert (result.width, result.height) == ((64, 96) if orientation >= 5 else (96, 64))
    assert after.getexif().get(0x0112, 1) == orientation
    assert 0x010F not in after.getexif()
    assert after.info["icc_profile"] == SRGB
    assert displayed_psnr_db(data, result.data) >= 25


def test_keep_metadata_keeps_exif_and_comment() -> None:
    result = compress_data(with_exif(photo(), "JPEG", 6, quality=92, comment=b"hello"), keep_metadata=True)

    after = decode(result.data)
    assert after.getexif()[0x010F] == "secret camera"
    assert after.getexif()[0x0112] == 6
    assert after.info["comment"] == b"hello"


def test_source_is_kept_if_the_saving_is_below_the_minimum() -> None:
    data = encode(photo(), "JPEG", quality=92)

    assert compress(data, Options(), ImageLimits(min_saving_percent=95)).data == data
