"""`metadata`: nothing, who made the image and holds its rights, or all; and a kept file sheds what is no pixels."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gql_imgproc.imaging import location
from gql_imgproc.imaging.codecs.jpeg_segments import segment
from gql_imgproc.imaging.codecs.png_chunks import read, write
from gql_imgproc.imaging.codecs.tiff_directories import find_end
from gql_imgproc.imaging.copyright_notice import Notice, read_xmp
from gql_imgproc.imaging.exif import read_orientation
from gql_imgproc.imaging.options import Metadata, Options, OutputFormat
from tests.imaging.corpus import bmp, gif
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import decode, is_displayed_equal
from tests.imaging.corpus.images import SRGB, encode, photo

XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" photoshop:Credit="Agency &amp; Sons" xmp:CreatorTool="Secret Tool">'
    b"<dc:creator><rdf:Seq><rdf:li>Ada</rdf:li><rdf:li>Bob</rdf:li></rdf:Seq></dc:creator>"
    b'<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">(c) Ada 2026</rdf:li></rdf:Alt></dc:rights>'
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    b'<?xpacket end="w"?>'
)


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x013B], tags[0x8298], tags[0x010F] = orientation, "Ada", "(c) Ada 2026", "Secret Maker"
    tags.get_ifd(0x8825)[1] = "N"
    return tags.tobytes()


def iptc(*sets: tuple[int, bytes]) -> bytes:
    records = b"\x1c\x01\x5a\0\x03\x1b%G"
    records += b"".join(b"\x1c\x02" + bytes((n,)) + struct.pack(">H", len(text)) + text for n, text in sets)
    body = (
        b"Photoshop 3.0\0"
        + b"8BIM\x04\x04\0\0"
        + struct.pack(">I", len(records))
        + records
        + b"\0" * (len(records) & 1)
    )
    return b"\xff\xed" + struct.pack(">H", len(body) + 2) + body


IPTC = iptc((5, b"Secret Title"), (80, b"Ada"), (110, "Agentur Müller".encode()), (116, b"(c) Ada 2026"))


def source(name: str, orientation: int = 1, **settings: Any) -> bytes:
    quality = {"PNG": {"compress_level": 0}, "TIFF": {}}.get(name, {"quality": 95})
    data = encode(photo(), name, exif=exif(orientation), xmp=XMP, **(quality | settings))
    if name == "PNG":
        chunks = read(data)
        data = write([*chunks[:1], (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), *chunks[1:]])
    return data[:2] + IPTC + data[2:] if name == "JPEG" else data


def texts(data: bytes) -> set[str]:
    """The words of the metadata that are in the file."""
    words = (b"Ada", b"(c) Ada 2026", b"Agency", "Agentur Müller".encode(), b"Secret")
    if data.startswith(b"\x89PNG"):
        # Compressed pixels may contain three letters by chance.
        data = b"".join(body for kind, body in read(data) if kind != b"IDAT")
    return {word.decode() for word in words if word in data}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
@pytest.mark.parametrize(
    "options", [{}, {"metadata": Metadata.ALL, "max_width": 100}], ids=["copyright", "all, scaled"]
)
def test_notices_in_exif_keep_letters_that_are_not_ascii(name: str, encoding: str, options: dict[str, Any]) -> None:
    tags = Image.Exif()
    tags[0x8298] = "© Müßig".encode(encoding)
    settings = {"quality": 95, "exif": tags.tobytes()} if name == "JPEG" else {"tiffinfo": tags}
    data = encode(photo(), name, **settings)

    for format in (OutputFormat.ORIGINAL, OutputFormat.WEBP):
        assert "© Müßig".encode() in compress_data(data, format=format, **options).data


NOTICES = {"Ada", "(c) Ada 2026", "Agency"}


@pytest.mark.parametrize("form", OutputFormat)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_copyright_stays_by_default_and_nothing_else(name: str, form: OutputFormat) -> None:
    data = source(name, comment=b"Secret comment") if name == "JPEG" else source(name)

    [plain, none, everything] = [
        compress_data(data, format=form, metadata=m) for m in (Metadata.COPYRIGHT, Metadata.NONE, Metadata.ALL)
    ]

    assert Options().metadata is Metadata.COPYRIGHT
    assert texts(plain.data) - {"Agentur Müller"} == NOTICES
    assert texts(none.data) == set()
    assert texts(everything.data) >= NOTICES | {"Secret"}
    assert len(none.data) < len(plain.data) < len(none.data) + 1_200
    assert compress_data(plain.data).data == plain.data


def test_iptc_of_a_jpeg_stays_and_goes_into_xmp_elsewhere() -> None:
    data = encode(photo(), "JPEG", quality=95)
    data = data[:2] + IPTC + data[2:]

    same, webp = compress_data(data).data, compress_data(data, format=OutputFormat.WEBP).data

    assert decode(same).info["photoshop"][0x0404].endswith(b"(c) Ada 2026")
    assert texts(same) == texts(webp) == {"Ada", "(c) Ada 2026", "Agentur Müller"}


def test_keep_metadata_means_all() -> None:
    assert Options(keep_metadata=True) == Options(metadata=Metadata.ALL)
    assert Options.from_json({"keep_metadata": True}).metadata is Metadata.ALL
    assert Options.from_json(Options(metadata=Metadata.NONE).to_json()) == Options(metadata=Metadata.NONE)
    assert Options().to_json() == {}


@pytest.mark.parametrize(
    "packet", [b"<x", b"<!DOCTYPE x [<!ENTITY a 'Ada'>]><x>&a;</x>", XMP[:200], b"\xff" * 99, b"<a/>"]
)
def test_broken_xmp_is_dropped(packet: bytes) -> None:
    data = encode(photo(), "JPEG", quality=95, xmp=packet)

    assert "xmp" not in decode(compress_data(data).data).info


def test_kept_jpeg_sheds_segments_and_trailing_bytes() -> None:
    small = encode(photo(), "JPEG", quality=30)
    heavy = encode(
        photo(), "JPEG", quality=30, exif=exif(6), icc_profile=SRGB, comment=b"Secret comment", dpi=(300, 300)
    )
    heavy = (
        heavy[:20]
        + IPTC
        + b"\xff\xe2"
        + struct.pack(">H", 60_002)
        + b"Secret" * 10_000
        + heavy[20:]
        + b"Secret archive" * 9
    )

    result = compress_data(heavy)

    assert result.outcome is COMPRESSED
    assert len(result.data) < len(small) + len(SRGB) + 1_500
    assert texts(result.data) >= {"Ada"}
    assert "Secret" not in texts(result.data)
    after = decode(result.data)
    assert (after.info["icc_profile"], after.info["dpi"], after.getexif()[0x0112]) == (SRGB, (300, 300), 6)
    assert is_displayed_equal(heavy, result.data)
    assert (compress_data(result.data).outcome, compress_data(result.data).data) == (KEPT, result.data)
    assert "Secret" in texts(compress_data(heavy, metadata=Metadata.ALL).data)


def test_kept_jpeg_that_has_nothing_to_shed_is_unchanged() -> None:
    data = encode(photo(), "JPEG", quality=30)

    assert (compress_data(data).outcome, compress_data(data).data) == (KEPT, data)


TRAILING = b"*/=1;alert(1)//"
KEPT_SOURCES = {
    "GIF": gif.gif(gif.Frame(), comment=b"x"),
    "BMP": encode(photo(), "BMP"),
    "WEBP": encode(photo(), "WEBP", quality=20, exif=exif(6)),
    "PNG": compress_data(encode(photo(), "PNG")).data,
    "AVIF": compress_data(encode(photo(), "AVIF", quality=90)).data,
    # With a header of 40 bytes, so without a profile.
    "BMP in run lengths": bmp.sources()["run lengths"].replace(b"\x7c\0\0\0", b"\x28\0\0\0", 1),
    "BMP with a profile": bmp.sources()["a profile, version 5"],
}


@pytest.mark.parametrize("name", KEPT_SOURCES)
def test_kept_file_sheds_what_stands_behind_its_end(name: str) -> None:
    data = KEPT_SOURCES[name]

    result = compress_data(data + TRAILING)

    assert TRAILING not in result.data
    assert len(result.data) <= len(data)
    assert is_displayed_equal(data, result.data)
    assert compress_data(result.data).data == result.data


def test_kept_webp_and_png_shed_metadata() -> None:
    png = read(KEPT_SOURCES["PNG"])
    png.insert(1, (b"tEXt", b"Comment\0Secret"))
    png.insert(1, (b"tEXt", b"Copyright\0(c) Ada 2026"))

    after_png, after_webp = compress_data(write(png)).data, compress_data(KEPT_SOURCES["WEBP"]).data

    assert texts(after_png) == {"Ada", "(c) Ada 2026"}
    assert texts(after_webp) == {"Ada", "(c) Ada 2026"}
    assert Image.open(BytesIO(after_webp)).getexif()[0x0112] == 6


def gain_map_jpeg(kind: str) -> bytes:
    marks = {
        "Adobe": b"\xff\xe1%shttp://ns.adobe.com/xap/1.0/\0<x xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/'/>",
        "ISO": b"\xff\xe2%surn:iso:std:iso:ts:21496:-1\0\0\0\0\0",
        "Apple": b"\xff\xe2%sMPF\0MM\0*",
    }
    mark = marks[kind] % struct.pack(">H", len(marks[kind]) - 4 + 2)
    data = encode(photo(), "JPEG", quality=95)
    second = encode(photo(60, 40), "JPEG", quality=80)
    second += b"urn:com:apple:photo:2020:aux:hdrgainmap" if kind == "Apple" else b""
    return data[:20] + mark + data[20:] + second


@pytest.mark.parametrize("kind", ["Adobe", "ISO", "Apple"])
def test_jpeg_with_a_gain_map_is_kept_with_a_warning(kind: str) -> None:
    data = gain_map_jpeg(kind)

    kept, changed = compress_data(data), compress_data(data, scale=0.5)

    assert (kept.outcome, kept.data) == (KEPT, data)
    assert "gain map" in (kept.warning or "")
    assert "gain map of the image is lost" in (changed.warning or "")
    assert compress_data(encode(photo(), "JPEG", quality=95)).warning is None


@pytest.mark.parametrize("order", ["big", "little"])
def test_jpeg_with_a_gain_map_loses_its_location(order: str) -> None:
    # Given a gain map, and GPS data in EXIF and XMP,
    tags = Image.Exif()
    tags.endian = ">" if order == "big" else "<"
    tags[0x0112], tags[0x8298] = 6, "(c) Ada 2026"
    tags.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 5.5), 3: "E", 4: (11.0, 34.0, 7.5)})
    gps = b'exif:GPSLatitude="48,8N" <exif:GPSLongitude>11,34E</exif:GPSLongitude>'
    added = segment(0xE1, tags.tobytes()) + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + gps)
    source = gain_map_jpeg("ISO")
    data = source[:2] + added + source[2:]

    result, everything = compress_data(data), compress_data(data, metadata=Metadata.ALL)

    # then only these bytes are erased, and nothing moves,
    after = decode(result.data).getexif()
    assert (result.outcome, len(result.data)) == (COMPRESSED, len(data))
    assert (after[0x0112], after[0x8298], dict(after.get_ifd(0x8825))) == (6, "(c) Ada 2026", {})
    assert b"GPSL" not in result.data
    assert 34 not in result.data[: len(added)]
    assert result.data[:2] + result.data[2 + len(added) :] == source
    assert "not compressed" in (result.warning or "")

    # and a second pass, and one with all metadata, change nothing.
    assert compress_data(result.data).outcome is KEPT
    assert (everything.outcome, everything.data) == (KEPT, data)


@pytest.mark.parametrize("count", [0, 3, 65, 65_535])
def test_broken_location_is_erased_with_all_but_the_orientation(count: int) -> None:
    gps = struct.pack(">HHHII", count, 2, 5, 2**30, 38) + b"Secret"
    broken = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">HHHIHHHHIII", 2, 0x0112, 3, 1, 6, 0, 0x8825, 4, 1, 38, 0) + gps

    erased = location.erase_from_exif(broken)

    assert len(erased) == len(broken)
    assert read_orientation(erased) == 6
    assert (b"Secret" in erased) is (count == 0)


def test_result_that_is_many_times_larger_is_reported() -> None:
    data = encode(photo().convert("L").convert("RGB"), "WEBP", quality=5)

    result = compress_data(data, format=OutputFormat.PNG)

    assert len(result.data) > 4 * len(data)
    assert "times as large as the source" in (result.warning or "")


def text(kind: bytes, keyword: bytes, value: str, *, compressed: bool = False) -> tuple[bytes, bytes]:
    stored = value.encode("latin-1" if kind != b"iTXt" else "utf-8")
    stored = zlib.compress(stored) if compressed or kind == b"zTXt" else stored
    head = {b"tEXt": b"", b"zTXt": b"\0", b"iTXt": bytes((compressed, 0)) + b"en\0\0"}[kind]
    return kind, keyword + b"\0" + head + stored


TEXTS = {
    "tEXt": [text(b"tEXt", b"Copyright", "(c) Zoe"), text(b"tEXt", b"Author", "Zoe")],
    "zTXt": [text(b"zTXt", b"Copyright", "(c) Zoe"), text(b"zTXt", b"Author", "Zoe")],
    "iTXt": [text(b"iTXt", b"Copyright", "(c) Zoe"), text(b"iTXt", b"Author", "Zoe")],
    "compressed iTXt": [
        text(b"iTXt", name, v, compressed=True) for name, v in ((b"Copyright", "(c) Zoe"), (b"Creator", "Zoe"))
    ],
}


def with_texts(*texts: tuple[bytes, bytes], level: int = 0) -> bytes:
    chunks = read(encode(photo(), "PNG", compress_level=level))
    return write([*chunks[:1], *texts, *chunks[1:]])


@pytest.mark.parametrize("name", TEXTS)
def test_notices_in_texts_of_a_png_stay(name: str) -> None:
    comment = text(b"iTXt", b"Comment", "secret", compressed=True)
    data = with_texts(*TEXTS[name], comment, text(b"iTXt", b"Credit", "Agentur Müller"))

    for options in ({}, {"quality": 100}):
        same = compress_data(data, **options)
        kept = [chunk for chunk in read(same.data) if chunk[0] in (b"tEXt", b"zTXt", b"iTXt")]
        assert kept == [*TEXTS[name], text(b"iTXt", b"Credit", "Agentur Müller")]
        assert compress_data(same.data, **options).data == same.data
    for options in ({"format": OutputFormat.WEBP}, {"format": OutputFormat.JPEG}, {"scale": 0.5}):
        packet = decode(compress_data(data, **options).data).info["xmp"]
        packet = packet if isinstance(packet, bytes) else packet.encode()
        assert read_xmp(packet) == Notice("Zoe", "(c) Zoe", "Agentur Müller")
    assert b"Zoe" not in compress_data(data, metadata=Metadata.NONE).data


def test_compressed_xmp_of_a_png_is_read() -> None:
    data = with_texts(text(b"iTXt", b"XML:com.adobe.xmp", XMP.decode(), compressed=True))

    packet = decode(compress_data(data).data).info["xmp"]

    assert read_xmp(packet) == Notice("Ada, Bob", "(c) Ada 2026", "Agency & Sons")
    assert b"Secret" not in packet


@pytest.mark.parametrize("value", ["x" * 5_000_000, ""])
def test_texts_that_are_bombs_or_damaged_are_dropped(value: str) -> None:
    bomb = text(b"iTXt", b"Author", value, compressed=True)
    damaged = (b"zTXt", b"Copyright\0\0not deflated"), (b"iTXt", b"Credit\0\1\0"), (b"iTXt", b"Creator\0")
    xmp = text(b"iTXt", b"XML:com.adobe.xmp", "<a>" + value, compressed=True)

    result = compress_data(with_texts(bomb, *damaged, xmp), format=OutputFormat.WEBP)

    assert result.outcome is COMPRESSED
    assert "xmp" not in decode(result.data).info


GPS = {1: "N", 2: (48.0, 8.0, 5.5), 3: "E", 4: (11.0, 34.0, 7.5)}
GPS_XMP = b'<x exif:GPSLatitude="48,8N"><exif:GPSLongitude>11,34E</exif:GPSLongitude></x>'


def avif_with_location() -> bytes:
    """A file that is kept, because a pass would save too little."""
    tags = Image.Exif()
    tags[0x8298] = "(c) Ada 2026"
    tags.get_ifd(0x8825).update(GPS)
    return encode(photo(), "AVIF", quality=20, exif=tags.tobytes(), xmp=GPS_XMP)


def tiff_with_location(trailer: bytes = b"") -> bytes:
    """A file that is kept, because its page has JPEG coding. Pillow writes no GPS data next to it."""
    data = encode(photo(), "TIFF", compression="jpeg", quality=60, tiffinfo={0x8298: "(c) Ada 2026"})
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    rationals = struct.pack("<6I", 48, 1, 8, 1, 11, 2)
    values_at = len(data)
    gps_at = values_at + len(rationals) + len(GPS_XMP)
    gps = struct.pack("<HHHI4sHHIII", 2, 1, 2, 2, b"N", 2, 5, 3, values_at, 0)
    entries.append(struct.pack("<HHII", 700, 1, len(GPS_XMP), values_at + len(rationals)))
    entries.append(struct.pack("<HHII", 0x8825, 4, 1, gps_at))
    directory = struct.pack("<H", len(entries)) + b"".join(sorted(entries, key=lambda entry: entry[1::-1])) + bytes(4)
    first = struct.pack("<I", gps_at + len(gps))
    return data[:4] + first + data[8:] + rationals + GPS_XMP + gps + directory + trailer


@pytest.mark.parametrize("name", ["AVIF", "TIFF"])
def test_kept_avif_and_tiff_lose_their_location(name: str) -> None:
    data = avif_with_location() if name == "AVIF" else tiff_with_location()
    assert decode(data).getexif().get_ifd(0x8825)[1] == "N"

    result, everything = compress_data(data), compress_data(data, metadata=Metadata.ALL)

    # Then only these bytes are erased: the file has the same size, and shows the same,
    after = decode(result.data)
    assert (result.outcome, len(result.data)) == (COMPRESSED, len(data))
    assert (after.getexif()[0x8298], dict(after.getexif().get_ifd(0x8825))) == ("(c) Ada 2026", {})
    assert after.tobytes() == decode(data).tobytes()
    assert b"GPSL" not in result.data

    # and a second pass, and one with all metadata, change nothing.
    assert compress_data(result.data).outcome is KEPT
    assert (everything.outcome, everything.data) == (KEPT, data)


def test_kept_tiff_sheds_what_stands_behind_its_end() -> None:
    # Given a TIFF without location, and a script behind its last byte,
    data = compress_data(tiff_with_location()).data

    result = compress_data(data + b"<script>alert(1)</script>")
    everything = compress_data(data + b"<script>", metadata=Metadata.ALL)

    assert (result.outcome, result.data) == (COMPRESSED, data)
    assert everything.outcome is KEPT


@pytest.mark.parametrize("tag", [273, 279, 324, 519])
def test_tiff_whose_end_is_not_known_is_kept_whole(tag: int) -> None:
    # Given a TIFF with bytes behind its end, and without the sizes of its strips, or with tables of an unknown size,
    data = compress_data(tiff_with_location()).data
    (start,) = struct.unpack_from("<I", data, 4)
    at = data.index(struct.pack("<HH", 279, 4), start)
    changed = data[:at] + struct.pack("<H", tag) + data[at + 2 :] + b"behind the end"

    assert find_end(changed) == len(changed) - (len(b"behind the end") if tag == 279 else 0)


def test_location_that_overlaps_the_image_stays() -> None:
    # Given a TIFF whose GPS data are said to be the directory of its page,
    data = tiff_with_location()
    (start,) = struct.unpack_from("<I", data, 4)
    at = data.index(struct.pack("<HH", 0x8825, 4), start)
    hostile = data[: at + 8] + struct.pack("<I", start) + data[at + 12 :]

    result = compress_data(hostile)

    assert (result.outcome, result.data) == (KEPT, hostile)
