"""The ZIP archive of a request: its images under readable names, and its output CSV, as a stream.

Nothing is stored on the way. Besides a few small images that are read ahead, memory holds only the compressed table of
contents, which a ZIP archive has at its end, and a hash of each name: about 60 bytes per image.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import chain, count
from typing import Self

from gql_imgproc.enums import ImageStatus, RequestPhase
from gql_imgproc.errors import RequestNotFound
from gql_imgproc.imaging.options import Options
from gql_imgproc.requests.file_names import name_image
from gql_imgproc.requests.repository import queries
from gql_imgproc.requests.repository.image_outputs import FurtherOutput
from gql_imgproc.requests.repository.output_rows import OutputRow, read_output_rows
from gql_imgproc.requests.snapshot import Snapshot
from gql_imgproc.requests.zip_writer import ZipWriter
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
    """Yields the archive. No archive lacks an image silently.

    Raises StorageError if one cannot be read, and RequestNotFound if the request is deleted meanwhile.
    """
    outputs = Options.from_json(request.options).output_names
    archive, names = ZipWriter(request.updated_at), _UniqueNames(1 + request.total_images * len(outputs))
    output_name = output_download(request.csv_filename, request.profile, request.output_name or "").filename
    async for piece in archive.add_file(names.add(output_name), output.chunks):
        yield piece
    async with aclosing(_read_images(runtime, request, outputs)) as images:
        async for name, chunks in images:
            async for piece in archive.add_file(names.add(name), chunks):
                yield piece
    for piece in archive.finish():
        yield piece


async def _read_images(
    runtime: Runtime, request: Snapshot, outputs: Sequence[str | None]
) -> AsyncGenerator[tuple[str, AsyncIterator[bytes]]]:
    """Yields the name and the bytes of each image. `outputs`: names of the outputs."""
    reading: deque[tuple[_Image, asyncio.Task[bytes] | None]] = deque()
    try:
        for start in range(0, request.total_products, PAGE_PRODUCTS):
            rows = await runtime.db.read(read_output_rows, request.id, start, PAGE_PRODUCTS, len(outputs))
            completed = (row for row in rows if row.status is ImageStatus.COMPLETED)
            for image in chain.from_iterable(_Image.of_row(row, outputs) for row in completed):
                is_small = image.size_bytes <= READ_AHEAD_BYTES
                reading.append((image, asyncio.create_task(runtime.storage.get(image.key)) if is_small else None))
                if len(reading) > READ_AHEAD:
                    yield reading[0][0].name, _read_chunks(runtime.storage, *reading[0])
                    reading.popleft()
        # Images whose rows are deleted would be missing.
        current = await runtime.db.read(queries.get_request, request.tenant_id, request.id)
        if current is None or current.phase is RequestPhase.DELETING:
            raise RequestNotFound
        while reading:
            yield reading[0][0].name, _read_chunks(runtime.storage, *reading[0])
            reading.popleft()
    finally:
        tasks = [task for _, task in reading if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_chunks(storage: ObjectStore, image: _Image, task: asyncio.Task[bytes] | None) -> AsyncIterator[bytes]:
    if task:
        yield await task
    else:
        async for chunk in storage.read_chunks(image.key):
            yield chunk


class _UniqueNames:
    def __init__(self, max_names: int) -> None:
        #: A hash table with half of its places free, of 16 bytes per name; a set of names takes ten times as much.
        self._hashes = array("Q", bytes(16 * max_names))
        #: Further numbers are not searched for but taken once, since all images may have the same name.
        self._numbers = count(10)

    def add(self, name: str) -> str:
        """Returns the name, with a number if an earlier file has it."""
        stem, _, extension = name.rpartition(".")
        others = (f"{stem}-{number}.{extension}" for number in chain(range(2, 10), self._numbers))
        return next(unique for unique in chain([name], others) if self._take(unique))

    def _take(self, name: str) -> bool:
        """Whether no earlier file has the name. Two names with the same hash only get a number."""
        hashes, hashed = self._hashes, hash(name) % 2**64 or 1
        index = hashed % len(hashes)
        while hashes[index] not in (0, hashed):
            index = (index + 1) % len(hashes)
        is_free = not hashes[index]
        hashes[index] = hashed
        return is_free
