"""Refusals: their codes, and that a refusal costs almost no time and memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import Metadata, Options, OutputFormat
from tests.imaging.corpus import bmp, jpeg, tiff
from tests.imaging.corpus.compression import COMPRESSED, KEPT, compress_data
from tests.imaging.corpus.displayed import is_displayed_equal
from tests.imaging.corpus.images import animated

NOT_AN_IMAGE, UNSUPPORTED = ImageErrorCode.NOT_AN_IMAGE, ImageErrorCode.UNSUPPORTED_FORMAT
TOO_LARGE, CORRUPT = ImageErrorCode.TOO_LARGE, ImageErrorCode.CORRUPT


def encode_noise(name: str, size: tuple[int, int] = (64, 48), **settings: Any) -> bytes:
    file = BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, name, **settings)
    return file.getvalue()


def expect_refusal(data: bytes, limits: ImageLimits | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        compress(data, Options(), limits or ImageLimits())
    assert caught.value.message.endswith(".")
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", NOT_AN_IMAGE, "The file is empty."),
        (b"\n<!DOCTYPE html><html><svg></svg></html>", NOT_AN_IMAGE, "The host returned a web page"),
        (b"\xef\xbb\xbf<html><body>404", NOT_AN_IMAGE, "The host returned a web page"),
        (b'{"error": "not found"}', NOT_AN_IMAGE, "JSON"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', NOT_AN_IMAGE, "an XML document"),
        (b"PK\x03\x04rest", NOT_AN_IMAGE, "ZIP"),
        (b"RIFF\0\0\0\0WAVEfmt ", NOT_AN_IMAGE, "sound"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", NOT_AN_IMAGE, "a video"),
        (b"hello, world", NOT_AN_IMAGE, "not an image in a known format"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', UNSUPPORTED, "an SVG drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", UNSUPPORTED, "PostScript"),
        (b"%PDF-1.7", UNSUPPORTED, "a PDF document"),
        (b"8BPS\0\1", UNSUPPORTED, "Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", UNSUPPORTED, "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0", UNSUPPORTED, "raw file"),
        (b"P6\n1 1\n255\n\0\0\0", UNSUPPORTED, "PNM"),
    ],
)
def test_unsupported_file_is_refused_with_the_name_of_its_format(data: bytes, code: ImageErrorCode, words: str) -> None:
    failure = expect_refusal(data)

    assert failure.code is code
    assert words in failure.message
    assert ("Use JPEG, PNG, WebP, AVIF, GIF, TIFF or BMP." in failure.message) is (code is UNSUPPORTED)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_truncated_image_is_corrupt(name: str, part: float) -> None:
    data = encode_noise(name)

    failure = expect_refusal(data[: max(16, int(len(data) * part))])

    assert failure.code is CORRUPT


def test_truncated_jpeg_of_low_quality_is_corrupt() -> None:
    data = encode_noise("JPEG", quality=20)

    assert expect_refusal(data[:-200]).code is CORRUPT


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def webp_of_34_bytes() -> bytes:
    bits = (16_383 - 1) | (16_383 - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<I", 14) + body


def jpeg_of_scans(count: int, size: tuple[int, int] = (64, 48)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * count + data[-2:]


def gif_of_many_frames(width: int, height: int, frames: int) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + frame * frames + b"\x3b"


def gif_outside_its_screen() -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 60_000, 60_000, 1, 1, 0) + b"\x02\x02\x4c\x01\0"
    return gif_of_many_frames(1, 1, 1)[:-1] + frame + b"\x3b"


def avif_of_1_kilobyte() -> bytes:
    data = encode_noise("AVIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 16_384, 16_384) + data[at + 8 :]


def tiff_of(*tags: tuple[int, int], next_at: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_at)


def tiff_of_shared_values() -> bytes:
    entries = b"".join(struct.pack("<HHII", 40_000 + n, 7, 100_000, 8) for n in range(1_000))
    tags = struct.pack("<HHII", 256, 4, 1, 8) + struct.pack("<HHII", 257, 4, 1, 8) + entries
    return b"II*\0" + struct.pack("<IH", 8, 1_002) + tags + bytes(100_004)


def tiff_of_strips(count: int) -> bytes:
    page = [(256, 4, (1,)), (257, 4, (count,)), (258, 3, (8,)), (259, 3, (1,)), (262, 3, (1,)), (277, 3, (1,))]
    return tiff.tiff(([*page, (278, 3, (1,)), (273, 4, (8,) * count), (279, 4, (1,) * count)], []))


def deflated_zeros(megabytes: int) -> bytes:
    """A zlib stream that repeats one compressed megabyte, which is faster than compressing all of them."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = deflater.compress(bytes(1_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
    adler = (megabytes * 1_000_000 % 65_521) << 16 | 1
    return b"\x78\xda" + megabyte * megabytes + deflater.flush() + struct.pack(">I", adler)


def png_of_text(kind: bytes, head: bytes, count: int) -> bytes:
    megabyte = zlib.compress(bytes(1_000_000), 9)
    return png_of(180, 180, *[(kind, b"%d" % n + head + megabyte) for n in range(count)])


#: Of an animation that declares 1,000 frames, without their pixels.
APNG_BOMB = [(b"acTL", struct.pack(">II", 1_000, 0)), *[(b"fcTL", bytes(26))] * 1_000]

BOMBS: dict[str, tuple[Callable[[], bytes], ImageErrorCode]] = {
    "WebP of 34 bytes": (webp_of_34_bytes, TOO_LARGE),
    "JPEG of 3,000 scans": (lambda: jpeg_of_scans(3_000), TOO_LARGE),
    "JPEG of 50 scans of 40 megapixels": (lambda: jpeg_of_scans(50, (8_000, 5_000)), TOO_LARGE),
    "GIF of many frames": (lambda: gif_of_many_frames(4_000, 4_000, 1_500), TOO_LARGE),
    "GIF of too many frames": (lambda: gif_of_many_frames(10, 10, 60_000), TOO_LARGE),
    "GIF of tiny blocks": (lambda: gif_of_many_frames(9, 9, 1)[:-2] + b"\x01\0" * 3_000_000, CORRUPT),
    "GIF outside its screen": (gif_outside_its_screen, TOO_LARGE),
    "AVIF of 1 KB": (avif_of_1_kilobyte, TOO_LARGE),
    "PNG header": (lambda: png_of(40_000, 40_000), TOO_LARGE),
    "PNG of two headers": (
        lambda: png_of(8, 8, (b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))),
        CORRUPT,
    ),
    "PNG of many chunks": (lambda: png_of(8, 8, *[(b"teSt", b"")] * 70_000), CORRUPT),
    "APNG of many frames": (lambda: png_of(4_000, 4_000, *APNG_BOMB), TOO_LARGE),
    "BMP": (lambda: b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**31 - 1, -(2**31), 1, 24, 0), TOO_LARGE),
    "TIFF": (lambda: tiff_of((256, 60_000), (257, 60_000)), TOO_LARGE),
    "TIFF of huge tiles": (lambda: tiff_of((256, 8), (257, 8), (322, 99_999), (323, 99_999)), TOO_LARGE),
    "TIFF with a cycle of directories": (lambda: tiff_of((256, 8), (257, 8), next_at=8), CORRUPT),
    "BigTIFF with an offset of 64 bits": (lambda: b"II+\0\x08\0\0\0" + b"\xff" * 8, CORRUPT),
    "TIFF of shared values": (tiff_of_shared_values, CORRUPT),
    "TIFF of 3,000,000 strips": (lambda: tiff_of_strips(3_000_000), TOO_LARGE),
    "TIFF of 3,000,000 depths": (
        lambda: tiff.tiff(([(256, 3, (9,)), (257, 3, (9,)), (258, 3, (8,) * 3_000_000)], [])),
        TOO_LARGE,
    ),
    "PNG with a profile of 500 MB": (lambda: png_of(8, 8, (b"iCCP", b"x\0\0" + deflated_zeros(500))), CORRUPT),
    "JPEG of junk": (lambda: b"\xff\xd8\xff\xe0\0\2" + b"a" * 20_000_000, CORRUPT),
    "JPEG of empty segments": (lambda: b"\xff\xd8" + b"\xff\xe0\0\2" * 5_000_000, CORRUPT),
    "JPEG without a height": (
        lambda: encode_noise("JPEG", (64, 48)).replace(b"\x08\0\x30\0\x40", b"\x08\0\0\0\x40"),
        CORRUPT,
    ),
}


def peak_kib() -> int:
    """The peak memory of the process; 0 where it is unknown."""
    if sys.platform != "linux":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bomb_is_refused_cheaply(name: str) -> None:
    build, code = BOMBS[name]
    data = build()
    started, peak = time.process_time(), peak_kib()

    failure = expect_refusal(data)

    assert failure.code is code
    assert time.process_time() - started < 0.5
    assert peak_kib() - peak < 64 << 10


@pytest.mark.parametrize(("kind", "head"), [(b"zTXt", b"\0\0"), (b"iTXt", b"\0\1\0\0\0")], ids=["zTXt", "iTXt"])
def test_png_texts_are_not_inflated(kind: bytes, head: bytes) -> None:
    data = png_of_text(kind, head, 63)
    rows = png_of_text(kind, head, 0)
    started, peak = time.process_time(), peak_kib()

    result = compress_data(data)

    assert is_displayed_equal(rows, result.data)
    assert len(result.data) < 1_000
    assert time.process_time() - started < 0.5
    assert peak_kib() - peak < 8 << 10


def test_png_with_a_long_text_is_compressed() -> None:
    long = (b"zTXt", b"workflow\0\0" + zlib.compress(bytes(20_000_000)))

    assert compress_data(png_of(180, 180, long)).outcome is COMPRESSED


def test_wrong_checksum_is_detected_although_texts_are_dropped() -> None:
    data = bytearray(png_of(180, 180, (b"tEXt", b"Comment\0hello")))
    data[8 + 4 + 4 + 13] ^= 1

    assert expect_refusal(bytes(data)).code is CORRUPT


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9, 0.9999])
@pytest.mark.parametrize("name", ["PNG", "WEBP", "AVIF", "GIF"])
def test_animation_truncated_in_a_later_frame_is_corrupt(name: str, part: float) -> None:
    data = animated(name)

    assert expect_refusal(data[: int(len(data) * part)]).code is CORRUPT


def test_bytes_after_the_end_of_a_jpeg_do_not_count_as_scans() -> None:
    video = b"\xff\xda" * 1_000
    data = jpeg_of_scans(3)

    assert compress_data(data + video).outcome is COMPRESSED


@pytest.mark.parametrize("progressive", [False, True])
def test_end_marker_of_a_thumbnail_does_not_end_a_jpeg(progressive: bool) -> None:
    thumbnail = encode_noise("JPEG", quality=80)
    data = encode_noise("JPEG", (200, 150), quality=20, exif=jpeg.exif(1, thumbnail), progressive=progressive)
    assert b"\xff\xd9" in data[:-200]

    assert expect_refusal(data[:-200]).code is CORRUPT
    assert compress_data(data, metadata=Metadata.ALL).outcome is KEPT
    assert is_displayed_equal(data, compress_data(data).data)


def test_run_length_encoded_bmp_is_changed_only_below_the_size_limit() -> None:
    few = bmp.sources()["run lengths"]
    many = few.ljust(4_000_001, b"\0")

    assert is_displayed_equal(few, compress_data(few, format=OutputFormat.PNG).data)
    assert compress_data(many).outcome is KEPT
    with pytest.raises(ImageError, match="run-length encoded BMP of more than 4 MB") as caught:
        compress_data(many, scale=0.5)
    assert caught.value.code is TOO_LARGE


def test_truncated_run_lengths_are_corrupt() -> None:
    assert expect_refusal(bmp.sources()["run lengths"][:-1]).code is CORRUPT


def test_refusal_states_the_value_and_the_limit() -> None:
    limits = ImageLimits(max_pixels=1_000, max_total_pixels=3_000, max_frames=3)

    failure = expect_refusal(encode_noise("PNG"), limits)
    assert failure.message == "The image has 64 x 48 pixels; the limit is 0.001 megapixels."
    assert "more than 3 frames" in expect_refusal(gif_of_many_frames(8, 8, 4), limits).message
    assert "3 frames" not in expect_refusal(gif_of_many_frames(30, 34, 3), limits).message


def test_header_includes_size_frames_and_megapixels() -> None:
    header = inspect(gif_of_many_frames(100, 50, 20), ImageLimits())

    assert (header.format, header.media_type, header.extension) == ("GIF", "image/gif", "gif")
    assert (header.width, header.height, header.frames, header.megapixels) == (100, 50, 20, 0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_image_without_enough_memory_fails_alone_and_is_retryable(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from gql_imgproc.imaging.compress import ImageLimits, compress
from gql_imgproc.imaging.options import Options
from gql_imgproc.errors import ImageError
from gql_imgproc.system.process import limit_memory

large, small = (Path(name).read_bytes() for name in sys.argv[1:])
compress(small, Options(), ImageLimits())
mapped_pages = int(Path("/proc/self/statm").read_text().split()[0])
limit_memory(mapped_pages * 4096 + 64 * 2**20)
try:
    compress(large, Options(), ImageLimits())
except ImageError as failure:
    print(failure.code, failure.retryable)
print(compress(small, Options(), ImageLimits()).outcome)
"""
    Image.new("RGB", (8_000, 5_000)).save(tmp_path / "large", "JPEG")
    (tmp_path / "small").write_bytes(encode_noise("JPEG"))

    process = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "large", tmp_path / "small"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert process.stdout.split("\n") == ["TOO_LARGE True", "COMPRESSED", ""]
