"""Changed animations and pages keep all frames, their durations and the play count."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import gif, png, tiff, webp
from tests.imaging.corpus.compression import compress_data
from tests.imaging.corpus.displayed import displayed_psnr_db, durations_ms, frames, min_psnr_db, timeline
from tests.imaging.corpus.images import encode, photo

GIFS = {name: data for name, data in gif.sources().items() if Image.open(BytesIO(data)).n_frames > 1}
#: Crops one row, so that every frame is encoded again.
CROP_ONE_ROW = {"max_width": 60, "crop": Crop(0, 0, 60, 39)}


@pytest.mark.parametrize("name", GIFS)
def test_cropped_gif_keeps_its_timeline(name: str) -> None:
    result = compress_data(GIFS[name], **CROP_ONE_ROW)

    [before, after] = [timeline(data) for data in (GIFS[name], result.data)]
    assert [ms for _, ms in after] == [ms for _, ms in before]
    assert [pixels for pixels, _ in after] == [pixels[: 60 * 39 * 3] for pixels, _ in before]
    assert Image.open(BytesIO(result.data)).info.get("loop") == Image.open(BytesIO(GIFS[name])).info.get("loop")


@pytest.mark.parametrize("name", GIFS)
def test_gif_becomes_an_apng_with_the_same_timeline(name: str) -> None:
    result = compress_data(GIFS[name], format=OutputFormat.PNG)

    assert timeline(result.data) == timeline(GIFS[name])
    repeats = Image.open(BytesIO(GIFS[name])).info.get("loop")
    play_count = {None: 1, 0: 0}.get(repeats, (repeats or 0) + 1)
    assert Image.open(BytesIO(result.data)).info["loop"] == play_count
    assert compress_data(result.data).data == result.data


def test_gif_duration_applies_to_one_frame() -> None:
    data = GIFS["a frame without a duration"]

    assert durations_ms(compress_data(data, **CROP_ONE_ROW).data) == durations_ms(data) == [500, 0, 100]


@pytest.mark.parametrize("traits", png.ANIMATIONS)
def test_scaled_apng_keeps_its_frames(traits: str) -> None:
    data = png.animation(**png.ANIMATIONS[traits])

    result = compress_data(data, scale=0.5)

    expected = [frame.resize((100, 75), Image.Resampling.LANCZOS) for frame in frames(data)]
    assert durations_ms(result.data) == durations_ms(data)
    assert min_psnr_db(expected, frames(result.data)) > 35
    assert Image.open(BytesIO(result.data)).info["loop"] == Image.open(BytesIO(data)).info["loop"]


@pytest.mark.parametrize("name", ["blending", "replacing", "cleared", "background", "lossy and lossless"])
def test_webp_becomes_an_apng_with_the_same_frames(name: str) -> None:
    data = webp.sources()[name]

    result = compress_data(data, format=OutputFormat.PNG)

    assert (displayed_psnr_db(data, result.data), durations_ms(result.data)) == (99, durations_ms(data))


def test_each_tiff_page_is_changed_from_its_own_size() -> None:
    data = tiff.sources()["pages of different sizes"]
    wide, high = frames(data)

    half = frames(compress_data(data, scale=0.5).data)
    part = frames(compress_data(data, crop=Crop(10, 20, 80, 100)).data)

    assert [page.size for page in half] == [(120, 80), (50, 100)]
    assert min_psnr_db([wide.resize((120, 80)), high.resize((50, 100))], half) > 30
    assert min_psnr_db([page.crop((10, 20, 90, 120)) for page in (wide, high)], part) == 99


def test_crop_outside_one_page_is_refused() -> None:
    with pytest.raises(ImageError, match="lies outside the image of 100 x 200 pixels") as refused:
        compress_data(tiff.sources()["pages of different sizes"], crop=Crop(0, 0, 200, 100))

    assert refused.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE


@pytest.mark.parametrize("form", [OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.JPEG])
def test_other_format_gets_the_first_page(form: OutputFormat) -> None:
    data = encode(photo(), "TIFF", save_all=True, append_images=[photo().rotate(180)])

    converted = compress_data(data, format=form).data

    assert min_psnr_db(frames(data)[:1], frames(converted)) > 20
