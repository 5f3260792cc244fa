"""Metadata is dropped by default. With keep_metadata it is kept, and it is correct for the new pixels."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image

from gql_imgproc.imaging.codecs.png_chunks import read, write
from gql_imgproc.imaging.options import Crop, OutputFormat
from tests.imaging.corpus import gif, jpeg
from tests.imaging.corpus.compression import COMPRESSED, compress_data
from tests.imaging.corpus.displayed import decode
from tests.imaging.corpus.images import encode, photo

GPS, MAKER, ORIENTATION = 0x8825, 0x010F, 0x0112
XMP = b'<x:xmpmeta tiff:Orientation="6"/>'
KEEP = {"keep_metadata": True}
#: Photoshop resources: a thumbnail with a name and an odd length, and IPTC.
THUMBNAIL = b"8BIM\x04\x0c\x03abc\0\0\0\x05small\0"
CAPTION = b"8BIM\x04\x04\0\0\0\0\0\x07\x1c\2\x78\0\2hi\0"
IPTC = jpeg.segment(0xED, b"Photoshop 3.0\0" + THUMBNAIL + CAPTION)
LONG_XMP = jpeg.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40)


def encode_with_metadata(name: str) -> bytes:
    exif = jpeg.exif(6)
    settings = {} if name in ("PNG", "TIFF") else {"quality": 95}
    data = encode(photo(), name, exif=exif, **settings, **({} if name in ("PNG", "TIFF") else {"xmp": XMP}))
    if name == "PNG":
        header, *rest = read(data)
        return write([header, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), *rest])
    return jpeg.after_soi(data, IPTC, LONG_XMP) if name == "JPEG" else data


SOURCES = {name: encode_with_metadata(name) for name in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")}


@pytest.mark.parametrize("form", list(OutputFormat))
@pytest.mark.parametrize("name", SOURCES)
def test_metadata_is_dropped_by_default(name: str, form: OutputFormat) -> None:
    result = compress_data(SOURCES[name], scale=0.5, format=form)

    after = decode(result.data)
    exif = after.getexif()
    assert (result.outcome, after.size) == (COMPRESSED, (80, 120))
    assert (MAKER in exif, dict(exif.get_ifd(GPS)), after.info.get("xmp")) == (False, {}, None)
    assert not {b"Photoshop", b"camera"} & set(result.data.split())
    assert b"Photoshop" not in result.data
    assert exif.get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("form", list(OutputFormat))
@pytest.mark.parametrize("name", SOURCES)
def test_keep_metadata_keeps_it_and_corrects_the_orientation(name: str, form: OutputFormat) -> None:
    result = compress_data(SOURCES[name], scale=0.5, format=form, keep_metadata=True)

    after = decode(result.data)
    exif = after.getexif()
    assert exif[MAKER] == "secret camera"
    assert exif.get(ORIENTATION, 1) == 1
    if (name, form) != ("TIFF", OutputFormat.ORIGINAL):
        assert exif.get_ifd(GPS) == {1: "N"}
    if name != "TIFF":
        assert after.info["xmp"] == XMP.replace(b"6", b"1")


def test_iptc_is_kept_from_jpeg_to_jpeg() -> None:
    options = KEEP, {**KEEP, "scale": 0.5}, {}

    whole, part, bare = (compress_data(SOURCES["JPEG"], **kwargs).data for kwargs in options)

    assert (IPTC in whole, LONG_XMP in whole) == (True, True)
    # The thumbnail shows the whole image. Only the caption is still correct for a part.
    assert (CAPTION in part, THUMBNAIL in part, LONG_XMP in part) == (True, False, False)
    assert (CAPTION in bare, LONG_XMP in bare) == (False, False)
    assert decode(part).size == (80, 120)


def test_thumbnail_is_dropped_when_the_image_is_cropped() -> None:
    thumbnail = encode(photo(60, 40), "JPEG")
    data = encode(photo(), "JPEG", quality=95, exif=jpeg.exif(1, thumbnail))

    whole, part = (compress_data(data, keep_metadata=True, crop=crop).data for crop in (None, Crop(0, 0, 20, 20)))

    assert (thumbnail in data, thumbnail in whole, thumbnail in part) == (True, True, False)
    assert decode(part).getexif()[MAKER] == "secret camera"


@pytest.mark.parametrize("form", [OutputFormat.ORIGINAL, OutputFormat.JPEG])
def test_gif_comment_is_kept_only_with_keep_metadata(form: OutputFormat) -> None:
    data = gif.sources()["comment"]

    dropped, kept = (compress_data(data, scale=0.5, format=form, keep_metadata=keep).data for keep in (False, True))

    assert (b"made by hand" in dropped, b"made by hand" in kept) == (False, True)


def test_first_of_two_orientations_is_used_as_in_browsers() -> None:
    data = encode(photo(), "JPEG", quality=95, exif=jpeg.exif(6))
    data = jpeg.after_soi(data, jpeg.segment(0xE1, jpeg.exif(3)))

    result = compress_data(data, scale=0.5)

    assert (result.width, result.height) == (120, 80)


@pytest.mark.parametrize("form", list(OutputFormat))
def test_absurd_resolution_is_dropped(form: OutputFormat) -> None:
    data = jpeg.sources()["an absurd resolution"]
    assert Image.open(BytesIO(data)).info["dpi"][0] > 10**10

    result = compress_data(data, format=form, scale=0.5)

    assert decode(result.data).info.get("dpi", (0, 0))[0] < 100


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "BMP"])
def test_resolution_is_kept(name: str) -> None:
    result = compress_data(encode(photo(), name, dpi=(300, 150)), scale=0.5)

    assert [round(float(n)) for n in decode(result.data).info["dpi"]] == [300, 150]
