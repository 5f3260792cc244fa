"""What is told beside the pixels: dropped unless wanted, and never wrong about the new ones."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.imaging.codecs.png_chunks import read, write
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import gif, jpeg
from tests.imaging.corpus.compressing import COMPRESSED, done
from tests.imaging.corpus.displayed import opened
from tests.imaging.corpus.images import bytes_of, photo

GPS, MAKER, ORIENTATION = 0x8825, 0x010F, 0x0112
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
KEEP = {"keep_metadata": True}
#: Resources of Photoshop: a thumbnail, named and of odd length, and IPTC.
PREVIEW = b"8BIM\x04\x0c\x03abc\0\0\0\x05small\0"
WORDS = b"8BIM\x04\x04\0\0\0\0\0\x07\x1c\2\x78\0\2hi\0"
IPTC = jpeg.segment(0xED, b"Photoshop 3.0\0" + PREVIEW + WORDS)
LONG_XMP = jpeg.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40)


def told(name: str) -> bytes:
    exif = jpeg.exif(6)
    how = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = bytes_of(photo(), name, exif=exif, **how, **({} if name in ("PNG", "TIFF") else {"xmp": XMP}))
    if name == "PNG":
        header, *rest = read(data)
        return write([header, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), *rest])
    return jpeg.after_soi(data, IPTC, LONG_XMP) if name == "JPEG" else data


SOURCES = {name: told(name) for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")}


@pytest.mark.parametrize("form", list(OutputFormat))
@pytest.mark.parametrize("name", SOURCES)
def test_a_new_picture_tells_nothing_about_its_maker(name: str, form: OutputFormat) -> None:
    result = done(SOURCES[name], scale=0.5, format=form)

    after = opened(result.data)
    exif = after.getexif()
    assert (result.outcome, after.size) == (COMPRESSED, (80, 120))
    assert (MAKER in exif, dict(exif.get_ifd(GPS)), after.info.get("xmp")) == (False, {}, None)
    assert not {b"Photoshop", b"camera"} & set(result.data.split())
    assert b"Photoshop" not in result.data
    assert exif.get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("form", list(OutputFormat))
@pytest.mark.parametrize("name", SOURCES)
def test_metadata_goes_along_when_wanted_and_is_right_about_the_new_pixels(name: str, form: OutputFormat) -> None:
    result = done(SOURCES[name], scale=0.5, format=form, keep_metadata=True)

    after = opened(result.data)
    exif = after.getexif()
    assert exif[MAKER] == "a camera that nobody need know"
    assert exif.get(ORIENTATION, 1) == 1
    if (name, form) != ("TIFF", OutputFormat.ORIGINAL):
        assert exif.get_ifd(GPS) == {1: "N"}
    if name != "TIFF":
        assert after.info["xmp"] == XMP.replace(b"6", b"1")


def test_iptc_goes_along_from_jpeg_to_jpeg() -> None:
    whole, part, bare = (done(SOURCES["JPEG"], **how).data for how in ({**KEEP}, {**KEEP, "scale": 0.5}, {}))

    assert (IPTC in whole, LONG_XMP in whole) == (True, True)
    # Words and pictures of the whole: only the words are still right.
    assert (WORDS in part, PREVIEW in part, LONG_XMP in part) == (True, False, False)
    assert (WORDS in bare, LONG_XMP in bare) == (False, False)
    assert opened(part).size == (80, 120)


def test_a_thumbnail_does_not_show_what_was_cut_away() -> None:
    thumbnail = bytes_of(photo(60, 40), "JPEG")
    data = bytes_of(photo(), "JPEG", quality=95, exif=jpeg.exif(1, thumbnail))

    whole, part = (done(data, keep_metadata=True, crop=crop).data for crop in (None, Crop(0, 0, 20, 20)))

    assert (thumbnail in data, thumbnail in whole, thumbnail in part) == (True, True, False)
    assert opened(part).getexif()[MAKER] == "a camera that nobody need know"


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.JPEG])
def test_a_comment_of_a_gif_goes_unless_it_is_wanted(form: OutputFormat) -> None:
    data = gif.sources()["comment"]

    dropped, kept = (done(data, scale=0.5, format=form, keep_metadata=keep).data for keep in (False, True))

    assert (b"made by hand" in dropped, b"made by hand" in kept) == (False, True)


def test_the_first_orientation_is_the_one_that_browsers_take() -> None:
    data = bytes_of(photo(), "JPEG", quality=95, exif=jpeg.exif(6))
    data = jpeg.after_soi(data, jpeg.segment(0xE1, jpeg.exif(3)))

    result = done(data, scale=0.5)

    assert (result.width, result.height) == (120, 80)


@pytest.mark.parametrize("form", list(OutputFormat))
def test_a_resolution_beyond_reason_is_not_told(form: OutputFormat) -> None:
    data = jpeg.sources()["a resolution beyond reason"]
    assert Image.open(BytesIO(data)).info["dpi"][0] > 10**10

    result = done(data, format=form, scale=0.5)

    assert opened(result.data).info.get("dpi", (0, 0))[0] < 100


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "BMP"])
def test_a_resolution_goes_along(name: str) -> None:
    result = done(bytes_of(photo(), name, dpi=(300, 150)), scale=0.5)

    assert [round(float(n)) for n in opened(result.data).info["dpi"]] == [300, 150]
