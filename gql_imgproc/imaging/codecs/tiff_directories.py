"""Walks the directories of a TIFF: its pages and their sizes, within bounds. Nothing is decoded."""

from __future__ import annotations

from gql_imgproc.imaging.errors import corrupt_image, too_large, unsupported
from gql_imgproc.imaging.limits import ImageLimits
from gql_imgproc.imaging.structure import MAX_PARTS, ImageStructure
from gql_imgproc.imaging.tiff_reader import TiffReader

#: Types that Pillow copies unchanged: bytes, text and undefined data.
_OPAQUE_TYPES = (1, 2, 7)
_BITS, _COMPRESSION, _KIND, _PALETTE, _SAMPLE_FORMAT = 258, 259, 262, 320, 339
_SIGNED = 2
#: Colours that TIFF defines: grey, RGB, palette, mask, CMYK, YCbCr, Lab, colour filters, LogLuv, linear raw.
_KINDS = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32_803, 32_844, 32_845, 34_892)
#: Compressions that companies registered.
_FIRST_PRIVATE, _LAST_PRIVATE = 32_766, 53_000

#: Tags with the offsets of strips, tiles and a JPEG thumbnail, and those with their sizes.
_PARTS = {273: 279, 324: 325, 513: 514}
#: Tags with the offsets of directories: smaller images, camera data, GPS data, interoperability.
_INNER = (330, 0x8769, 0x8825, 0xA005)
_NUMBERS = {*_PARTS, *_PARTS.values(), *_INNER}
#: Tags with offsets of data of unknown size: free space, fax profiles, tables of old JPEG coding.
_UNBOUNDED = {288, 400, 519, 520, 521}

#: Some programs, Pillow among them, pad pages to a multiple of so many bytes.
_ALIGNMENT = 16


def probe(data: bytes, limits: ImageLimits) -> ImageStructure:
    file = TiffReader(data)
    first: dict[int, int] = {}
    samples_are_understood = True
    pages = area = entries = values_bytes = 0
    for directory in file.pages():
        pages += 1
        if pages > limits.max_frames:
            raise too_large(f"The TIFF has more than {limits.max_frames:,} pages, which is the limit.")
        entries += file.count(directory)
        if entries > MAX_PARTS:
            raise corrupt_image("The TIFF is damaged: its directories have too many entries.")
        tags, tags_bytes = _read_entries(file, directory)
        values_bytes += tags_bytes
        # All entries may point to the same bytes, and Pillow copies them for each entry.
        if values_bytes > 2 * len(data) + 65_536:
            raise corrupt_image("The TIFF is damaged: its directories declare more bytes than the file has.")
        if 50706 in tags or (not first and 256 not in tags):
            raise unsupported("The file is a camera raw file or a TIFF without an image, which is not supported.")
        tile = tags.get(322, 0) * tags.get(323, 0)
        area = max(area, tags.get(256, 0) * tags.get(257, 0), tile)
        first = first or tags
        # Pillow reads signed samples of 8 bits as unsigned, and does not invert 16 bits.
        samples_are_understood &= (tags.get(_BITS), tags.get(_SAMPLE_FORMAT)) != (8, _SIGNED)
        samples_are_understood &= (tags.get(_BITS), tags.get(_KIND)) != (16, 0)
    if not first:
        raise corrupt_image("The TIFF is damaged: it contains no image.")
    orientation = first.get(274, 1)
    return ImageStructure(
        first.get(256, 0),
        first.get(257, 0),
        frames=pages,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        area=area,
        samples_are_understood=samples_are_understood,
    )


def is_plausible(data: bytes) -> bool:
    """Whether the first page has known colours and a registered compression, so that other programs may read it."""
    file = TiffReader(data)
    tags, _ = _read_entries(file, file.first)
    compression = tags.get(_COMPRESSION, 1)
    is_registered = 1 <= compression <= 10 or _FIRST_PRIVATE <= compression <= _LAST_PRIVATE
    return tags.get(_KIND) in _KINDS and is_registered


def find_end(data: bytes) -> int:
    """Where the last byte ends that a directory refers to; the length of the file if that is not known."""
    file, end, visited = TiffReader(data), 0, set[int]()
    pending = list(file.pages())
    while pending:
        directory = pending.pop()
        if directory in visited:
            continue
        visited.add(directory)
        end = max(end, file.end(directory) + file.offset_bytes)
        numbers: dict[int, tuple[int, ...]] = {}
        for entry in file.entries(directory):
            if entry.tag in _UNBOUNDED or not entry.size:
                return len(data)
            end = max(end, file.values_at(entry) + entry.size)
            if entry.tag in _NUMBERS:
                numbers[entry.tag] = file.integers(entry)
        for starts, sizes in ((numbers.get(start, ()), numbers.get(size, ())) for start, size in _PARTS.items()):
            # Without the sizes, a decoder finds the ends itself.
            if len(starts) != len(sizes) or 0 in sizes:
                return len(data)
            end = max(end, *map(sum, zip(starts, sizes, strict=True)), 0)
        pending += (inner for tag in _INNER for inner in numbers.get(tag, ()))
    is_padding = len(data) - end < _ALIGNMENT and not any(data[end:])
    return len(data) if is_padding else min(end, len(data))


def _read_entries(file: TiffReader, directory: int) -> tuple[dict[int, int], int]:
    """The tags with a single integer, and the bytes that the values of all tags take."""
    tags: dict[int, int] = {}
    values_bytes = 0
    for entry in file.entries(directory):
        values_bytes += entry.size
        if (value := file.inline_integer(entry)) is not None:
            tags[entry.tag] = value
        if entry.tag == _PALETTE and entry.values == 3 << 16:
            raise unsupported("The TIFF has a palette of 16 bits, which is not supported.")
        # Pillow builds a list of the numbers of an entry.
        if entry.values > MAX_PARTS and entry.kind not in _OPAQUE_TYPES:
            raise too_large(f"The TIFF has an entry with {entry.values:,} values; the limit is {MAX_PARTS:,}.")
    return tags, values_bytes
