"""The option `effort`: more CPU time for fewer bytes at the same quality."""

from __future__ import annotations

import pytest
from PIL import Image, ImageFilter

from gql_imgproc.imaging.compress import inspect
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.options import Effort, Options, OutputFormat
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, is_displayed_equal
from tests.imaging.corpus.images import encode, photo
from tests.imaging.corpus.png import encode_png

SOFT = photo(400, 300).filter(ImageFilter.GaussianBlur(2))
LARGE = photo(960, 720)
SOURCES = {
    "JPEG": encode(LARGE, "JPEG", quality=92),
    "CMYK JPEG": encode(LARGE.convert("CMYK"), "JPEG", quality=92),
    "grey JPEG": encode(LARGE.convert("L"), "JPEG", quality=92),
    "small JPEG": encode(SOFT, "JPEG", quality=92),
    "PNG": encode_png(SOFT),
    "PNG that stays lossless": encode_png(photo(200, 150)),
    "PNG with a palette": encode_png(SOFT.quantize(64)),
    "WebP": encode(SOFT, "WEBP", quality=95),
    "AVIF": encode(SOFT, "AVIF", quality=95),
}


@pytest.mark.parametrize("name", SOURCES)
def test_more_effort_makes_no_image_larger_and_each_output_stays(name: str) -> None:
    data = SOURCES[name]

    results = {effort: compress_data(data, effort=effort) for effort in Effort}

    assert [result.outcome for result in results.values()] == [COMPRESSED] * 3
    sizes = [len(results[effort].data) for effort in (Effort.FAST, Effort.BALANCED, Effort.SMALL)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < len(data)
    for effort, result in results.items():
        again = compress_data(result.data, effort=effort)
        assert (again.outcome, again.data) == (KEPT, result.data)
        assert inspect(result.data, ImageLimits()) == inspect(data, ImageLimits())
    assert compress_data(results[Effort.SMALL].data).data == results[Effort.SMALL].data


@pytest.mark.parametrize("name", ["JPEG", "CMYK JPEG", "grey JPEG"])
def test_small_jpeg_has_the_same_pixels_in_progressive_scans(name: str) -> None:
    balanced, small = (compress_data(SOURCES[name], effort=effort).data for effort in (Effort.BALANCED, Effort.SMALL))

    assert len(small) < 0.98 * len(balanced)
    assert decode(small).tobytes() == decode(balanced).tobytes()
    assert decode(small).info.get("progressive") == 1


def test_effort_applies_to_conversions() -> None:
    for form in (OutputFormat.JPEG, OutputFormat.WEBP, OutputFormat.AVIF, OutputFormat.PNG):
        sizes = [len(compress_data(SOURCES["PNG"], format=form, effort=effort, scale=0.9).data) for effort in Effort]

        assert sizes[2] < sizes[0]


def test_small_keeps_metadata_and_profile() -> None:
    exif = Image.Exif()
    exif[0x8298] = "Jane Doe"
    data = encode(SOFT, "JPEG", quality=92, exif=exif.tobytes(), dpi=(300, 300))

    small = decode(compress_data(data, effort=Effort.SMALL).data)

    assert (small.getexif()[0x8298], small.info["dpi"]) == ("Jane Doe", (300, 300))


def test_effort_is_stored_only_if_it_is_not_the_default() -> None:
    for effort in Effort:
        stored = Options(effort=effort).to_json()

        assert stored == ({} if effort is Effort.BALANCED else {"effort": effort})
        assert Options.from_json(stored) == Options(effort=effort)


def test_lossless_pixels_stay_at_every_effort() -> None:
    for effort in Effort:
        data = SOURCES["PNG that stays lossless"]

        assert is_displayed_equal(data, compress_data(data, effort=effort, quality=100).data)
