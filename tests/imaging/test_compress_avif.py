"""AVIF: its boxes and AV1 headers, valid or hostile, and that no output is compressed twice."""

from __future__ import annotations

import random
import struct
import time
from io import BytesIO
from math import prod
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from gql_imgproc.enums import ImageOutcome
from gql_imgproc.errors import ImageError, ImageErrorCode
from gql_imgproc.imaging.codecs import av1, heif
from gql_imgproc.imaging.codecs.avif import is_own_output
from gql_imgproc.imaging.codecs.isobmff import Box, IsoBmffReader
from gql_imgproc.imaging.compress import ImageLimits, compress, inspect
from gql_imgproc.imaging.options import Options, OutputFormat
from gql_imgproc.imaging.quality_mapping import avif_quality
from tests.imaging.corpus.compression import compress_data
from tests.imaging.corpus.displayed import decode, upright_psnr_db
from tests.imaging.corpus.images import DURATIONS_MS, SRGB, animated, encode, photo, with_alpha
from tests.imaging.test_compress_limits import peak_kib

CORRUPT, TOO_LARGE = ImageErrorCode.CORRUPT, ImageErrorCode.TOO_LARGE
UNSUPPORTED = ImageErrorCode.UNSUPPORTED_FORMAT
COMPRESSED, KEPT = ImageOutcome.COMPRESSED, ImageOutcome.KEPT


def avif(image: Image.Image, quality: int = 92, **settings: Any) -> bytes:
    return encode(image, "AVIF", quality=quality, **({"speed": 9, "max_threads": 1} | settings))


def read(data: bytes) -> heif.Container:
    return heif.read_structure(data, 2_000)


def expect_refusal(data: bytes, limits: ImageLimits | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        inspect(data, limits or ImageLimits())
    with pytest.raises(ImageError) as compress_error:
        compress(data, Options(), limits or ImageLimits())
    assert (compress_error.value.code, compress_error.value.message) == (caught.value.code, caught.value.message)
    return caught.value


def patch(data: bytes, box: bytes, at: int, new: bytes, which: int = 0) -> bytes:
    """The file with some bytes of a box's content overwritten."""
    start = -1
    for _ in range(which + 1):
        start = data.index(box, start + 1)
    start += 4 + at
    return data[:start] + new + data[start + len(new) :]


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def stream_of(data: bytes) -> bytes:
    """The AV1 stream of a file with one opaque image."""
    return data[data.index(b"mdat") + 4 :]


def grid(columns: int, rows: int, size: tuple[int, int], tile: bytes, tile_size: tuple[int, int]) -> bytes:
    """A file whose image is a grid of tiles with the same bytes."""
    tiles = columns * rows
    numbers = list(range(2, tiles + 2))
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    kinds = [full_box(b"infe", b"", struct.pack(">HH4sB", 1, 0, b"grid", 0))]
    kinds += [full_box(b"infe", struct.pack(">HH4sB", n, 0, b"av01", 0)) for n in numbers]
    kinds = [kind[:8] + b"\2" + kind[9:] for kind in kinds]
    config = av1c_of(tile)

    def meta_box(start: int) -> bytes:
        locations = struct.pack(">HHHII", 1, 0, 1, start, len(layout))
        extents = [(n, 0, 1, start + len(layout), len(stream_of(tile))) for n in numbers]
        locations += b"".join(struct.pack(">HHHII", *extent) for extent in extents)
        associations = struct.pack(">HBBB", 1, 2, 1, 2) + b"".join(struct.pack(">HBBB", n, 2, 3, 0x84) for n in numbers)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", tiles + 1), locations),
            full_box(b"iinf", struct.pack(">H", tiles + 1), *kinds),
            full_box(b"iref", box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *numbers))),
            box(
                b"iprp",
                box(
                    b"ipco",
                    full_box(b"ispe", struct.pack(">II", *size)),
                    full_box(b"pixi", b"\3\x08\x08\x08"),
                    full_box(b"ispe", struct.pack(">II", *tile_size)),
                    config,
                ),
                full_box(b"ipma", struct.pack(">I", tiles + 1), associations),
            ),
        )

    kind = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    start = len(kind) + len(meta_box(0)) + 8
    return kind + meta_box(start) + box(b"mdat", layout, stream_of(tile))


def with_property(data: bytes, new: bytes) -> bytes:
    """The file, which has one item, with one more property."""
    ipma, meta = data.index(b"ipma") - 4, data.index(b"meta") - 4
    many = data[ipma + 18]
    iprp, ipco = data.index(b"iprp") - 4, data.index(b"ipco") - 4
    associated = data[ipma : ipma + 19 + many]
    associated = struct.pack(">I", 20 + many) + associated[4:18] + bytes((many + 1,)) + associated[19:] + b"\x85"
    out = data[:ipma] + new + associated + data[ipma + 19 + many :]
    for at, grown in ((meta, len(new) + 1), (iprp, len(new) + 1), (ipco, len(new)), (data.index(b"iloc") + 18, 0)):
        old = struct.unpack_from(">I", out, at)[0]
        out = out[:at] + struct.pack(">I", old + (grown or len(new) + 1)) + out[at + 4 :]
    return out


def av1c_of(data: bytes) -> bytes:
    at = data.index(b"av1C") - 4
    return data[at : at + 12]


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4", "4:2:2", "4:0:0"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (65, 63), (4_200, 70), (70, 2_400)])
def test_sequence_header_has_the_size_of_the_image(size: tuple[int, int], subsampling: str) -> None:
    data = avif(photo(*size), subsampling=subsampling)

    stream = av1.read_stream([memoryview(stream_of(data))], IsoBmffReader(data, 100), 1)

    assert (stream.size, stream.area, stream.bit_depth, stream.colors) == (size, prod(size), 8, (1, 13, 6))
    assert read(data) == heif.Container(area=prod(size))


def test_headers_of_an_animation_are_read() -> None:
    # An animation does not have the reduced headers of a still image.
    data = animated("AVIF", speed=9, quality=100)
    (length,) = struct.unpack_from(">I", data, data.index(b"stsz") + 4 + 12)

    stream = av1.read_stream([memoryview(stream_of(data))[:length]], IsoBmffReader(data, 100), 1)

    assert (stream.size, stream.area, stream.bit_depth, stream.colors) == ((96, 64), 96 * 64, 8, (1, 13, 6))


def test_ten_bits_are_detected_in_the_sequence_header() -> None:
    data = avif(photo(64, 48))
    at = data.index(b"mdat") + 4 + 4
    # After profile, level and the two sizes come five tools, then the bit for more than 8 bits.
    high_bit_depth = data[: at + 4] + bytes((data[at + 4] | 0x08,)) + data[at + 5 :]

    stream = av1.read_stream([memoryview(stream_of(high_bit_depth))], IsoBmffReader(data, 100), 1)

    assert stream.bit_depth == 10
    assert (read(high_bit_depth).pillow_can_represent, read(data).pillow_can_represent) == (False, True)


def textured(seed: int) -> Image.Image:
    """From flat to noise, in many sizes, sometimes with alpha."""
    pick = random.Random(seed)
    size = pick.randrange(1, 200), pick.randrange(1, 200)
    image = Image.effect_noise(size, pick.choice([0, 5, 30, 90])).convert("RGB")
    if pick.random() < 0.5:
        image = Image.blend(image, photo(*size), 0.5).filter(ImageFilter.GaussianBlur(pick.randrange(3)))
    return with_alpha(image) if pick.random() < 0.3 else image


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 100), st.sampled_from(["4:2:0", "4:4:4"]))
def test_output_is_recognized_and_kept(seed: int, source_quality: int, quality: int, subsampling: str) -> None:
    data = avif(textured(seed), source_quality, subsampling=subsampling)

    once = compress_data(data, quality=quality)
    scaled = compress_data(data, quality=quality, max_width=150, filters=())
    twice = compress_data(once.data, quality=quality)

    assert (twice.outcome, twice.data) == (KEPT, once.data)
    assert is_own_output(once.data, quality) is (once.outcome is COMPRESSED)
    assert compress_data(scaled.data, quality=quality).data == scaled.data


@pytest.mark.parametrize("quality", [1, 30, 50, 75, 100])
def test_image_converted_from_another_format_is_kept(quality: int) -> None:
    once = compress_data(encode(photo(), "PNG"), quality=quality, format=OutputFormat.AVIF)

    twice = compress_data(once.data, quality=quality)

    assert (twice.outcome, twice.data) == (KEPT, once.data)


@pytest.mark.parametrize("quality", [50, 51, 100])
def test_output_is_kept_at_its_quality_and_above(quality: int) -> None:
    limits = ImageLimits(min_saving_percent=0)
    once = compress(avif(photo(), 100), Options(quality=50), limits).data

    assert (is_own_output(once, 49), is_own_output(once, quality)) == (False, True)
    assert compress(once, Options(quality=quality), limits).data == once
    assert compress(once, Options(quality=20), limits).outcome is COMPRESSED


def test_mark_changes_no_byte_but_the_minor_version() -> None:
    pixels = Image.open(BytesIO(avif(photo())))
    expected = avif(pixels, avif_quality(50), speed=8)

    result = compress_data(avif(photo())).data

    assert result == expected[:12] + b"gqi\x32" + expected[16:]
    assert expected[12:16] == bytes(4)


@pytest.mark.parametrize(("source", "outcome"), [(20, KEPT), (49, KEPT), (60, COMPRESSED)])
def test_source_of_unknown_quality_is_kept_unless_a_tenth_is_saved(source: int, outcome: ImageOutcome) -> None:
    # Encoding the source of quality 49 again would save 6 %.
    data = avif(photo(), source, speed=8)

    result = compress(data, Options(), ImageLimits(min_saving_percent=0))

    assert not is_own_output(data, 100)
    assert result.outcome is outcome
    assert len(result.data) <= 0.9 * len(data) or result.data == data


def with_bits(data: bytes, old: str, new: str) -> bytes:
    """The file with some bits of its AV1 stream replaced, at any bit offset."""
    stream = stream_of(data)
    bits = "".join(f"{byte:08b}" for byte in stream)
    assert old in bits[:200]
    return data[: -len(stream)] + int(bits.replace(old, new, 1), 2).to_bytes(len(stream), "big")


def test_lossless_source_is_kept() -> None:
    # The code points for the colours are "unspecified", because there is a profile. The matrix follows.
    nearly = avif(photo(), 100, subsampling="4:4:4", icc_profile=SRGB)
    unspecified = f"{2:08b}{2:08b}"

    exact = with_bits(patch(nearly, b"nclx", 5, b"\0"), f"{unspecified}{6:08b}", f"{unspecified}{0:08b}")

    assert (read(nearly).pillow_can_represent, read(exact).pillow_can_represent) == (True, False)
    assert compress_data(nearly).outcome is COMPRESSED
    assert compress_data(exact).data == exact


@pytest.mark.parametrize("angle", range(4))
@pytest.mark.parametrize("axis", [0, 1])
def test_rotation_and_mirroring_are_applied_and_kept(angle: int, axis: int) -> None:
    upright = photo(96, 64).filter(ImageFilter.GaussianBlur(2))
    exif = Image.Exif()
    exif[0x0112] = 7  # written as a rotation and a mirroring
    data = patch(avif(upright, 95, exif=exif), b"irot", 0, bytes((angle,)))
    data = patch(data, b"imir", 0, bytes((axis,)))
    # HEIF, 6.5.10 and 6.5.12: anti-clockwise first, then top with bottom or left with right.
    turned = upright.rotate(90 * angle, expand=True)
    displayed = ImageOps.mirror(turned) if axis else ImageOps.flip(turned)

    header, result = inspect(data, ImageLimits()), compress_data(data)
    scaled = decode(compress_data(data, scale=0.5).data)

    assert (header.width, header.height) == displayed.size
    assert (result.outcome, result.width, result.height) == (COMPRESSED, *displayed.size)
    assert upright_psnr_db(displayed, decode(data)) >= 30
    assert upright_psnr_db(displayed, decode(result.data)) >= 25
    assert upright_psnr_db(displayed.resize((displayed.width // 2, displayed.height // 2)), scaled) >= 20


def test_exif_orientation_is_ignored_without_transform_boxes() -> None:
    exif = Image.Exif()
    exif[0x0113] = 6
    data = avif(photo(96, 64), exif=exif, icc_profile=SRGB)
    lying = data.replace(b"\x01\x13\0\x03", b"\x01\x12\0\x03").replace(b"\x01\x13\0\x04", b"\x01\x12\0\x03")
    assert lying != data

    result = compress_data(lying)

    assert (result.width, result.height) == (96, 64)
    assert decode(result.data).getexif().get(0x0112, 1) == 1
    assert decode(result.data).info["icc_profile"] == SRGB


def test_animation_is_kept_and_its_play_count_is_read() -> None:
    data = animated("AVIF", speed=9)
    # The track has 2,500 ms, so the edit of 1,000 ms plays two and a half times.
    thrice = patch(data, b"tkhd", 28, struct.pack(">Q", 2_500))

    assert (read(data).frames, read(data).play_count, read(thrice).play_count) == (4, 0, 3)
    assert inspect(data, ImageLimits()).frames == 4
    assert compress_data(data).data == data
    assert compress_data(thrice).data == thrice
    webp = Image.open(BytesIO(compress_data(thrice, format=OutputFormat.WEBP).data))
    assert (webp.n_frames, webp.info["loop"]) == (4, 3)


@pytest.mark.parametrize(
    ("duration", "repeats", "play_count"), [(b"\xff" * 8, 1, 0), (b"\0\0\0\0\0\0\x07\xd0", 1, 2), (b"\0" * 8, 0, 1)]
)
def test_scaled_animation_keeps_durations_and_play_count(duration: bytes, repeats: int, play_count: int) -> None:
    data = patch(patch(animated("AVIF", speed=9), b"tkhd", 28, duration), b"elst", 3, bytes((repeats,)))

    result = compress_data(data, scale=0.5)

    after = Image.open(BytesIO(result.data))
    assert (after.size, after.n_frames) == ((48, 32), 4)
    assert (read(data).play_count, read(result.data).play_count) == (play_count, play_count)
    for n, milliseconds in enumerate(DURATIONS_MS):
        after.seek(n)
        after.load()
        assert after.info["duration"] == milliseconds


@pytest.mark.parametrize(
    ("kind", "at", "new"),
    [
        (b"nclx", 0, struct.pack(">HH", 1, 16)),  # the transfer of HDR
        (b"nclx", 0, struct.pack(">HH", 12, 13)),  # the primaries of Display P3, without ICC
        (b"pixi", -4, b"clli"),  # the light levels of HDR
        (b"pixi", -4, b"pasp" + struct.pack(">II", 2, 1)),  # pixels that are not square
    ],
)
def test_image_that_pillow_cannot_represent_is_kept(kind: bytes, at: int, new: bytes) -> None:
    data = avif(photo())

    changed = patch(data, kind, at, new)

    assert (read(data).pillow_can_represent, read(changed).pillow_can_represent) == (True, False)
    assert compress_data(data).outcome is COMPRESSED
    assert compress_data(changed).data == changed


def test_image_with_a_crop_property_is_kept() -> None:
    data = avif(photo(96, 64))
    crop = box(b"clap", struct.pack(">IIIIiIiI", 48, 1, 32, 1, 0, 1, 0, 1))

    cropped = with_property(data, crop)

    assert read(data).pillow_can_represent
    assert not read(cropped).pillow_can_represent
    assert read(cropped).declared_size_matches
    assert compress_data(cropped).data == cropped


def test_area_of_a_grid_is_that_of_all_its_tiles() -> None:
    tile = avif(photo(96, 64))
    data = grid(3, 2, (280, 120), tile, (96, 64))

    structure = read(data)

    assert structure == heif.Container(area=6 * 96 * 64)
    assert inspect(data, ImageLimits()).width == 280
    assert decode(data).size == (280, 120)
    result = compress_data(data)
    assert (result.width, result.height) == (280, 120)
    assert compress_data(result.data).data == result.data


@pytest.mark.parametrize("size", [(65, 48), (64, 47), (1, 1), (2_000, 2_000)])
def test_image_that_declares_another_size_is_corrupt(size: tuple[int, int]) -> None:
    data = patch(avif(photo(64, 48)), b"ispe", 4, struct.pack(">II", *size))

    failure = expect_refusal(data)

    assert (failure.code, failure.message) == (CORRUPT, "The image is damaged: it declares two different sizes.")


def with_sequence_size(data: bytes, width: int, height: int) -> bytes:
    """The AV1 sequence header declares another size, in 16 bits each. The rest of the header is shifted."""
    stream = stream_of(data)
    at = stream.index(b"\x0a") + 2
    bits = "".join(f"{byte:08b}" for byte in stream[at : at + stream[at - 1]])
    wide, high = int(bits[10:14], 2) + 1, int(bits[14:18], 2) + 1
    rest = bits[18 + wide + high :].rstrip("0")[:-1]
    bits = bits[:10] + "11111111" + f"{width - 1:016b}{height - 1:016b}" + rest + "1"
    bits += "0" * (-len(bits) % 8)
    header = int(bits, 2).to_bytes(len(bits) // 8, "big")
    changed = stream[: at - 1] + bytes((len(header),)) + header + stream[at + stream[at - 1] :]
    return with_stream(data, changed)


def with_frame_size(size: tuple[int, int], *, bits: tuple[int, int]) -> bytes:
    """One image of 96 x 64 pixels with a full sequence header. Its frame states another size in that many bits."""
    stream = stream_of(animated("AVIF", speed=9))
    length = stream[3]
    sequence = "".join(f"{byte:08b}" for byte in stream[4 : 4 + length])
    frame = "".join(f"{byte:08b}" for byte in stream[4 + length + 3 : 4 + length + 103])
    # Before the size come profile, two flags, timing, delay and one operating point. 7 and 6 bits hold 96 and 64.
    assert sequence[29:37] == f"{6:04b}{5:04b}"
    (wide, high), (width, height) = bits, size
    declared = f"{wide - 1:04b}{high - 1:04b}{95:0{wide}b}{63:0{high}b}"
    sequence = pad(sequence[:29] + declared + sequence[50:].rstrip("0"))
    # A key frame that is shown, two tools, `frame_size_override_flag`, 7 bits of its order, its size.
    assert frame[:7] == "0001000"
    frame = pad(frame[:6] + "1" + frame[7:14] + f"{width - 1:0{wide}b}{height - 1:0{high}b}" + frame[14:])
    units = [(1, sequence), (6, frame)]
    content = [bytes((kind << 3 | 2, len(unit) // 8)) + int(unit, 2).to_bytes(len(unit) // 8) for kind, unit in units]
    return with_stream(avif(photo(96, 64)), b"\x12\0" + b"".join(content))


def pad(bits: str) -> str:
    return bits + "0" * (-len(bits) % 8)


def hidden_frames(data: bytes, frames: int) -> bytes:
    """One image with the coded frame many times."""
    stream = stream_of(data)
    header = 2 + 2 + stream[3] if stream[0] == 0x12 else 2 + stream[1]
    return with_stream(data, stream[:header] + stream[header:] * frames)


def with_many_headers(data: bytes) -> bytes:
    stream = stream_of(data)
    header = stream[2 : 4 + stream[3]]
    other = header[:-1] + bytes((header[-1] ^ 0x80,))
    return with_stream(data, stream[:2] + (header + other) * 10_000 + stream[2:])


def with_stream(data: bytes, stream: bytes) -> bytes:
    iloc = data.index(b"iloc") + 4 + 4 + 2 + 2 + 6 + 4
    return data[:iloc] + struct.pack(">I", len(stream)) + data[iloc + 4 : data.index(b"mdat") + 4] + stream


def with_many_items(items: int) -> bytes:
    kinds = [b"\0\0\0\x15infe\2\0\0\0" + struct.pack(">HH4sB", n, 0, b"av01", 0) for n in range(1, items + 1)]
    return box(b"ftyp", b"avif", bytes(4), b"avifmif1") + full_box(
        b"meta",
        full_box(b"pitm", b"\0\1"),
        full_box(b"iinf", struct.pack(">H", items), *kinds),
    )


def with_repeated_extent(data: bytes) -> bytes:
    at = data.index(b"iloc") - 4
    size = struct.unpack_from(">I", data, at)[0]
    offset, length = struct.unpack_from(">II", data, at + 22)
    extents = struct.pack(">II", offset + 8 * 8_999, length) * 9_000
    iloc = full_box(b"iloc", b"\x44\0\0\1", struct.pack(">HHH", 1, 0, 9_000), extents)
    meta = data.index(b"meta") - 4
    grown = struct.unpack_from(">I", data, meta)[0] + len(iloc) - size
    return data[:meta] + struct.pack(">I", grown) + data[meta + 4 : at] + iloc + data[at + size :]


def noisy(width: int, height: int, **settings: Any) -> bytes:
    return avif(Image.effect_noise((width, height), 60).convert("RGB"), **settings)


BOMBS = {
    "declares a huge size": (lambda: patch(noisy(64, 48), b"ispe", 4, struct.pack(">II", 16_384, 16_384)), TOO_LARGE),
    "declares an absurd size": (lambda: patch(noisy(64, 48), b"ispe", 4, b"\xff" * 8), TOO_LARGE),
    "is coded in a huge size": (lambda: with_sequence_size(noisy(64, 48), 16_384, 16_384), TOO_LARGE),
    "is coded in a huge size and declares it": (
        lambda: patch(
            with_sequence_size(noisy(64, 48), 16_384, 16_384), b"ispe", 4, struct.pack(">II", 16_384, 16_384)
        ),
        TOO_LARGE,
    ),
    "has a frame of a huge size": (lambda: with_frame_size((16_384, 16_384), bits=(16, 16)), TOO_LARGE),
    "is coded in another size": (lambda: with_sequence_size(noisy(64, 48), 640, 480), CORRUPT),
    "is a grid of huge tiles": (
        lambda: grid(8, 8, (64, 64), with_sequence_size(noisy(64, 48), 4_096, 4_096), (4_096, 4_096)),
        TOO_LARGE,
    ),
    "is a grid of 2,025 tiles": (lambda: grid(45, 45, (64, 64), noisy(160, 160), (160, 160)), TOO_LARGE),
    "is a grid of 4,000 tiles": (lambda: grid(80, 50, (64, 64), noisy(16, 16), (16, 16)), CORRUPT),
    "has frames that are never shown": (lambda: hidden_frames(noisy(64, 48), 500), CORRUPT),
    "has 60,000 coded frames": (lambda: hidden_frames(noisy(1, 1), 60_000), CORRUPT),
    "has 500,000 empty units": (lambda: with_stream(noisy(1, 1), b"\x12\0" * 500_000), CORRUPT),
    "has 20,000 sequence headers": (lambda: with_many_headers(noisy(64, 48)), CORRUPT),
    "has an animation of 60,000 frames": (
        lambda: patch(animated("AVIF", speed=9), b"stsc", 12, struct.pack(">I", 60_000)),
        TOO_LARGE,
    ),
    "has a table of 2,000,000,000 times": (
        lambda: patch(animated("AVIF", speed=9), b"stts", 4, struct.pack(">I", 2_000_000_000)),
        TOO_LARGE,
    ),
    "has 60,000 items": (lambda: with_many_items(60_000), CORRUPT),
    "has 100,000 boxes": (
        lambda: box(b"ftyp", b"avif", bytes(4), b"avifmif1") + box(b"free") * 100_000,
        CORRUPT,
    ),
    "has one extent 9,000 times": (lambda: with_repeated_extent(noisy(640, 480)), CORRUPT),
}


@pytest.mark.parametrize("name", BOMBS)
def test_decompression_bomb_is_refused_cheaply(name: str) -> None:
    build, code = BOMBS[name]
    data = build()
    started, peak = time.process_time(), peak_kib()

    failure = expect_refusal(data)

    assert failure.code is code
    assert failure.message.endswith(".")
    # `expect_refusal` tries it twice.
    assert time.process_time() - started < 1
    assert peak_kib() - peak < 64 << 10


def test_alpha_coded_in_another_size_counts() -> None:
    data = avif(with_alpha(photo(33, 33)))
    # Alpha is stored before colour, so the first sequence header belongs to it.
    at = data.index(b"mdat") + 4
    head = int.from_bytes(data[at : at + 12], "big")
    bits = f"{head:096b}".replace(f"{32:06b}{32:06b}", f"{63:06b}{62:06b}", 1)
    lying = data[:at] + int(bits, 2).to_bytes(12, "big") + data[at + 12 :]

    assert (read(data).area, read(lying).area) == (33 * 33, 64 * 63)
    assert expect_refusal(lying).message == "The image is damaged: it declares two different sizes."
    assert expect_refusal(lying, ImageLimits(max_pixels=2_000)).code is TOO_LARGE


@pytest.mark.parametrize("size", [(96, 64), (97, 64), (128, 64)])
def test_frame_with_a_size_of_its_own_counts_as_the_largest_possible(size: tuple[int, int]) -> None:
    assert read(with_frame_size(size, bits=(7, 6))).area == 128 * 64


def test_limit_of_an_animation_is_frames_times_pixels() -> None:
    limits = ImageLimits(max_total_pixels=4 * 96 * 64 - 1)

    failure = expect_refusal(animated("AVIF", speed=9), limits)

    assert (failure.code, "has 4 frames of" in failure.message) == (TOO_LARGE, True)


SMALL = [avif(photo(48, 32)), avif(with_alpha(photo(48, 32)), 60), animated("AVIF", speed=10), noisy(9, 9, quality=20)]
TINY = ImageLimits(max_pixels=1_000_000, max_total_pixels=2_000_000, max_frames=50)


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
    st.booleans(),
)
def test_arbitrary_damage_raises_only_image_errors(
    data: bytes, damages: list[tuple[float, int]], length: float, is_in_headers: bool
) -> None:
    damaged = bytearray(data)
    # Half of the examples have all damage in the boxes and headers.
    reach = min(len(data), 1_400 if data.find(b"moov") > 0 else 420) if is_in_headers else len(data)
    for where, value in damages:
        damaged[int(where * (reach - 1))] = value
    if length < 0.3:
        del damaged[int(length / 0.3 * len(damaged)) :]

    assert refusal_code(bytes(damaged)) in (None, CORRUPT, TOO_LARGE, ImageErrorCode.NOT_AN_IMAGE, UNSUPPORTED)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_arbitrary_stream_raises_only_image_errors(content: bytes) -> None:
    head = SMALL[0][: SMALL[0].index(b"mdat") + 4]
    # The stream has the length that the file declares.
    data = head + (content + bytes(len(SMALL[0])))[: len(SMALL[0]) - len(head)]

    assert refusal_code(data) in (None, CORRUPT, TOO_LARGE)


def refusal_code(data: bytes) -> ImageErrorCode | None:
    """The code if the file is refused. Any other exception fails the test."""
    try:
        compress(data, Options(), TINY)
    except ImageError as failure:
        return failure.code
    return None


def test_boxes_with_every_form_of_length_are_walked() -> None:
    long = struct.pack(">I4sQ", 1, b"long", 20) + b"four"
    data = box(b"shrt", b"abc") + long + struct.pack(">I4s", 0, b"last") + b"to the end"
    file = IsoBmffReader(data, 10)

    walked: list[Box] = list(file.walk(file.view))

    assert [(kind, bytes(body)) for kind, body in walked] == [
        (b"shrt", b"abc"),
        (b"long", b"four"),
        (b"last", b"to the end"),
    ]
