"""PNG: the same picture in fewer bytes, with a palette where nobody sees the difference.

Three ways, best first: a palette of 256 colours behind a fidelity gate; the same pixels stored better
(oxipng for small pictures, else the source's own filtered rows deflated anew); the source.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from io import BytesIO

import oxipng
from PIL import Image, ImageChops

from gql_imgproc.core.options import Options
from gql_imgproc.core.picture.containers import png_chunks
from gql_imgproc.core.picture.inspect import load
from gql_imgproc.core.picture.saving import Extras, orientation_exif, save
from gql_imgproc.core.picture.source import Source

#: oxipng holds the GIL while it works (about 0.4 us a pixel): larger pictures are left to zlib, which lets go.
_OXIPNG_MAX_PIXELS = 50_000
#: Pixels on each side of the sample that tells photographs (32 dB) from drawings: median cut on all pixels takes
#: 0.4 s/MP for a photograph, which would not pass the gate, and far less for a drawing.
_SAMPLE_SIDE = 64
#: PSNR of the sample's palette, which is mapped coarsely, from which on all pixels are tried.
_PROMISING_DB = 34
#: Most that the mean colour of any 8 x 8 square may move, in levels of 255: a shift of an area is a band in a
#: gradient or a lost small object, which PSNR over the whole picture does not tell.
_MAX_AREA_SHIFT = 8
_AREA_SIDE = 8
#: Raw bytes that show which deflate strategy suits a picture, and the strategies: runs (photographs: five
#: times as fast as the default and smaller), short matches, long matches (flat drawings).
_PROBE_BYTES = 65_536
_STRATEGIES = ((6, zlib.Z_RLE), (4, zlib.Z_FILTERED), (9, zlib.Z_DEFAULT_STRATEGY))

_SHOWN = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"mDCV", b"cLLI", b"pHYs")
#: Depend on how pixels are stored: kept only when they stay as they are.
_STORED = (b"sBIT", b"bKGD")
_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME")
_STRUCTURE = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")

Chunk = tuple[bytes, bytes]


def fidelity_db(quality: int) -> float:
    """PSNR that a palette must reach: 36 dB at quality 50, where JPEG reaches 28-40; a palette's error is
    steps, which are seen sooner than JPEG's noise."""
    return 36 + max(0, quality - 50) * 0.2


def smaller(source: Source, options: Options) -> Iterable[bytes]:
    """With a palette, where that is faithful; then the same pixels stored better."""
    image, orientation, keep_metadata = source.image, source.anatomy.orientation, options.keep_metadata
    load(image)
    chunks = [(kind, bytes(body)) for kind, body in png_chunks(source.data)]
    beside = _beside(chunks, orientation, keep_metadata)
    if any(kind == b"acTL" for kind, _ in chunks):
        yield _redeflated(chunks, orientation, keep_metadata)
        return
    deep, indexed = chunks[0][1][8] == 16, chunks[0][1][9] == 3
    plain = None if deep or indexed else _opaque(image)
    if plain is not None and plain.mode == "RGB" and (reduced := _with_palette(plain, options.quality)):
        yield _stored(reduced, beside)
    yield _lossless(chunks, image, plain, orientation, keep_metadata, beside)


def encode(image: Image.Image, quality: int, extras: Extras) -> bytes:
    """A new PNG of pixels that were changed anyway."""
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    beside: list[Chunk] = []
    if extras.icc:
        beside.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(extras.icc)))
    if extras.dpi:
        per_metre = (round(n / 0.0254) for n in extras.dpi)
        beside.append((b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if extras.exif:
        beside.append((b"eXIf", extras.exif.removeprefix(b"Exif\0\0")))
    if extras.xmp:
        beside.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + extras.xmp))
    plain = _opaque(image) or image
    reduced = _with_palette(plain, quality) if plain.mode == "RGB" else None
    return _stored(reduced or plain, beside)


def encode_animation(frames: list[Image.Image], durations_ms: list[int], plays: int, extras: Extras) -> bytes:
    first, *rest = frames
    return save(
        first,
        "PNG",
        save_all=True,
        append_images=rest,
        duration=durations_ms,
        loop=plays,
        icc_profile=extras.icc,
        exif=extras.exif,
    )


def _with_palette(image: Image.Image, quality: int) -> Image.Image | None:
    """The RGB picture with at most 256 colours: exactly, or so that the gate is passed."""
    few = image.getcolors(256) is not None
    if not few and (quality == 100 or not _promising(image)):
        return None
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT)
    shown = reduced.convert("RGB")
    psnr = _psnr(image, shown)
    if math.isinf(psnr):
        return reduced
    # The few colours of a drawing are its own: they are kept exactly or not touched.
    if few or psnr < fidelity_db(quality) or _area_shift(image, shown) > _MAX_AREA_SHIFT:
        return None
    return reduced


def _promising(image: Image.Image) -> bool:
    size = min(image.width, _SAMPLE_SIDE), min(image.height, _SAMPLE_SIDE)
    palette = image.resize(size, Image.Resampling.NEAREST).quantize(256, Image.Quantize.MEDIANCUT)
    mapped = image.quantize(palette=palette, dither=Image.Dither.NONE)
    return _psnr(image, mapped.convert("RGB")) >= _PROMISING_DB


def _psnr(one: Image.Image, other: Image.Image) -> float:
    histogram = ImageChops.difference(one, other).histogram()
    error = sum((n % 256) ** 2 * count for n, count in enumerate(histogram))
    samples = one.width * one.height * len(one.getbands())
    return math.inf if error == 0 else 10 * math.log10(255 * 255 * samples / error)


def _area_shift(one: Image.Image, other: Image.Image) -> int:
    moved = ImageChops.difference(one.reduce(_AREA_SIDE), other.reduce(_AREA_SIDE))
    # Highest level of any band with a difference.
    return max((n % 256 for n, count in enumerate(moved.histogram()) if count), default=0)


def _opaque(image: Image.Image) -> Image.Image | None:
    """The picture without an alpha channel that says nothing; None when transparency is used."""
    if "transparency" in image.info:
        return None
    if image.mode in ("RGBA", "LA"):
        if image.getchannel("A").getextrema()[0] != 255:
            return None
        return image.convert("RGB" if image.mode == "RGBA" else "L")
    return image


def _lossless(
    chunks: list[Chunk],
    image: Image.Image,
    plain: Image.Image | None,
    orientation: int,
    keep_metadata: bool,
    beside: list[Chunk],
) -> bytes:
    if image.width * image.height <= _OXIPNG_MAX_PIXELS:
        bare = _joined(_kept(chunks, orientation, keep_metadata))
        return _oxipng(bare)
    if plain is not None and plain is not image:
        # An alpha channel that says nothing goes.
        return _stored(plain, beside)
    return _redeflated(chunks, orientation, keep_metadata)


def _stored(image: Image.Image, beside: list[Chunk]) -> bytes:
    bare = image.copy()
    transparency = image.info.get("transparency")
    bare.info = {} if transparency is None else {"transparency": transparency}
    written = save(bare, "PNG", compress_level=1)
    chunks = [(kind, bytes(body)) for kind, body in png_chunks(written)]
    chunks[1:1] = beside
    if image.width * image.height <= _OXIPNG_MAX_PIXELS:
        return _oxipng(_joined(chunks))
    return min(_redeflated(chunks, 1, True), _joined(chunks), key=len)


def _oxipng(data: bytes) -> bytes:
    """The smallest file oxipng finds, tried again until it finds no smaller one: a second pass changes nothing."""
    best = data
    while True:
        try:
            found = oxipng.optimize_from_memory(best, level=2)
        except (oxipng.PngError, ValueError):
            return best
        if len(found) >= len(best):
            return best
        best = found


def _beside(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> list[Chunk]:
    """What goes with the pixels when they are stored in another way."""
    wanted = _SHOWN + _METADATA if keep_metadata else _SHOWN
    out = [c for c in chunks if c[0] in wanted]
    if not keep_metadata and orientation != 1:
        out.append((b"eXIf", orientation_exif(orientation).removeprefix(b"Exif\0\0")))
    return out


def _kept(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> list[Chunk]:
    """All chunks but those that only tell about the picture."""
    if keep_metadata:
        return chunks
    out = [c for c in chunks if c[0] in _STRUCTURE + _SHOWN + _STORED]
    if orientation != 1:
        out.insert(1, (b"eXIf", orientation_exif(orientation).removeprefix(b"Exif\0\0")))
    return out


def _redeflated(chunks: list[Chunk], orientation: int, keep_metadata: bool) -> bytes:
    """The same rows, deflated as suits them best: any depth, interlacing or animation stays as it is."""
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    out: list[Chunk] = []
    stream: list[bytes] = []
    sequence, area = 0, (width, height)

    def flush(kind: bytes) -> None:
        nonlocal sequence
        if not stream:
            return
        rows = _deflated(b"".join(stream), area[1] * (area[0] * bits // 8 + 2))
        if kind == b"fdAT":
            rows = struct.pack(">I", sequence) + rows
            sequence += 1
        out.append((kind, rows))
        stream.clear()

    open_kind = b""
    for kind, body in _kept(chunks, orientation, keep_metadata):
        if kind in (b"IDAT", b"fdAT"):
            open_kind = kind
            stream.append(body if kind == b"IDAT" else body[4:])
            continue
        flush(open_kind)
        if kind == b"fcTL":
            area = struct.unpack_from(">II", body, 4)
            body = struct.pack(">I", sequence) + body[4:]
            sequence += 1
        out.append((kind, body))
    return _joined(out)


def _deflated(stream: bytes, rows_bytes: int) -> bytes:
    """The zlib stream anew, or as it was when it is not smaller or is not what the header says."""
    inflater = zlib.decompressobj()
    # Interlaced rows are more and shorter; twice the plain size is a bound for them too.
    rows = inflater.decompress(stream, 2 * rows_bytes + 1024)
    if not inflater.eof:
        return stream
    middle = max(0, len(rows) // 2 - _PROBE_BYTES // 2)
    probe = rows[middle : middle + _PROBE_BYTES]
    level, strategy = min(_STRATEGIES, key=lambda s: len(_deflate(probe, *s)))
    return min(_deflate(rows, level, strategy), stream, key=len)


def _deflate(rows: bytes, level: int, strategy: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return deflater.compress(rows) + deflater.flush()


def _joined(chunks: Iterable[Chunk]) -> bytes:
    out = BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    for kind, body in chunks:
        out.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))
    return out.getvalue()
