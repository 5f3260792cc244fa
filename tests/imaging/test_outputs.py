"""Several files of one image: each is what its options alone give, and the pixels are decoded once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import ImageFile

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import Compressed, ImageLimits, compress
from gql_imgproc.imaging.options import (
    MAX_OUTPUTS,
    Crop,
    Effort,
    Metadata,
    OptionInvalid,
    Options,
    Output,
    OutputFormat,
)
from gql_imgproc.imaging.outputs import compress_outputs
from tests.imaging.corpus.images import encode, photo
from tests.imaging.test_compress_corpus import OPTIONS, SOURCES

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
LIMITS = ImageLimits()
#: New files before and after the source's own format, which leave a shared source in different states. No animated
#: AVIF: it has the time of its creation.
MIXED = (
    OPTIONS["fitted"],
    Options(),
    OPTIONS["WEBP"],
    OPTIONS["grey"],
    Options(metadata=Metadata.ALL),
    Options(quality=40, min_similarity=80),
)


def outputs(*options: Options) -> dict[str | None, Options]:
    return {f"output{n}": each for n, each in enumerate(options)}


def try_compress(data: bytes, options: Options) -> Compressed | None:
    try:
        return compress(data, options, LIMITS)
    except ImageError:
        return None


@pytest.mark.parametrize("name", SOURCES)
def test_each_output_is_what_its_options_alone_give(name: str) -> None:
    data = SOURCES[name]
    alone = [(options, result) for options in MIXED if (result := try_compress(data, options))]

    together = compress_outputs(data, outputs(*(options for options, _ in alone)), LIMITS)

    assert together == [result for _, result in alone]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes at which images are decoded from now on."""
    sizes: list[tuple[int, int]] = []
    load_prepare = ImageFile.ImageFile.load_prepare

    def counting(self: ImageFile.ImageFile) -> None:
        sizes.append(self.size)
        load_prepare(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", counting)
    # Scores decode results.
    monkeypatch.setattr("gql_imgproc.imaging.compress._score", lambda *_: None)
    return sizes


def test_pixels_are_decoded_once(decoded: list[tuple[int, int]]) -> None:
    data = encode(photo(640, 480), "PNG")

    compress_outputs(
        data,
        outputs(
            # Not as PNG: whether a palette is faithful is checked on a decoded one.
            Options(format=OutputFormat.WEBP),
            Options(format=OutputFormat.JPEG, max_width=100),
            Options(format=OutputFormat.AVIF, max_width=320, effort=Effort.FAST),
        ),
        LIMITS,
    )

    assert decoded == [(640, 480)]


def test_jpeg_is_decoded_once_at_each_part_of_its_size(decoded: list[tuple[int, int]]) -> None:
    data = encode(photo(640, 480), "JPEG", quality=95)
    sizes = (Options(max_width=width) for width in (500, 320, 300, 80, 60))

    compress_outputs(data, outputs(Options(), Options(format=OutputFormat.WEBP), *sizes), LIMITS)

    assert decoded == [(640, 480), (320, 240), (80, 60)]


def test_failed_output_is_named() -> None:
    data = encode(photo(64, 48), "JPEG", quality=95)

    with pytest.raises(ImageError) as failed:
        compress_outputs(data, {"full": Options(), "part": Options(crop=Crop(60, 0, 10, 10))}, LIMITS)

    assert failed.value.code is ImageErrorCode.OPTIONS_IMPOSSIBLE
    assert failed.value.message.startswith("Output part: The crop rectangle of 10 x 10 pixels")


def test_damaged_image_is_not_the_fault_of_an_output() -> None:
    data = encode(photo(64, 48), "PNG")[:-500]

    with pytest.raises(ImageError) as failed:
        compress_outputs(data, {"full": Options(), "part": Options(max_width=10)}, LIMITS)

    assert failed.value.code is ImageErrorCode.CORRUPT
    assert not failed.value.message.startswith("Output")


def test_outputs_change_the_options_of_the_request() -> None:
    options = Options(
        quality=70,
        max_width=1200,
        metadata=Metadata.NONE,
        outputs=(Output("full"), Output("800.webp", OutputFormat.WEBP, max_width=800, effort=Effort.SMALL)),
    )

    assert dict(options.of_outputs()) == {
        "full": Options(quality=70, max_width=1200, metadata=Metadata.NONE),
        "800.webp": Options(
            quality=70, max_width=800, metadata=Metadata.NONE, format=OutputFormat.WEBP, effort=Effort.SMALL
        ),
    }
    assert Options.from_json(options.to_json()) == options


def test_single_output_is_that_of_the_options() -> None:
    options = Options(quality=70)

    assert options.of_outputs() == [(None, options)]
    assert Options(quality=70, outputs=(Output("only"),)).of_outputs() == [("only", options)]
    assert options.to_json() == {"quality": 70}


def test_negotiation_needs_several_outputs_and_changes_none_of_them() -> None:
    several = Options(outputs=(Output("full"), Output("avif", OutputFormat.AVIF)))

    negotiated = replace(several, negotiate=True)

    assert negotiated.of_outputs() == several.of_outputs()
    assert Options.from_json(negotiated.to_json()) == negotiated
    for outputs in ((), several.outputs[:1]):
        with pytest.raises(OptionInvalid, match="negotiate: needs at least two outputs"):
            Options(outputs=outputs, negotiate=True)


INVALID: dict[str, tuple[list[dict[str, Any]], str, str | None]] = {
    "too many": ([{"name": f"w{n}", "max_width": n + 1} for n in range(MAX_OUTPUTS + 1)], "outputs", None),
    "name with a slash": ([{"name": "a/b"}], "name", "a/b"),
    "name without characters": ([{"name": ""}], "name", ""),
    "long name": ([{"name": "n" * 31}], "name", "n" * 31),
    "name that only case distinguishes": ([{"name": "Thumb"}, {"name": "thumb", "quality": 9}], "name", "thumb"),
    "width": ([{"name": "full"}, {"name": "thumb", "max_width": 0}], "max_width", "thumb"),
    "quality": ([{"name": "full", "quality": 101}], "quality", "full"),
    "equal options": ([{"name": "full"}, {"name": "same", "quality": 50}], "outputs", None),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_output_is_refused(name: str) -> None:
    entries, field, output = INVALID[name]

    with pytest.raises(OptionInvalid) as refused:
        Options(outputs=tuple(Output(**entry) for entry in entries))

    assert (refused.value.field, refused.value.output) == (field, output)
