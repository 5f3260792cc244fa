"""Frames and pages after an option has changed them: seen for as long, as often, and none of them lost."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import gif, png, tiff, webp
from tests.imaging.corpus.compressing import done
from tests.imaging.corpus.displayed import durations_ms, fidelity, frames, look_alike, played
from tests.imaging.corpus.images import bytes_of, photo

GIFS = {name: data for name, data in gif.sources().items() if Image.open(BytesIO(data)).n_frames > 1}
#: Whole, but made anew.
ALL = {"max_width": 60, "crop": Crop(0, 0, 60, 39)}


def cut(data: bytes) -> list[Image.Image]:
    return [frame.crop((0, 0, 60, 39)) for frame in frames(data)]


@pytest.mark.parametrize("name", GIFS)
def test_a_gif_is_played_as_before_when_it_is_cropped(name: str) -> None:
    result = done(GIFS[name], **ALL)

    [wanted, made] = [played(data) for data in (GIFS[name], result.data)]
    assert [ms for _, ms in made] == [ms for _, ms in wanted]
    assert [seen for seen, _ in made] == [seen[: 60 * 39 * 3] for seen, _ in wanted]
    assert Image.open(BytesIO(result.data)).info.get("loop") == Image.open(BytesIO(GIFS[name])).info.get("loop")


@pytest.mark.parametrize("name", GIFS)
def test_a_gif_becomes_an_apng_that_is_played_as_before(name: str) -> None:
    result = done(GIFS[name], format=OutputFormat.PNG)

    assert played(result.data) == played(GIFS[name])
    repeats = Image.open(BytesIO(GIFS[name])).info.get("loop")
    plays = {None: 1, 0: 0}.get(repeats, (repeats or 0) + 1)
    assert Image.open(BytesIO(result.data)).info["loop"] == plays
    assert done(result.data).data == result.data


def test_a_duration_is_told_for_one_frame() -> None:
    data = GIFS["a frame that tells no duration"]

    assert durations_ms(done(data, **ALL).data) == durations_ms(data) == [500, 0, 100]


@pytest.mark.parametrize("traits", png.ANIMATIONS)
def test_a_scaled_apng_keeps_its_frames(traits: str) -> None:
    data = png.animation(**png.ANIMATIONS[traits])

    result = done(data, scale=0.5)

    wanted = [frame.resize((100, 75), Image.Resampling.LANCZOS) for frame in frames(data)]
    assert durations_ms(result.data) == durations_ms(data)
    assert look_alike(wanted, frames(result.data)) > 35
    assert Image.open(BytesIO(result.data)).info["loop"] == Image.open(BytesIO(data)).info["loop"]


@pytest.mark.parametrize("name", ["blending", "replacing", "cleared", "background", "lossy and lossless"])
def test_a_webp_becomes_an_apng_that_is_played_as_before(name: str) -> None:
    data = webp.sources()[name]

    result = done(data, format=OutputFormat.PNG)

    assert (fidelity(data, result.data), durations_ms(result.data)) == (99, durations_ms(data))


def test_pages_have_sizes_of_their_own() -> None:
    data = tiff.sources()["pages of different sizes"]
    wide, high = frames(data)

    half = frames(done(data, scale=0.5).data)
    part = frames(done(data, crop=Crop(10, 20, 80, 100)).data)

    assert [page.size for page in half] == [(120, 80), (50, 100)]
    assert look_alike([wide.resize((120, 80)), high.resize((50, 100))], half) > 30
    assert look_alike([page.crop((10, 20, 90, 120)) for page in (wide, high)], part) == 99


def test_a_crop_outside_of_one_page_is_refused() -> None:
    with pytest.raises(ImageError, match="lies outside the image of 100 x 200 pixels") as refused:
        done(tiff.sources()["pages of different sizes"], crop=Crop(0, 0, 200, 100))

    assert refused.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE


@pytest.mark.parametrize("form", [OutputFormat.PNG, OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.JPEG])
def test_pages_are_no_animation(form: OutputFormat) -> None:
    data = bytes_of(photo(), "TIFF", save_all=True, append_images=[photo().rotate(180)])

    made = done(data, format=form).data

    assert look_alike(frames(data)[:1], frames(made)) > 20
