"""The ZIP archive of a request: its images under readable names, and its output CSV, as a stream.

Nothing is stored on the way. Besides a few small images that are read ahead, memory holds only the table of contents,
which a ZIP archive has at its end: about half a kilobyte per image.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain
from typing import Self

from zipstream import ZipStream

from gql_imgproc.enums import ImageStatus
from gql_imgproc.errors import ObjectMissing
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.file_names import name_image
from gql_imgproc.requests.repository.image_outputs import FurtherOutput
from gql_imgproc.requests.repository.output_rows import OutputRow, read_output_rows
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.runtime import Runtime
from gql_imgproc.storage.object_store import ObjectStore, StoredObject
from gql_imgproc.storage.paths import image_key
from gql_imgproc.storage.response_headers import output_download

#: Products whose images are listed in one query.
PAGE_PRODUCTS = 100
#: Images that are read ahead, since each read from a bucket waits for it, and their size. Larger ones are streamed.
READ_AHEAD, READ_AHEAD_BYTES = 8, 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Image:
    key: str
    name: str
    size_bytes: int

    @classmethod
    def of_row(cls, row: OutputRow, names: Sequence[str | None]) -> Iterator[Self]:
        """Yields the files of a completed image. `names`: of the outputs of the request."""
        yield cls._of_object(row, row, None)
        for output in row.further:
            yield cls._of_object(row, output, names[output.position])

    @classmethod
    def _of_object(cls, row: OutputRow, stored: OutputRow | FurtherOutput, output: str | None) -> Self:
        object_name = stored.object_name or ""
        name = name_image(row.file_name, row.position, object_name, output) if row.file_name else object_name
        return cls(image_key(stored.stored_by, object_name), name, stored.output_bytes or 0)


async def stream_archive(runtime: Runtime, request: Snapshot, output: StoredObject) -> AsyncIterator[bytes]:
    """Yields the archive. Raises StorageError if an image cannot be read, so that no archive lacks one silently."""
    archive = ZipStream()
    output_name = output_download(request.csv_filename, request.profile, request.output_name or "").filename
    numbers = {output_name: 1}
    async for piece in _add_object(archive, output_name, output):
        yield piece
    async with aclosing(_read_images(runtime, request)) as images:
        async for image, data in images:
            name = _unique(image.name, numbers)
            if data is None:
                async for piece in _add_object(archive, name, await _open(runtime.storage, image.key)):
                    yield piece
            else:
                archive.add(data, name)
                for piece in archive.file():
                    yield piece
    for piece in archive.footer():
        yield piece


async def _add_object(archive: ZipStream, name: str, stored: StoredObject) -> AsyncIterator[bytes]:
    # The archive is not asynchronous: each chunk is read before the archive takes it, after the header of the file.
    pending: deque[bytes] = deque()
    archive.add(_drain(pending), name, size=stored.size_bytes)
    for piece in archive.file():
        yield piece
        if chunk := await anext(stored.chunks, b""):
            pending.append(chunk)


def _drain(pending: deque[bytes]) -> Iterator[bytes]:
    while pending:
        yield pending.popleft()


async def _read_images(runtime: Runtime, request: Snapshot) -> AsyncGenerator[tuple[_Image, bytes | None]]:
    """Yields each image with its bytes; None instead of the bytes of a large one."""
    names = [name for name, _ in Options.from_json(request.options).of_outputs()]
    reading: deque[tuple[_Image, asyncio.Task[bytes] | None]] = deque()
    try:
        for start in range(0, request.total_products, PAGE_PRODUCTS):
            rows = await runtime.db.read(read_output_rows, request.id, start, PAGE_PRODUCTS, len(names))
            completed = (row for row in rows if row.status is ImageStatus.COMPLETED)
            for image in chain.from_iterable(_Image.of_row(row, names) for row in completed):
                is_small = image.size_bytes <= READ_AHEAD_BYTES
                reading.append((image, asyncio.create_task(runtime.storage.get(image.key)) if is_small else None))
                if len(reading) > READ_AHEAD:
                    yield await _finish(*reading.popleft())
        while reading:
            yield await _finish(*reading.popleft())
    finally:
        tasks = [task for _, task in reading if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _finish(image: _Image, task: asyncio.Task[bytes] | None) -> tuple[_Image, bytes | None]:
    return image, await task if task else None


async def _open(storage: ObjectStore, key: str) -> StoredObject:
    if stored := await storage.open(key):
        return stored
    raise ObjectMissing(f"The object {key} does not exist.")


def _unique(name: str, numbers: dict[str, int]) -> str:
    """Returns the name, with a number if an earlier file has it. `numbers`: the last one of each name so far."""
    stem, _, extension = name.rpartition(".")
    unique = name
    while unique in numbers:
        numbers[name] += 1
        unique = f"{stem}-{numbers[name]}.{extension}"
    numbers[unique] = 1
    return unique
